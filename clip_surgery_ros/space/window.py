"""The part of a picture round one mask: its pixels that are the object's, and their points."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.numbers import median
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.support import Plane
from clip_surgery_ros.space.transforms import Rigid

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Part = tuple[slice, slice]

STEP = 0.04
"""Largest step of depth between neighbours of one surface, as a share: 27 mm at 0.67 m. At 3 %
objects break, at 5 % what is behind them joins."""
WIDTH = 640
"""Of the picture, pixels, for which distances in pixels are given here; others scale them."""
STEP_BEYOND = 0.02
"""The same beyond a mask that is too small: at :data:`STEP`, half of what was found there was
something else that touches."""
HOLE = 12
"""Pixels without depth from a surface that still count as joined to it."""
LEAST_PART = 0.02
"""Share of the mask's pixels with depth that a part without a click needs, to be kept."""
LEAST_PIXELS = 12
"""Pixels that such a part needs."""
LEAST_POINTS = 30
"""Points that a box needs."""
MOST_PARTS = 30
"""Parts without a click that are looked at."""
LEAST_BEYOND = 8
"""Pixels of a surface at a distance from the mask, in a band of two, from which it goes on."""
LEFT_OUT = 0.1
"""Share of a mask's measured pixels that may be left out before it is reported."""
MEASURED = 0.5
"""Share of a mask that must have depth; else the box is a lower bound."""
OUTLINE = 0.1
"""Share of an object's outline at something in front from which it counts as hidden."""
NEAR = 11
"""Width, in pixels, of the window beside the outline in which something in front is looked for;
it is odd."""
STEP_OTHER = 0.01
"""Share by which another object must be nearer to be in front; surfaces that are not known to be
another object need :data:`STEP`, as the support in front of an object is nearer too."""
SOME = 2000
"""Pixels that are enough for a median."""
EVERY = 3
"""Of the ring round the mask, every third row and column is used."""
APART = 3
"""Pixels between the mask and the ring round it."""


