"""Mean IoU of all pixels of a data set, from one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.published.datasets import IGNORED


def confusion(
    truth: NDArray[np.integer], found: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Return how many pixels of each true class were given each class.

    :param truth: (H, W) classes, or ``IGNORED``.
    :param found: (H, W) classes.
    :returns: (true class, found class); ignored pixels are in no cell.

    >>> confusion(np.array([[0, 1, 255]]), np.array([[0, 0, 1]]), 2)
    array([[1, 0],
           [1, 0]])
    """
    counted = truth != IGNORED
    cells = truth[counted].astype(np.int64) * classes + found[counted].astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class SegmentationFigures:
    """Figures of a confusion matrix, 0 to 1. NaN is: nothing to count.

    :param miou: mean over the classes that are in the truth or were found.
    :param ious: of each class.
    :param accuracy: share of right pixels; ``class_accuracy`` is its mean over the true classes.
    """

    miou: float
    ious: tuple[float, ...]
    accuracy: float
    class_accuracy: float


def segmentation_figures(matrix: NDArray[np.int64]) -> SegmentationFigures:
    """Return the figures of the confusion matrix of a whole data set, as mmsegmentation has them.

    >>> round(segmentation_figures(np.array([[3, 1], [0, 4]])).miou, 3)
    0.775
    """
    right, true, found = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ious = right / (true + found - right)
        recalls = right / true
        accuracy = right.sum() / matrix.sum()
    return SegmentationFigures(
        _mean(ious), tuple(map(float, ious)), float(accuracy), _mean(recalls)
    )


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of those that are not NaN; NaN where all are."""
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if len(finite) else float("nan")
