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


def peak_points(
    similarity: NDArray[np.float32],
    grid_hw: tuple[int, int],
    size_hw: tuple[int, int],
    threshold: float = 0.8,
    count: int = 3,
) -> list[Points]:
    """One prompt set for each connected component of the scaled map at or above the threshold.

    Each set has up to ``count`` positive points: the component's peaks, no two of them adjacent
    on the grid (three: SAM gains little past a few points).

    :returns: sets in descending order of their highest value; none for a constant map.
    """
    scaled = min_max(torch.as_tensor(similarity), dim=0).numpy().reshape(grid_hw)
    _, components = cv2.connectedComponents((scaled >= threshold).astype(np.uint8))
    found = []
    for index in range(1, components.max() + 1):
        cells = np.flatnonzero(components == index)
        cells = cells[np.argsort(-scaled.reshape(-1)[cells], kind="stable")]
        chosen = _apart(cells, grid_hw[1], count)
        found.append((scaled.reshape(-1)[chosen[0]], chosen))
    found.sort(key=lambda item: -item[0])
    nothing = np.empty(0, np.intp)
    return [_as_points(chosen, nothing, grid_hw, size_hw) for _, chosen in found]


def _apart(cells: NDArray[np.intp], columns: int, count: int) -> NDArray[np.intp]:
    """The first ``count`` cells of which none touches an earlier one."""
    chosen: list[int] = []
    for cell in cells.tolist():
        row, column = divmod(cell, columns)
        near = any(
            abs(row - other // columns) < 2 and abs(column - other % columns) < 2
            for other in chosen
        )
        if not near:
            chosen.append(cell)
        if len(chosen) == count:
            break
    return np.array(chosen, np.intp)


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