class Window:
    """The part of a picture round one mask.

    :param part: rows and columns of the picture.
    :param mask: (h, w) of the part; ``others`` the masks of other objects, which may share pixels.
    :param limits: metres, nearest and farthest depth that is used.
    """

    def __init__(
        self, depth: DepthImage, part: Part, mask: Mask, others: Mask, limits: tuple[float, float]
    ) -> None:
        self._intrinsics, self._part, self._limits = depth.intrinsics, part, limits
        self._scale = depth.intrinsics.width / WIDTH
        self.raw = depth.metres[part]
        near, far = (np.float32(limit) for limit in limits)
        self.has_depth = (self.raw >= near) & (self.raw <= far)
        self.metres = np.where(self.has_depth, self.raw, np.float32(0))
        self.mask, self.beside, self.shared = mask, others & ~mask, others & mask

    def failure(self) -> Finding | None:
        """Return why no object can be found here, if none can."""
        pixels, usable = np.count_nonzero(self.mask), np.count_nonzero(self.mask & self.has_depth)
        if usable >= LEAST_POINTS:
            return None
        measured = self.raw[self.mask & (self.raw > 0)]
        if len(measured) >= LEAST_POINTS:
            (nearest, farthest), middle = self._limits, median(measured)
            if middle < nearest / 50 or middle > farthest * 50:
                text = f"the median depth is {middle:.3g} m; is the unit of depth right?"
                return Finding(Reason.UNIT, text)
            text = f"the median depth is {middle:.2f} m, {nearest:g} to {farthest:g} is used"
            return Finding(Reason.OUT_OF_RANGE, text)
        text = f"{usable} of {pixels} pixels have depth; is it metal, glass, black or too near?"
        return Finding(Reason.TOO_FEW_POINTS, text)

    def object_pixels(
        self,
        clicks: NDArray[np.integer],
        grow: int,
        beside: Mask | None = None,
        step: float = STEP,
    ) -> Mask:
        """Return the pixels of the mask grown by some pixels that a surface joins to the clicks.

        :param clicks: (K, 2) x, y in the part.
        :param beside: (h, w) pixels that are not the object's; None for those of other objects.
        :param step: largest step of depth between neighbours of a surface, as a share.
        """
        grown = dilated(self.mask, grow) & ~(self.beside if beside is None else beside)
        logs = np.where(grown, np.log(np.maximum(self.without_holes, 1e-6)), np.float32(-99))
        height, width = grown.shape
        # Filled pixels are walls of later fills, so one array serves all.
        filled = np.zeros((height + 2, width + 2), np.uint8)
        for x, y in self._seeds(clicks):
            fill(logs, filled, x, y, step)
        grown &= self.has_depth
        core = filled[1:-1, 1:-1] > 0
        core &= grown
        return core | self._other_parts(core, logs, filled, grown, step)

    @cached_property
    def without_holes(self) -> NDArray[np.float32]:
        """Depth, (h, w) metres, in which pixels without depth have that of the nearest with
        depth, so that a surface with holes is one; beyond :data:`HOLE` they have 0.
        """
        holes = (~self.has_depth).astype(np.uint8)
        if not holes.any():
            return self.metres
        distance, labels = cv2.distanceTransformWithLabels(
            holes, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        filled = self.metres.copy()
        near = holes.view(np.bool_) & (distance <= max(2.0, HOLE * self._scale))
        # Labels count the pixels with depth, row by row, from 1.
        filled[near] = self.metres[self.has_depth][labels[near] - 1]
        return filled

    def _seeds(self, clicks: NDArray[np.integer]) -> list[tuple[int, int]]:
        """Return for each click the nearest pixel of the mask that has depth."""
        usable = self.mask & self.has_depth
        height, width = usable.shape
        if not len(clicks):
            rows, columns = np.nonzero(usable)
            clicks = np.array([[round(columns.mean()), round(rows.mean())]])
        seeds = []
        for x, y in clicks.tolist():
            if not (0 <= x < width and 0 <= y < height and usable[y, x]):
                rows, columns = np.nonzero(usable)
                nearest = int(((columns - x) ** 2 + (rows - y) ** 2).argmin())
                x, y = int(columns[nearest]), int(rows[nearest])
            seeds.append((x, y))
        return seeds

    def _other_parts(
        self,
        core: Mask,
        logs: NDArray[np.float32],
        filled: NDArray[np.uint8],
        grown: Mask,
        step: float,
    ) -> Mask:
        """Return parts without a click at the object's own depth, such as a handle that a hole
        cut off.
        """
        kept = np.zeros_like(core)
        least = max(LEAST_PIXELS, int(LEAST_PART * np.count_nonzero(self.mask & self.has_depth)))
        rest = grown & self.mask & ~core
        if np.count_nonzero(rest) < least:
            return kept
        depths = self.metres[core]
        low, high = np.quantile(depths, [0.01, 0.99])
        reach = 0.5 * np.sqrt(len(depths)) * median(depths) / self._intrinsics.fx
        deep = max(float(high - low), reach)
        for _ in range(MOST_PARTS):
            _, labels, stats, _ = cv2.connectedComponentsWithStats(rest.astype(np.uint8))
            largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else 0
            if not largest or stats[largest, cv2.CC_STAT_AREA] < least:
                break
            at = int((labels == largest).argmax())
            before = filled.copy()
            fill(logs, filled, at % core.shape[1], at // core.shape[1], step)
            part = (filled != before)[1:-1, 1:-1] & grown
            inside = part & self.mask
            rest &= ~part
            rest.flat[at] = False
            if np.count_nonzero(inside) >= least:
                middle = median(self.metres[inside])
                if low - deep < middle < high + 0.6 * deep:
                    kept |= part
        return kept

    @cached_property
    def beyond_border(self) -> NDArray[np.int32]:
        """How far each pixel is outside the mask, (h, w): 1 for the first outside, 0 for
        the last inside, less within.
        """
        mask = self.mask.astype(np.uint8)
        outside = cv2.distanceTransform(1 - mask, cv2.DIST_C, 3)
        inside = cv2.distanceTransform(mask, cv2.DIST_C, 3)
        # Chessboard distances are whole numbers.
        return (outside - np.maximum(inside - 1, 0)).astype(np.int32)

    def heights(self, plane: Plane, to_target: Rigid) -> NDArray[np.float32]:
        """Return how far the pixels' points are above a plane of the target frame, (h, w)."""
        x, y, z = to_target.rotation.T @ plane.normal
        offset = plane.offset - plane.normal @ to_target.translation
        camera, (height, width) = self._intrinsics, self.metres.shape
        columns = np.arange(width) + (self._part[1].start - camera.cx)
        rows = np.arange(height) + (self._part[0].start - camera.cy)
        along = (x / camera.fx * columns + (y / camera.fy * rows + z)[:, None]).astype(np.float32)
        return self.metres * along - np.float32(offset)

    def pixel_size(self, pixels: Mask) -> float:
        """Return how large a pixel is at the median depth of pixels, metres."""
        return self.median_depth(pixels) / self._intrinsics.fx

    def median_depth(self, pixels: Mask) -> float:
        """Return the median depth of pixels, metres; of some of them, where they are many."""
        depths = self.metres[pixels]
        return median(depths[:: max(1, len(depths) // SOME)])

    def findings(self, kept: Mask, reached: Mask, at_border: bool) -> list[Finding]:
        """Return what is special about the object's pixels.

        :param kept: those of its box; ``reached`` those that a surface joins to the clicks.
        """
        found = []
        measured = self.mask & self.has_depth
        share = np.count_nonzero(measured) / np.count_nonzero(self.mask)
        inside = np.count_nonzero(reached & measured) / np.count_nonzero(measured)
        if inside < 1 - LEFT_OUT:
            text = f"a step in depth divides the mask; the clicked part, {inside:.0%}, was kept"
            found.append(Finding(Reason.TWO_LAYERS, text))
        if share < MEASURED:
            found.append(Finding(Reason.HOLES, f"only {share:.0%} of the mask has depth"))
        if at_border:
            text = "the picture's border cuts the object; the box is a lower bound"
            found.append(Finding(Reason.CUT_BY_BORDER, text))
        hidden = self._hidden_share(kept)
        if hidden > OUTLINE:
            text = f"something in front covers {hidden:.0%} of the outline; a lower bound"
            found.append(Finding(Reason.HIDDEN, text))
        return found

    def goes_on(
        self,
        clicks: NDArray[np.integer],
        kept: Mask,
        above: Mask | None,
        moved: int,
        reach: int,
    ) -> bool:
        """Return whether the surface at the clicks goes on beyond the mask, but for what is beside
        other objects, whose masks are then too small as well.

        :param clicks: (K, 2) x, y in the part.
        :param kept: the object's pixels.
        :param above: the pixels above the support; None if there is none.
        :param moved: pixels by which masks are too small.
        :param reach: pixels beyond the mask that are looked at.
        """
        foreign = dilated(self.beside, moved + 2)
        if above is not None:
            # What stands on the same support would be reached over it.
            foreign |= self.has_depth & ~above & ~self.mask
        surface = self.object_pixels(clicks, reach, foreign & ~kept, STEP_BEYOND)
        beyond = self.beyond_border
        band = surface & (beyond >= reach - 1) & (beyond <= reach) & ~kept
        if above is not None:
            band &= above
        stats = cv2.connectedComponentsWithStats(band.astype(np.uint8))[2]
        return bool((stats[1:, cv2.CC_STAT_AREA] >= LEAST_BEYOND).any())

    def _hidden_share(self, kept: Mask) -> float:
        """Return the share of the object's outline beside which something is nearer."""
        outline = kept & ~(cv2.erode(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        # Stereo cameras measure nothing in a strip beside what is in front.
        near, high = (2 * max(1, round(side * self._scale / 2 - 0.5)) + 1 for side in (NEAR, 5))
        kernel = np.ones((high, near), np.uint8)
        outside = np.where(kept | ~self.has_depth, np.float32(np.inf), self.metres)
        in_front = outline & (cv2.erode(outside, kernel) < self.metres * (1 - STEP))
        if self.beside.any():
            outside[~self.beside] = np.inf
            kernel = np.ones((near, near), np.uint8)
            in_front |= outline & (cv2.erode(outside, kernel) < self.metres * (1 - STEP_OTHER))
        return int(np.count_nonzero(in_front)) / max(1, int(np.count_nonzero(outline)))

    def ring(self, width: int) -> Mask:
        """Return some pixels round the mask, without those of other objects."""
        objects = dilated(self.mask | self.beside, max(1, round(APART * self._scale)))
        every = max(1, round(EVERY * self._scale))
        ring = dilated(self.mask, width) & ~objects & self.has_depth
        thin = np.zeros_like(ring)
        thin[::every, ::every] = ring[::every, ::every]
        return thin

    def points(
        self, pixels: Mask, to_target: Rigid
    ) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
        """Return points (P, 3) in the target frame, and their columns and rows (P,)."""
        rows, columns = np.nonzero(pixels)
        depth = self.metres[rows, columns]
        rows, columns = rows + self._part[0].start, columns + self._part[1].start
        local = self._intrinsics.points(columns.astype(np.float32), rows.astype(np.float32), depth)
        return to_target.apply(local), columns, rows


def dilated(mask: Mask, pixels: int) -> Mask:
    """Return a mask grown by pixels in all eight directions."""
    if pixels < 1:
        return mask
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def fill(
    logs: NDArray[np.float32], filled: NDArray[np.uint8], x: int, y: int, step: float
) -> None:
    """Fill the surface at a pixel; a pixel that is filled already is left as it is.

    :param logs: (h, w) logarithm of depth, -99 where nothing is to be filled.
    :param filled: (h + 2, w + 2) with a border; filled pixels become 1.
    :param step: largest step of depth between neighbours of a surface, as a share.
    """
    if not filled[y + 1, x + 1]:
        flags = 8 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        cv2.floodFill(logs, filled, (x, y), 0, step, step, flags)
