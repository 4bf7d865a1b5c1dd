"""Boxes, grids and pixels: the one place where (x, y) and (row, column) meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import Box


def cells_to_pixels(
    cells: NDArray[np.intp], grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> NDArray[np.int32]:
    """Centres of flat grid cells as pixels of the image.

    ``x = int(min((col + 0.5) W / w, W - 1))`` and likewise y, as published.

    :param cells: (P,) flat, row-major indices into the grid.
    :returns: (P, 2) int32 x, y.
    """
    (rows, columns), (height, width) = grid_hw, size_hw
    row, column = np.divmod(cells, columns)
    x = np.minimum((column + 0.5) * width / columns, width - 1)
    y = np.minimum((row + 0.5) * height / rows, height - 1)
    return np.stack([x, y], axis=1).astype(np.int32)


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """Tight box of a (H, W) mask; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Box(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)


def crop(mask: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
    """The part of a (H, W) mask inside the box, as its own array."""
    return mask[box.y : box.y + box.height, box.x : box.x + box.width].copy()


def paste(canvas: NDArray[np.generic], mask: NDArray[np.bool_], box: Box, value: float) -> None:
    """Set ``value`` on the (H, W) canvas where the box's mask is True, in place."""
    canvas[box.y : box.y + box.height, box.x : box.x + box.width][mask] = value
