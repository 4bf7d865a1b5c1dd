"""From a mask, its clicks and depth to the object's points and box in space.

The part of the depth under the mask that holds the clicks is the object. The support below is
cut off. There is no erosion, no removal of outliers and no grid: each made boxes worse when it
was measured on the rendered world. Masks are rather grown a little, as one that is too large
costs less than one that is too small.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.space.boxes import BoxMode, SpaceBox, box_of
from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.reasons import LOWER_BOUND, Finding, Reason
from clip_surgery_ros.space.support import Plane, find_support, tolerance
from clip_surgery_ros.space.transforms import Rigid

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Part = tuple[slice, slice]

STEP = 0.04
"""Largest step of depth between neighbours of one surface, as a share: 27 mm at 0.67 m."""
GROW = 0.009
"""By how much masks are grown, in widths of the picture: 6 pixels of 640."""
LEAST_PART = 0.02
"""Share of the mask's pixels with depth that a part without a click needs, to be kept."""
LEAST_PIXELS = 12
"""Pixels that such a part needs."""
LEAST_POINTS = 30
"""Points that a box needs."""
MOST_PARTS = 30
"""Parts without a click that are looked at."""
CUT = 1.5
"""Tolerances above the support below which points are the support's."""
FLAT_SHARE = 0.15
"""Share of the points that must remain above the support; else the object is flat."""
GAP = 0.35
"""Largest gap between a support and an object's lowest visible point, in visible heights."""
LEFT_OUT = 0.1
"""Share of a mask's measured pixels that may be left out before it is reported."""
MEASURED = 0.5
"""Share of a mask that must have depth; else the box is a lower bound."""
OUTLINE = 0.1
"""Share of an object's outline at something in front from which it counts as hidden."""
NEAR = 11
"""Width, in pixels, of the window beside the outline in which something in front is looked for."""
STEP_OTHER = 0.01
"""Share by which another object must be nearer to be in front; surfaces that are not known to be
another object need :data:`STEP`, as the support in front of an object is nearer too."""
EVERY = 3
"""Of the ring round the mask, every third row and column is used."""


@dataclass(frozen=True)
class LiftSettings:
    """How objects are lifted.

    :param box_mode: see :func:`boxes.box_of`.
    :param nearest: metres; nearer depth is not used.
    :param farthest: metres; farther depth is not used.
    :param up: (3,) against gravity in the target frame; None if it is not known.
    :param find_support: whether to look for the support and cut it off.
    :param grow: by how much masks are grown, in widths of the picture.
    """

    box_mode: BoxMode = "upright"
    nearest: float = 0.1
    farthest: float = 10.0
    up: Floats | None = None
    find_support: bool = True
    grow: float = GROW


@dataclass(frozen=True)
class Lifted:
    """An object in space, or why it is not.

    :param box: in the target frame; None if there is none, and then the last finding says why.
    :param points: (P, 3) the object's points in the target frame, metres.
    :param columns: (P,) the pixels of the points; ``rows`` likewise.
    :param support: what it stands on, if it was looked for and found.
    """

    box: SpaceBox | None
    findings: tuple[Finding, ...]
    points: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    columns: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    support: Plane | None = None

    @property
    def is_lower_bound(self) -> bool:
        """Whether the object may reach beyond its box."""
        return any(finding.reason in LOWER_BOUND for finding in self.findings)


def lift(
    depth: DepthImage,
    mask: Mask,
    clicks: NDArray[np.integer],
    to_target: Rigid,
    others: Mask | None = None,
    settings: LiftSettings | None = None,
) -> Lifted:
    """Return an object in space.

    :param depth: registered to the mask's picture.
    :param mask: (H, W) the object's pixels.
    :param clicks: (K, 2) x, y of pixels on the object.
    :param to_target: takes points of the camera's frame to the frame of the box.
    :param others: (H, W) pixels of other objects, which are neither this one nor its support.
    """
    settings = settings or LiftSettings()
    box = mask_box(mask)
    if box is None:
        return Lifted(None, (Finding(Reason.EMPTY_MASK, "the mask has no pixels"),))
    height, width = mask.shape
    grow = round(settings.grow * width)
    ring = int(np.clip(0.25 * np.sqrt(mask.sum()), 0.02 * width, 0.075 * width))
    margin = ring + grow + 4
    x, y = max(0, box.x - margin), max(0, box.y - margin)
    part = (
        slice(y, min(height, box.y + box.height + margin)),
        slice(x, min(width, box.x + box.width + margin)),
    )
    beside = np.zeros_like(mask[part]) if others is None else others[part] & ~mask[part]
    local = _Local(depth, part, mask[part], beside, settings)
    failed = local.failure()
    if failed is not None:
        return Lifted(None, (failed,))
    kept = local.object_pixels(clicks - np.array([x, y]), grow)
    findings = local.findings(
        kept,
        box.x == 0 or box.y == 0 or box.x + box.width == width or box.y + box.height == height,
    )
    return _finished(local, kept, ring, to_target, settings, findings)


