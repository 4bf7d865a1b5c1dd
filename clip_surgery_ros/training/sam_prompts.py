"""Random point prompts for objects of a picture, as clicks and maps give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = tuple[NDArray[np.float32], NDArray[np.float32]]
"""(K, 2) x, y and (K,) labels, 1 inside the object and 0 outside."""


@dataclass(frozen=True)
class MaskedPicture:
    """A picture and its objects.

    :param image: (H, W, 3) uint8.
    :param masks: (O, H, W) bool, visible pixels of each object; none is empty.
    :param names: of the objects; those of one name are copies.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    names: tuple[str, ...]


def random_points(
    picture: MaskedPicture, index: int, size: int, rng: np.random.Generator
) -> Points:
    """Draw one click in an object, or several points in it and outside it.

    :param index: of the object.
    :param size: number of points, K.
    """
    mask = picture.masks[index].astype(np.uint8)
    positives = 1 if size == 1 else int(rng.integers(1, size + 1))
    inside = mask if rng.random() < 0.5 else cv2.erode(mask, np.ones((5, 5), np.uint8))
    if positives > 3 and rng.random() < 0.5:
        inside = cv2.dilate(mask, np.ones((7, 7), np.uint8))  # maps extend beyond the object
    inner_points = _pick_pixels(inside if inside.any() else mask, positives, rng)
    others = np.any(picture.masks, axis=0) & (mask == 0)
    # In use, most negative points lie on another object.
    outside = others.astype(np.uint8) if others.any() and rng.random() < 0.5 else 1 - mask
    outer_points = _pick_pixels(outside, size - positives, rng)
    return np.concatenate([inner_points, outer_points]), np.repeat(
        np.array([1, 0], np.float32), [positives, size - positives]
    )


def click_excluding_others(
    picture: MaskedPicture, index: int, size: int, rng: np.random.Generator
) -> Points:
    """Draw one click in an object and negative points on others: on its copies, if it has any.

    Parameters are those of :func:`random_points`.
    """
    others = [other for other in range(len(picture.masks)) if other != index]
    copies = [other for other in others if picture.names[other] == picture.names[index]]
    excluded = [_inner_half(picture.masks[other]) for other in copies or others]
    outside = np.any(excluded, axis=0) if excluded else ~picture.masks[index]
    click = _pick_pixels(_inner_half(picture.masks[index]), 1, rng)
    negatives = _pick_pixels(outside, size - 1, rng)
    return np.concatenate([click, negatives]), np.array([1] + [0] * (size - 1), np.float32)


def _inner_half(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the half of the mask's pixels farthest from its edge, where maps have their peaks."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(depth >= np.median(depth[mask]))


def _pick_pixels(mask: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (count, 2) x, y of random pixels of the mask."""
    rows, columns = np.nonzero(mask)
    picks = rng.integers(len(rows), size=count)
    return np.stack([columns[picks], rows[picks]], axis=1).astype(np.float32)
