"""Surfaces above the support: what a mask lacks of its object, and what it has besides.

Masks of networks leave whole parts out: the shaft of a screwdriver, the spout of a teapot. A
surface that stands out from its support and ends near the mask is the object's as a whole, if most
of it is in the mask. Where it does not end, or is mostly elsewhere, the mask may be right, since
things that touch are one surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.window import LEAST_PIXELS, STEP_BEYOND, Window, fill

Mask = NDArray[np.bool_]

REACH = 0.06
"""How far beyond the mask a surface must end, in widths of the picture: 38 pixels of 640, half of
a mug at 0.7 m. At 0.1, a pipeline's masks are a little better with good depth, and worse with bad
depth."""
MOST = 0.5
"""Share of a surface that must be in the mask. Of less, the mask is that of another object."""
OUT = 3.0
"""Deviations of the support's points above it from which a point beyond the mask stands out from
it: one of 700 points of a plane does."""
OUT_LEAST = 0.002
"""Metres that it stands out in any case; depth images have steps of a millimetre."""
LEAST_ADDED = 0.03
"""Share of the mask's object that must be lacking. Less is noise beside a border that is right
already: it made true masks worse."""
STEP_APART = 0.03
"""Largest step of depth between neighbours of one surface, as a share, without the support. At 4 %
more of what stands behind is joined to it, at 2 % more objects break."""
MOST_SURFACES = 10
"""Surfaces of a mask that are looked at, the largest first."""


@dataclass(frozen=True)
class Completed:
    """An object's pixels with what the mask lacks of its surfaces.

    :param pixels: (h, w) bool.
    :param at_most: these and what else those surfaces have near the mask that are mostly in it;
        they do not end there, so it may be another object's.
    """

    pixels: Mask
    at_most: Mask


def completed(window: Window, kept: Mask, standing_out: Mask, reach: int) -> Completed:
    """Return an object's pixels with the rest of those surfaces that end near the mask.

    :param kept: (h, w) the object's pixels within the mask.
    :param standing_out: (h, w) the pixels above the support.
    :param reach: pixels beyond the mask that are looked at.
    """
    near = window.beyond_border <= reach
    beyond = near & standing_out & window.has_depth & ~window.mask & ~window.beside
    ground = kept | beyond
    if np.count_nonzero(ground) < (1 + LEAST_ADDED) * np.count_nonzero(kept):
        return Completed(kept, kept)
    logs = np.where(ground, np.log(np.maximum(window.metres, 1e-6)), np.float32(-99))
    height, width = ground.shape
    filled = np.zeros((height + 2, width + 2), np.uint8)
    end = window.beyond_border == reach
    end[[0, -1]] = end[:, [0, -1]] = True
    pixels, at_most, rest = kept.copy(), kept.copy(), kept.copy()
    for _ in range(MOST_SURFACES):
        seed = _innermost_of_largest(rest)
        if seed is None:
            break
        before = filled.copy()
        fill(logs, filled, *seed, STEP_BEYOND)
        surface = (filled != before)[1:-1, 1:-1] & ground
        rest &= ~surface
        rest[seed[1], seed[0]] = False
        inside = np.count_nonzero(surface & window.mask)
        if inside >= MOST * np.count_nonzero(surface):
            at_most |= surface
            if not (surface & end).any():
                pixels |= surface
    if np.count_nonzero(pixels) < (1 + LEAST_ADDED) * np.count_nonzero(kept):
        pixels = kept
    return Completed(pixels, at_most)


def largest_surface(window: Window, pixels: Mask) -> Mask:
    """Return those of an object's pixels that are one surface, the largest.

    :param pixels: (h, w) without the support, over which things beside each other are one.
    """
    seed = _innermost_of_largest(pixels)
    if seed is None:
        return pixels
    ground = pixels | ~window.has_depth
    logs = np.where(ground, np.log(np.maximum(window.without_holes, 1e-6)), np.float32(-99))
    filled = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 2), np.uint8)
    fill(logs, filled, *seed, STEP_APART)
    return np.asarray((filled[1:-1, 1:-1] > 0) & pixels)


def unlike(window: Window, pixels: Mask, moved: int) -> float:
    """Return the share of the pixels of the mask and the object that only one of them has.

    :param pixels: (h, w) the object's.
    :param moved: pixels by which the mask's border is moved outward first.
    """
    mask = (window.beyond_border <= moved) & window.has_depth & ~window.beside
    either = int(np.count_nonzero(mask | pixels))
    return float(np.count_nonzero(mask ^ pixels) / max(1, either))


def _innermost_of_largest(pixels: Mask) -> tuple[int, int] | None:
    """Return x and y of the pixel farthest from the border of the largest part, if it is large
    enough.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else 0
    if not largest or stats[largest, cv2.CC_STAT_AREA] < LEAST_PIXELS:
        return None
    left, top, width, height = (int(value) for value in stats[largest, : cv2.CC_STAT_AREA])
    part = labels[top : top + height, left : left + width] == largest
    # The border of the part's box is outside the part.
    inside = cv2.copyMakeBorder(part.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return left + int(x) - 1, top + int(y) - 1
