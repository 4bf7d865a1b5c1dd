"""Boxes, grids and pixels: conversions between (x, y) and (row, column)."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import Box

Scalar = TypeVar("Scalar", bound=np.generic)


def cells_to_pixels(
    cells: NDArray[np.intp], grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> NDArray[np.int32]:
    """Return the centres of grid cells as pixels of the image.

    ``x = int(min((col + 0.5) W / w, W - 1))``, and y in the same way, as CLIP Surgery's code does.

    :param cells: (P,) flat, row-major indices into the grid.
    :returns: (P, 2) int32 x, y.
    """
    (rows, columns), (height, width) = grid_hw, size_hw
    row, column = np.divmod(cells, columns)
    x = np.minimum((column + 0.5) * width / columns, width - 1)
    y = np.minimum((row + 0.5) * height / rows, height - 1)
    return np.stack([x, y], axis=1).astype(np.int32)


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the tight box of a (H, W) mask; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Box(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)


def inside_box(values: NDArray[Scalar], box: Box) -> NDArray[Scalar]:
    """Return the part of a (H, W) mask or map inside the box, as a view."""
    return values[box.y : box.y + box.height, box.x : box.x + box.width]


def crop(mask: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
    """Return the part of a (H, W) mask inside the box, as a copy."""
    return inside_box(mask, box).copy()


def uncrop(mask: NDArray[np.bool_], box: Box, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the (H, W) mask of the image whose part inside the box is ``mask``; the opposite of
    :func:`crop`.
    """
    full = np.zeros(size_hw, np.bool_)
    inside_box(full, box)[:] = mask
    return full


def paste(canvas: NDArray[np.generic], mask: NDArray[np.bool_], box: Box, value: float) -> None:
    """Set ``value`` on the (H, W) canvas where the box's mask is True; changes the canvas."""
    inside_box(canvas, box)[mask] = value
