"""Similarity maps to SAM's prompt points."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import cells_to_pixels
from clip_surgery_ros.core.heatmap import min_max

PEAK_SHARE = 0.5
"""Share of a map's range that a peak must reach. With a lower share, no more objects were found on
development scenes, and there were more prompts to decode."""
MAX_PEAKS = 12
"""Largest number of prompts per label. An object has several maxima: with 8 prompts, one of four
alike objects may get none. With 16, no more objects were found on development scenes, and decoding
takes time."""

Points = tuple[NDArray[np.int32], NDArray[np.int32]]
"""(P, 2) x, y, and (P,) labels: 1 for inside the object, 0 for outside."""


def reference_points(
    similarity: NDArray[np.float32],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
    threshold: float = 0.8,
    down_sample: int = 2,
) -> Points:
    """Return the points of CLIP Surgery's code: the highest cells are inside, the lowest outside.

    The map is resized to 1 / ``down_sample`` of the grid, min-max scaled and sorted. The
    ``n = min(#(>= threshold), cells // 2)`` highest cells are positive (best last), the n lowest
    are negative (lowest first). The defaults are those of CLIP Surgery.

    :param similarity: (N,) float32, raw, row-major over the grid.
    :param grid_hw: rows and columns of the grid.
    :param size_hw: height and width of the image.
    :param threshold: share of the map's range, 0 to 1.
    :returns: points, positive first; none for a constant map.

    >>> similarity = np.zeros((4, 4), np.float32)
    >>> similarity[2:, 2:] = 1  # the lower right of a grid of 4 x 4 cells
    >>> reference_points(similarity.ravel(), (4, 4), (100, 100))
    (array([[75, 75],
           [25, 25]], dtype=int32), array([1, 0], dtype=int32))
    """
    positive, negative, small_hw = _extremes(similarity, grid_hw, threshold, down_sample)
    return _to_points(positive, negative, small_hw, size_hw)


def combined_points(
    similarities: Sequence[NDArray[np.float32]],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
    threshold: float = 0.8,
    down_sample: int = 2,
) -> Points:
    """Return the points of a label with several parts.

    Negative points come from the mean of the parts' scaled maps, positive points from each map.

    Parameters are those of :func:`reference_points`.

    :param similarities: (N,) of each part.
    :returns: points, negative first; none for constant maps.
    """
    extremes = [_extremes(part, grid_hw, threshold, down_sample) for part in similarities]
    scaled = [min_max(torch.as_tensor(part), dim=0).numpy() for part in similarities]
    mean = np.stack(scaled).mean(axis=0, dtype=np.float32)
    _, negative, small_hw = _extremes(mean, grid_hw, threshold, down_sample)
    positive = np.concatenate([highest for highest, _, _ in extremes])
    xy = cells_to_pixels(np.concatenate([negative, positive]), small_hw, size_hw)
    return xy, np.repeat(np.array([0, 1], np.int32), [len(negative), len(positive)])


def instance_points(
    similarity: NDArray[np.float32], grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> list[Points]:
    """Return a prompt of one point for each local maximum of the map: each may be an object.

    A maximum is a cell that none of its eight neighbours exceeds and that reaches at least
    :data:`PEAK_SHARE` of the map's range; of a plateau, its middle cell. Prompts on the same
    object give similar masks, of which ``choice.distinct`` keeps one. Each prompt has one point,
    because points on two objects give one mask.

    :param similarity: (N,) raw.
    :returns: at most :data:`MAX_PEAKS` prompts, the highest first; none for a constant map.
    """
    scaled = min_max(torch.as_tensor(similarity), dim=0).numpy().reshape(grid_hw)
    neighbours = cv2.dilate(scaled, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    highest = (scaled >= neighbours) & (scaled >= PEAK_SHARE)
    _, plateaus, _, centres = cv2.connectedComponentsWithStats(highest.astype(np.uint8))
    peaks = _middle_cells(plateaus, centres)
    highest_first = peaks[np.argsort(-scaled.flat[peaks], kind="stable")][:MAX_PEAKS]
    no_cells = np.empty(0, np.intp)
    return [_to_points(peak, no_cells, grid_hw, size_hw) for peak in highest_first[:, None]]


def height_at(
    similarity: NDArray[np.float32], xy: NDArray[np.int32], size_hw: tuple[int, int]
) -> float:
    """Return the value of a map at a point, as a share of the map's range; 0 for a constant map.

    :param similarity: (h, w) raw.
    :param xy: (2,) pixel of an image of ``size_hw``.

    >>> height_at(np.array([[0.1, 0.3]], np.float32), np.array([60, 10]), (20, 80))
    1.0
    """
    rows, columns = similarity.shape
    row, column = int(xy[1]) * rows // size_hw[0], int(xy[0]) * columns // size_hw[1]
    low, span = float(similarity.min()), float(np.ptp(similarity))
    return (float(similarity[row, column]) - low) / span if span else 0.0


def _middle_cells(plateaus: NDArray[np.int32], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return of each plateau the cell that is nearest to its centre, the first of equally near.

    :param plateaus: (h, w) number of the plateau that a cell belongs to; 0 for none.
    :param centres: (P + 1, 2) column and row by that number.
    :returns: (P,) flat indices, in order of number.
    """
    cells = np.flatnonzero(plateaus)
    numbers = plateaus.reshape(-1)[cells]
    rows, columns = np.divmod(cells, plateaus.shape[1])
    distances = np.square(np.stack([columns, rows], axis=1) - centres[numbers]).sum(axis=1)
    order = np.lexsort((distances, numbers))  # stable: equally near cells keep their order
    _, first = np.unique(numbers[order], return_index=True)
    return cells[order[first]]


def _extremes(
    similarity: NDArray[np.float32], grid_hw: tuple[int, int], threshold: float, down_sample: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[int, int]]:
    """Return the highest (best last) and lowest cells (lowest first) of the small grid, flat."""
    small_hw = (max(1, grid_hw[0] // down_sample), max(1, grid_hw[1] // down_sample))
    small = F.interpolate(
        torch.as_tensor(similarity).reshape(1, 1, *grid_hw),
        small_hw,
        mode="bilinear",
        align_corners=False,
    )
    scaled = min_max(small.flatten(), dim=0)
    order = scaled.argsort(stable=True).numpy()
    count = min(int((scaled.numpy() >= threshold).sum()), len(order) // 2)
    return order[len(order) - count :], order[:count], small_hw


def _to_points(
    positive: NDArray[np.intp],
    negative: NDArray[np.intp],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> Points:
    xy = cells_to_pixels(np.concatenate([positive, negative]), grid_hw, size_hw)
    return xy, np.repeat(np.array([1, 0], np.int32), [len(positive), len(negative)])