def _finished(
    local: _Local,
    kept: Mask,
    ring: int,
    to_target: Rigid,
    settings: LiftSettings,
    findings: list[Finding],
) -> Lifted:
    """Cut the support off and put a box round the rest."""
    points, columns, rows = local.points(kept, to_target)
    if len(points) < LEAST_POINTS:
        text = f"{len(points)} points of the object have depth, {LEAST_POINTS} are needed"
        return Lifted(None, (*findings, Finding(Reason.TOO_FEW_POINTS, text)))
    support = None
    if settings.find_support:
        around = local.points(local.ring(ring), to_target)[0]
        allowed = tolerance(float(np.median(local.metres[kept])))
        support = find_support(around, to_target.translation, settings.up, allowed)
        if support is None:
            text = f"no plane in the {len(around)} points round the object; nothing was cut off"
            findings.append(Finding(Reason.NO_SUPPORT, text))
        else:
            body = support.heights(points) > CUT * allowed
            if body.sum() < max(LEAST_POINTS, FLAT_SHARE * len(points)):
                text = (
                    f"{int(body.sum())} of {len(points)} points are more than "
                    f"{1000 * CUT * allowed:.0f} mm above the support; it was not cut off"
                )
                findings.append(Finding(Reason.FLAT, text))
                points, columns, rows = local.points(kept & local.mask, to_target)
            else:
                points, columns, rows = points[body], columns[body], rows[body]
        if support is not None and not _may_stand_on(support.heights(points), allowed):
            below = float(support.heights(points).min())
            text = f"the plane found is {1000 * below:.0f} mm below the object: not its support"
            findings.append(Finding(Reason.NO_SUPPORT, text))
            support = None
    box = box_of(points, settings.box_mode, settings.up, support)
    return Lifted(box, tuple(findings), points, columns, rows, support)


def _may_stand_on(heights: Floats, allowed: float) -> bool:
    """Return whether points at these heights above a plane may be of an object that stands on it.

    A ball's lowest visible point is half a radius above the table from 60 degrees above.
    """
    low, high = np.quantile(heights, [0.01, 0.99])
    return bool(low < max(2 * CUT * allowed, GAP * (high - low)))


