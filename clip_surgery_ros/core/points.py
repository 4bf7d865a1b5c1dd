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
"""Lower, development scenes gave no more objects, and more prompts to decode."""
MAX_PEAKS = 12
"""Most prompts of a label: an object has several maxima, so that with 8 some of four alike get
none; 16 gave development scenes no more, and decoding costs time."""

Points = tuple[NDArray[np.int32], NDArray[np.int32]]
"""(P, 2) x, y and (P,) 1 inside or 0 outside."""


def reference_points(
    similarity: NDArray[np.float32],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
    threshold: float = 0.8,
    down_sample: int = 2,
) -> Points:
    """The published recipe: cells near the top are inside, as many at the bottom outside.

    The map is brought to 1 / ``down_sample`` of the grid, min-max scaled and sorted ascending;
    the ``n = min(#(>= threshold), cells // 2)`` highest are positive (best last), the n lowest
    negative (lowest first). Defaults are the published ones.

    :param similarity: (N,) float32, raw, row-major over the grid.
    :returns: points, positive first; none for a constant map.
    """
    positive, negative, small_hw = _extremes(similarity, grid_hw, threshold, down_sample)
    return _as_points(positive, negative, small_hw, size_hw)


def combined_points(
    similarities: Sequence[NDArray[np.float32]],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
    threshold: float = 0.8,
    down_sample: int = 2,
) -> Points:
    """Texts asked together: negatives from the mean of the scaled maps, positives from each map.

    Parameters are those of :func:`reference_points`.

    :returns: points, negative first; maps that are constant add none.
    """
    each = [_extremes(one, grid_hw, threshold, down_sample) for one in similarities]
    scaled = [min_max(torch.as_tensor(one), dim=0).numpy() for one in similarities]
    mean = np.stack(scaled).mean(axis=0, dtype=np.float32)
    _, negative, small_hw = _extremes(mean, grid_hw, threshold, down_sample)
    positive = np.concatenate([found for found, _, _ in each])
    xy = cells_to_pixels(np.concatenate([negative, positive]), small_hw, size_hw)
    return xy, np.repeat(np.array([0, 1], np.int32), [len(negative), len(positive)])


def instance_points(
    similarity: NDArray[np.float32], grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> list[Points]:
    """One click at each place that may be an object of its own: the map's local maxima.

    A maximum is a cell that none of its eight neighbours exceeds, at least :data:`PEAK_SHARE` up
    the map's range; the middle of a plateau stands for all of it. Clicks on one object give masks
    that repeat each other, which ``choice.distinct`` sorts out; one click each, since points on
    two objects give one mask.

    :param similarity: (N,) raw.
    :returns: at most :data:`MAX_PEAKS` prompts, the highest first; none for a constant map.
    """
    scaled = min_max(torch.as_tensor(similarity), dim=0).numpy().reshape(grid_hw)
    around = cv2.dilate(scaled, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    highest = (scaled >= around) & (scaled >= PEAK_SHARE)
    _, plateaus, _, centres = cv2.connectedComponentsWithStats(highest.astype(np.uint8))
    peaks = [_nearest_cell(plateaus == index, centres[index]) for index in range(1, len(centres))]
    peaks.sort(key=lambda cell: -scaled.flat[cell])
    nothing = np.empty(0, np.intp)
    return [_as_points(np.array([peak]), nothing, grid_hw, size_hw) for peak in peaks[:MAX_PEAKS]]


def _nearest_cell(cells: NDArray[np.bool_], centre: NDArray[np.float64]) -> int:
    """Flat index of the cell of a set that is nearest to a (column, row) centre."""
    places = np.argwhere(cells)[:, ::-1]
    column, row = places[np.square(places - centre).sum(axis=1).argmin()]
    return int(row) * cells.shape[1] + int(column)


def _extremes(
    similarity: NDArray[np.float32], grid_hw: tuple[int, int], threshold: float, down_sample: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[int, int]]:
    """Flat cells of the small grid that are high (best last) and low (lowest first)."""
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


def _as_points(
    positive: NDArray[np.intp],
    negative: NDArray[np.intp],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> Points:
    xy = cells_to_pixels(np.concatenate([positive, negative]), grid_hw, size_hw)
    return xy, np.repeat(np.array([1, 0], np.int32), [len(positive), len(negative)])
