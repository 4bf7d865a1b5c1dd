"""How well maps explain labels: IoU at the best threshold, and contrast (mIoU and mSC of CLIP
Surgery's paper).

Each label that is in a picture has a map, scaled to 0 to 1 in that picture. The map is compared
with the pixels of that label alone. One threshold is taken for the whole data set: the one of the
highest mIoU, as the paper does for all methods ("grid search").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.heatmap import feature_surgery, normalized_map
from clip_surgery_ros.evaluation.published.datasets import IGNORED
from clip_surgery_ros.evaluation.published.prediction import Words
from clip_surgery_ros.evaluation.published.protocols import SURGERY
from clip_surgery_ros.networks.clip.backend import ClipBackend

THRESHOLDS: NDArray[np.float64] = np.arange(1, 100) / 100
"""Thresholds that are tried. The paper does not say its steps; 0.01 is finer than mIoU needs."""


@dataclass
class MapSums:
    """Sums over all labels of all pictures, from which :func:`map_figures` come.

    :param shared: (classes, thresholds) pixels of the class that are at or above the threshold.
    :param joined: (classes, thresholds) pixels that are one of the two or both.
    :param ious: (thresholds,) sum of the IoUs of each label in each picture.
    :param contrasts: (classes,) sum of the mean map on the label's pixels less that elsewhere.
    :param counts: (classes,) pictures with the class; ``contrasted`` those with pixels elsewhere.
    """

    shared: NDArray[np.int64]
    joined: NDArray[np.int64]
    ious: NDArray[np.float64]
    contrasts: NDArray[np.float64]
    counts: NDArray[np.int64]
    contrasted: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> MapSums:
        """Return sums of nothing."""
        table = np.zeros((classes, len(THRESHOLDS)), np.int64)
        row = np.zeros(classes)
        number = row.astype(np.int64)
        return cls(
            table, table.copy(), np.zeros(len(THRESHOLDS)), row, number.copy(), number.copy()
        )

    def add(self, index: int, inside: NDArray[np.floating], outside: NDArray[np.floating]) -> None:
        """Add a label of a picture.

        :param index: of its class.
        :param inside: (P,) values of its map on its pixels, at least one.
        :param outside: (Q,) values on all other pixels that count.
        """
        shared, beside = _at_or_above(inside), _at_or_above(outside)
        joined = len(inside) + beside
        self.shared[index] += shared
        self.joined[index] += joined
        self.ious += shared / joined
        self.counts[index] += 1
        if len(outside):
            self.contrasts[index] += float(inside.mean()) - float(outside.mean())
            self.contrasted[index] += 1


@dataclass(frozen=True)
class MapFigures:
    """Figures of maps, 0 to 1, contrasts -1 to 1. NaN is: nothing to count.

    :param miou: mean over classes of the IoU of all their pixels in all pictures.
    :param threshold: at which ``miou`` is highest.
    :param ious: of each class at that threshold.
    :param label_miou: mean of the IoUs of each label in each picture, at its own best threshold.
    :param contrast: mSC: mean over classes of the mean over their pictures.
    :param label_contrast: mean over all labels of all pictures.
    """

    miou: float
    threshold: float
    ious: tuple[float, ...]
    label_miou: float
    contrast: float
    label_contrast: float


def label_maps(
    clip: ClipBackend,
    tokens: Callable[[Tensor], Tensor],
    method: str,
    words: Words,
    image_rgb: NDArray[np.uint8],
) -> Callable[[int], NDArray[np.float32]]:
    """Return a function from the number of a class to its (H, W) map in [0, 1].

    With surgery, the other classes decide what is redundant (feature surgery of the label set).

    :param tokens: of ``image_tokens`` for ``method``.
    :param words: one name for each class.
    :param image_rgb: (H, W, 3) uint8 RGB.
    """
    pixels = clip.preprocess(image_rgb)
    features = tokens(pixels)
    if method == SURGERY:
        similarity = feature_surgery(features, words.features)[:, 1:]
    else:
        similarity = features[:, 1:] @ words.features.T
    grid_hw, size_hw = clip.grid_hw(pixels), (image_rgb.shape[0], image_rgb.shape[1])

    def map_of(index: int) -> NDArray[np.float32]:
        one = normalized_map(similarity[:, :, index : index + 1], grid_hw, size_hw)
        return np.asarray(one[0, :, :, 0].cpu(), np.float32)

    return map_of


def add_picture(
    sums: MapSums, truth: NDArray[np.uint8], map_of: Callable[[int], NDArray[np.float32]]
) -> None:
    """Add every class that is in a picture. The background is no class, but lies outside of all.

    :param truth: (H, W) 0 for the background, 1 and more for the classes, or ``IGNORED``.
    :param map_of: of :func:`label_maps`; the first class has the number 0.
    """
    counted = truth != IGNORED
    for number in np.unique(truth[counted & (truth > 0)]).tolist():
        values, inside = map_of(number - 1)[counted], truth[counted] == number
        sums.add(number - 1, values[inside], values[~inside])


def map_figures(sums: MapSums) -> MapFigures:
    """Return the figures of a data set; its classes are those that are in a picture."""
    seen = sums.counts > 0
    if not seen.any():
        nan = float("nan")
        return MapFigures(nan, nan, (nan,) * len(sums.counts), nan, nan, nan)
    with np.errstate(invalid="ignore"):
        ious = sums.shared / sums.joined
        contrasts = sums.contrasts / sums.contrasted
    means = ious[seen].mean(axis=0)
    best = int(means.argmax())
    contrasted = sums.contrasted > 0
    return MapFigures(
        miou=float(means[best]),
        threshold=float(THRESHOLDS[best]),
        ious=tuple(map(float, ious[:, best])),
        label_miou=float(sums.ious.max() / sums.counts.sum()),
        contrast=_ratio(contrasts[contrasted].sum(), contrasted.sum()),
        label_contrast=_ratio(sums.contrasts.sum(), sums.contrasted.sum()),
    )


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")


def _at_or_above(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return how many values are at or above each threshold."""
    steps = np.searchsorted(THRESHOLDS, values.astype(np.float64), side="right")
    histogram = np.bincount(steps, minlength=len(THRESHOLDS) + 1)
    reached: NDArray[np.int64] = histogram[::-1].cumsum()[::-1][1:]
    return reached
