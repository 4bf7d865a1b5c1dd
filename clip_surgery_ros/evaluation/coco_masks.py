"""Masks of COCO's annotations: polygons and run lengths, plain or compressed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

LARGEST_SHIFT = 60
"""Bits of a compressed run length; more pixels than that no picture has."""


def declared_size(segmentation: Any) -> tuple[int, int] | None:
    """Height and width that run lengths are of; None of polygons and of what is neither."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not (isinstance(size, list) and len(size) == 2 and all(is_whole(one) for one in size)):
        return None
    return int(size[0]), int(size[1])


def mask_of(segmentation: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of an annotation's ``segmentation``.

    :raises ValueError: saying what is wrong with it.
    """
    if not segmentation:
        raise ValueError(
            "it has no segmentation; masks are compared here, so that boxes alone do not do"
        )
    if isinstance(segmentation, list):
        polygons = [_corners(one, size_hw) for one in segmentation]
        return np.any([_filled(corners, size_hw) for corners in polygons], axis=0)
    if isinstance(segmentation, dict):
        return _of_runs(segmentation, size_hw)
    raise ValueError("its segmentation is neither a list of polygons nor run lengths")


def is_whole(value: Any) -> bool:
    """Is it a whole number, from 0 on? JSON of some programs has 640.0 for 640."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0 and value == int(value)


def _corners(polygon: Any, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(P, 2) corners (x, y) of a list x, y, x, y..."""
    if not isinstance(polygon, list):
        raise ValueError(
            "its segmentation is not a list of polygons, each a list of x, y, x, y..."
        )
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in polygon):
        raise ValueError("a polygon has a corner that is no number")
    if len(polygon) % 2 or len(polygon) < 6:
        raise ValueError(f"a polygon has {len(polygon)} numbers, but wants x and y of 3 corners")
    height, width = size_hw
    # A polygon may leave the picture a little; one that is off by the picture's own size is of
    # another picture. This refuses infinities and, since they compare as false, what is no number.
    xs_inside = all(-width <= x <= 2 * width for x in polygon[::2])
    if not (xs_inside and all(-height <= y <= 2 * height for y in polygon[1::2])):
        raise ValueError(f"a polygon lies outside the picture of {width} x {height} pixels")
    return np.array(polygon, np.float64).reshape(-1, 2)


def _filled(corners: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) pixels whose centre lies in the polygon of (P, 2) corners (x, y)."""
    filled = np.zeros(size_hw, np.bool_)
    # Only where it can be: asking for every pixel of a photograph takes seconds.
    limits = np.array(size_hw[::-1])
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, limits)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, limits)
    rows, columns = np.mgrid[y0:y1, x0:x1]
    centres = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    filled[y0:y1, x0:x1] = Polygon(corners).contains_points(centres).reshape(rows.shape)
    return filled


def _of_runs(segmentation: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of run lengths, column by column, the first of what is not the object."""
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not (isinstance(counts, list) and all(is_whole(run) for run in counts)):
        raise ValueError("its run lengths are not whole numbers from 0 on")
    size = declared_size(segmentation)
    height, width = size_hw
    if size != size_hw or sum(counts) != height * width:
        raise ValueError(
            f"its {sum(counts)} pixels in runs of size {segmentation.get('size')!r} do not fill "
            f"[{height}, {width}]"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.array(counts, np.int64)).reshape(width, height).T


def _decompressed(text: str) -> Sequence[int]:
    """Run lengths of COCO's strings: five bits a character, each from the third on a difference to
    the one two before (pycocotools, ``rleFrString``).
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > LARGEST_SHIFT:
            raise ValueError(f"character {character!r} in compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:  # more to come
            continue
        if bits & 0x10:  # negative
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("compressed run lengths that end within a number")
    return runs
