"""Decode masks of COCO's annotations: polygons and run lengths, plain or compressed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from clip_surgery_ros.core.run_lengths import decompressed_runs, mask_of_runs


def declared_size(segmentation: Any) -> tuple[int, int] | None:
    """Return the height and width that run lengths declare; None for all else."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not (
        isinstance(size, list) and len(size) == 2 and all(is_whole_number(side) for side in size)
    ):
        return None
    return int(size[0]), int(size[1])


def decode_mask(segmentation: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the (H, W) mask of an annotation's ``segmentation``.

    :raises ValueError: when it is wrong; the message says why.
    """
    if not segmentation:
        raise ValueError(
            "it has no segmentation; masks are compared here, so boxes alone are not enough"
        )
    if isinstance(segmentation, list):
        polygons = [_corners(polygon, size_hw) for polygon in segmentation]
        return np.any([_fill_polygon(corners, size_hw) for corners in polygons], axis=0)
    if isinstance(segmentation, dict):
        return _decode_runs(segmentation, size_hw)
    raise ValueError("its segmentation is neither a list of polygons nor run lengths")


def is_whole_number(value: Any) -> bool:
    """Return whether a JSON value is a whole number from 0 on; some programs write 640.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0 and value == int(value)


def _corners(polygon: Any, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return the (P, 2) corners (x, y) of a list x, y, x, y..."""
    if not isinstance(polygon, list):
        raise ValueError(
            "its segmentation is not a list of polygons, each a list of x, y, x, y..."
        )
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in polygon):
        raise ValueError("a polygon has a coordinate that is not a number")
    if len(polygon) % 2 or len(polygon) < 6:
        raise ValueError(f"a polygon has {len(polygon)} numbers, but needs x and y of 3 corners")
    height, width = size_hw
    # A polygon may leave the picture a little. One that leaves it by more than the picture's size
    # belongs to another picture. The comparison also refuses infinities and NaN.
    xs_inside = all(-width <= x <= 2 * width for x in polygon[::2])
    if not (xs_inside and all(-height <= y <= 2 * height for y in polygon[1::2])):
        raise ValueError(f"a polygon lies outside the picture of {width} x {height} pixels")
    return np.array(polygon, np.float64).reshape(-1, 2)


def _fill_polygon(corners: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the (H, W) pixels whose centre lies in the polygon of (P, 2) corners (x, y)."""
    filled = np.zeros(size_hw, np.bool_)
    # Test the pixels of its bounding box only: those of a whole photograph take seconds.
    limits = np.array(size_hw[::-1])
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, limits)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, limits)
    rows, columns = np.mgrid[y0:y1, x0:x1]
    centres = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    filled[y0:y1, x0:x1] = Polygon(corners).contains_points(centres).reshape(rows.shape)
    return filled


def _decode_runs(segmentation: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the (H, W) mask of run lengths: column by column, the first run is background."""
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = decompressed_runs(counts)
    if not (isinstance(counts, list) and all(is_whole_number(run) for run in counts)):
        raise ValueError("its run lengths are not whole numbers from 0 on")
    size = declared_size(segmentation)
    height, width = size_hw
    if size != size_hw or sum(counts) != height * width:
        raise ValueError(
            f"its {sum(counts)} pixels in runs of size {segmentation.get('size')!r} do not fill "
            f"[{height}, {width}]"
        )
    return mask_of_runs(counts, size_hw)