class _Local:
    """The part of a picture round one mask.

    :param part: rows and columns of the picture.
    :param mask: (h, w) of the part; ``beside`` the pixels of other objects.
    """

    def __init__(
        self, depth: DepthImage, part: Part, mask: Mask, beside: Mask, settings: LiftSettings
    ) -> None:
        self._intrinsics, self._part, self._settings = depth.intrinsics, part, settings
        self.raw = depth.metres[part]
        near, far = np.float32(settings.nearest), np.float32(settings.farthest)
        self.has_depth = (self.raw >= near) & (self.raw <= far)
        self.metres = np.where(self.has_depth, self.raw, np.float32(0))
        self.mask, self.beside = mask, beside

    def failure(self) -> Finding | None:
        """Return why no object can be found here, if none can."""
        pixels, usable = int(self.mask.sum()), int((self.mask & self.has_depth).sum())
        if usable >= LEAST_POINTS:
            return None
        measured = self.raw[self.mask & (self.raw > 0)]
        if len(measured) >= LEAST_POINTS:
            s, middle = self._settings, float(np.median(measured))
            if middle < s.nearest / 50 or middle > s.farthest * 50:
                text = f"the median depth is {middle:.3g} m; is the unit of depth right?"
                return Finding(Reason.UNIT, text)
            text = f"the median depth is {middle:.2f} m, {s.nearest:g} to {s.farthest:g} is used"
            return Finding(Reason.OUT_OF_RANGE, text)
        text = f"{usable} of {pixels} pixels have depth; is it metal, glass, black or too near?"
        return Finding(Reason.TOO_FEW_POINTS, text)

    def object_pixels(self, clicks: NDArray[np.integer], grow: int) -> Mask:
        """Return the pixels of the grown mask that belong to the object.

        :param clicks: (K, 2) x, y in the part.
        """
        grown = _dilated(self.mask, grow) & ~self.beside & self.has_depth
        logs = np.where(grown, np.log(np.maximum(self.metres, 1e-6)), np.float32(-99))
        height, width = grown.shape
        # Filled pixels are walls of later fills, so one array serves all.
        filled = np.zeros((height + 2, width + 2), np.uint8)
        for x, y in self._seeds(clicks):
            _fill(logs, filled, x, y)
        core = filled[1:-1, 1:-1] > 0
        core &= grown
        return core | self._other_parts(core, logs, filled, grown)

    def _seeds(self, clicks: NDArray[np.integer]) -> list[tuple[int, int]]:
        """Return for each click the nearest pixel of the mask that has depth."""
        rows, columns = np.nonzero(self.mask & self.has_depth)
        if not len(clicks):
            clicks = np.array([[columns.mean(), rows.mean()]])
        seeds = []
        for x, y in clicks:
            nearest = int(((columns - x) ** 2 + (rows - y) ** 2).argmin())
            seeds.append((int(columns[nearest]), int(rows[nearest])))
        return seeds

    def _other_parts(
        self, core: Mask, logs: NDArray[np.float32], filled: NDArray[np.uint8], grown: Mask
    ) -> Mask:
        """Return parts without a click at the object's own depth, such as a handle that a hole
        cut off.
        """
        kept = np.zeros_like(core)
        least = max(LEAST_PIXELS, int(LEAST_PART * (self.mask & self.has_depth).sum()))
        rest = grown & self.mask & ~core
        if rest.sum() < least:
            return kept
        depths = self.metres[core]
        low, high = np.quantile(depths, [0.01, 0.99])
        reach = 0.5 * np.sqrt(len(depths)) * float(np.median(depths)) / self._intrinsics.fx
        deep = max(float(high - low), reach)
        for _ in range(MOST_PARTS):
            _, labels, stats, _ = cv2.connectedComponentsWithStats(rest.astype(np.uint8))
            largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else 0
            if not largest or stats[largest, cv2.CC_STAT_AREA] < least:
                break
            at = int((labels == largest).argmax())
            before = filled.copy()
            _fill(logs, filled, at % core.shape[1], at // core.shape[1])
            part = (filled != before)[1:-1, 1:-1] & grown
            inside = part & self.mask
            rest &= ~part
            rest.flat[at] = False
            if inside.sum() >= least:
                middle = float(np.median(self.metres[inside]))
                if low - deep < middle < high + 0.6 * deep:
                    kept |= part
        return kept

    def findings(self, kept: Mask, at_border: bool) -> list[Finding]:
        """Return what is special about the object's pixels."""
        found = []
        measured = self.mask & self.has_depth
        share = measured.sum() / self.mask.sum()
        inside = (kept & measured).sum() / measured.sum()
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

    def _hidden_share(self, kept: Mask) -> float:
        """Return the share of the object's outline beside which something is nearer."""
        outline = kept & ~(cv2.erode(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        # Stereo cameras measure nothing in a strip beside what is in front.
        kernel = np.ones((5, NEAR), np.uint8)
        outside = np.where(kept | ~self.has_depth, np.float32(np.inf), self.metres)
        in_front = outline & (cv2.erode(outside, kernel) < self.metres * (1 - STEP))
        outside[~self.beside] = np.inf
        kernel = np.ones((NEAR, NEAR), np.uint8)
        in_front |= outline & (cv2.erode(outside, kernel) < self.metres * (1 - STEP_OTHER))
        return float(in_front.sum() / max(1, outline.sum()))

    def ring(self, width: int) -> Mask:
        """Return every third pixel round the mask, without those of other objects."""
        objects = _dilated(self.mask | self.beside, 3)
        ring = _dilated(self.mask, width) & ~objects & self.has_depth
        thin = np.zeros_like(ring)
        thin[::EVERY, ::EVERY] = ring[::EVERY, ::EVERY]
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


def _dilated(mask: Mask, pixels: int) -> Mask:
    """Return a mask grown by pixels in all eight directions."""
    if pixels < 1:
        return mask
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def _fill(logs: NDArray[np.float32], filled: NDArray[np.uint8], x: int, y: int) -> None:
    """Fill the surface at a pixel; a pixel that is filled already is left as it is."""
    if not filled[y + 1, x + 1]:
        flags = 8 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        cv2.floodFill(logs, filled, (x, y), 0, STEP, STEP, flags)
