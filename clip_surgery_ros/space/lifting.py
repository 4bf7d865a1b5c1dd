"""From a mask, its clicks and depth to the object's points and box in space.

What a surface joins to the clicks, above the support, is the object's, as far as the mask's
border reaches, which is first moved to where that surface ends: masks of networks are some pixels
too large or too small. There is no erosion, no removal of outliers and no grid: each made boxes
worse when it was measured on the rendered world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import inside_box, mask_box
from clip_surgery_ros.core.types import Box
from clip_surgery_ros.space.alternatives import Choice, alternatives, doubt, is_elsewhere
from clip_surgery_ros.space.boxes import BoxMode, SpaceBox, box_of
from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.numbers import quantiles
from clip_surgery_ros.space.reasons import LOWER_BOUND, Finding, Reason
from clip_surgery_ros.space.support import Plane, find_support, tolerance
from clip_surgery_ros.space.surface import OUT, OUT_LEAST, REACH, Completed, completed, unlike
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.space.uncertainty import centre_covariance
from clip_surgery_ros.space.window import LEAST_POINTS, Part, Window, dilated

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

GROW = 0.0125
"""How far a mask's border is moved at most, in widths of the picture: 8 pixels of 640."""
STAY = 0.02
"""Share of the border's pixels that must speak for each pixel by which the border moves."""
TOO_SMALL = 0.005
"""By how much a mask's border is moved outward, in widths of the picture, when the mask lacks thin
parts too: 3 pixels of 640. Of right masks, none was moved so far."""
GOES_ON = 0.025
"""How far beyond the mask its surface then still goes, in widths of the picture: 16 pixels of
640, so 10 beyond the border of an object whose mask is 6 too small."""
CLEAR = 0.006
"""Metres above the support at which what is beyond a mask is not the support."""
SMALL_PART = 0.25
"""Share of the surface in a mask below which what is above the support is doubtful."""
UNLIKE = 0.45
"""Share of the pixels of a mask and its object that only one of them may have before the box is
doubtful."""
CUT = 1.5
"""Tolerances above the support below which points are the support's at most."""
CUT_NOISE = 2.0
"""The same in deviations of the support's own points, which are mostly less; feet and rims of
objects are in what is cut."""
CUT_LEAST = 0.001
"""Metres above the support that are cut in any case."""
FLAT_SHARE = 0.15
"""Share of the points that must remain above the support; else the object is flat."""
SOME = 2000
"""Points that say enough about an object's heights."""
GAP = 0.35
"""Largest gap between a support and an object's lowest visible point, in visible heights."""


@dataclass(frozen=True)
class LiftSettings:
    """How objects are lifted.

    :param box_mode: see :func:`boxes.box_of`.
    :param nearest: metres; nearer depth is not used.
    :param farthest: metres; farther depth is not used.
    :param up: (3,) against gravity in the target frame; None if it is not known.
    :param find_support: whether to look for the support and cut it off.
    :param grow: how far a mask's border is moved at most, in widths of the picture.
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
    :param covariance: (3, 3) of the box's centre in the target frame, square metres; None without
        a box. See :mod:`uncertainty`.
    """

    box: SpaceBox | None
    findings: tuple[Finding, ...]
    points: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    columns: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    support: Plane | None = None
    covariance: Floats | None = None

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
    :param others: (H, W) the masks of other objects; what they have alone is neither this one nor
        its support.
    """
    settings = settings or LiftSettings()
    box = mask_box(mask)
    if box is None:
        return Lifted(None, (Finding(Reason.EMPTY_MASK, "the mask has no pixels"),))
    height, width = mask.shape
    grow = round(settings.grow * width)
    side = np.sqrt(np.count_nonzero(inside_box(mask, box)))
    ring = int(np.clip(0.25 * side, 0.02 * width, 0.075 * width))
    reach = round(REACH * width)
    part = _part_round(box, max(ring + grow, reach) + 4, width, height)
    clicks = clicks - np.array([part[1].start, part[0].start])
    around = np.zeros_like(mask[part]) if others is None else others[part]
    window = Window(depth, part, mask[part], around, (settings.nearest, settings.farthest))
    failed = window.failure()
    if failed is not None:
        return Lifted(None, (failed,))
    reached = window.object_pixels(clicks, grow)
    found = _above_support(window, reached, ring, to_target, settings)
    kept, moved = found.pixels & window.mask, 0
    if found.may_move_border:
        kept, moved = _within_moved_border(window, found.pixels, grow)
    whole = _completed(window, kept, found, to_target, reach)
    choices = alternatives(window, whole, kept)
    kept, differing = whole.pixels, unlike(window, whole.pixels, moved)
    findings = window.findings(kept, reached, _is_cut(box, width, height))
    findings += found.findings
    findings += _small_part(window, found, reached, kept, differing)
    if moved >= max(2, round(TOO_SMALL * width)):
        above = None if found.support is None else window.heights(found.support, to_target) > CLEAR
        reach = round(GOES_ON * width)
        if window.goes_on(clicks, kept, above, moved, reach):
            findings.append(_mask_too_small(moved, reach))
    return _boxed(window, kept, found, to_target, settings, findings, choices, differing)


def _part_round(box: Box, margin: int, width: int, height: int) -> Part:
    """Return the rows and columns of a picture round a box."""
    return (
        slice(max(0, box.y - margin), min(height, box.y + box.height + margin)),
        slice(max(0, box.x - margin), min(width, box.x + box.width + margin)),
    )


def _is_cut(box: Box, width: int, height: int) -> bool:
    """Return whether a mask's box touches the border of the picture."""
    return box.x == 0 or box.y == 0 or box.x + box.width == width or box.y + box.height == height


def _small_part(
    window: Window, found: _AboveSupport, reached: Mask, kept: Mask, differing: float
) -> list[Finding]:
    """Return that only a small part of a mask is above the support, if it is so.

    :param differing: share of the pixels of the mask and the object that only one of them has.
    """
    own, whole = (int(np.count_nonzero(pixels & window.mask)) for pixels in (kept, reached))
    if not found.may_move_border or found.support is None:
        return []
    if own < SMALL_PART * whole:
        text = f"only {own} of {whole} pixels of the surface in the mask are above the support"
        return [Finding(Reason.SMALL_PART, text)]
    if differing > UNLIKE:
        text = f"what is above the support and the mask differ in {differing:.0%} of their pixels"
        return [Finding(Reason.SMALL_PART, text)]
    return []


def _mask_too_small(moved: int, reach: int) -> Finding:
    text = (
        f"the surface goes {moved} pixels beyond the mask, and more than {reach} in places: the "
        "mask is too small, and the box is a lower bound"
    )
    return Finding(Reason.MASK_TOO_SMALL, text)


@dataclass(frozen=True)
class _AboveSupport:
    """The pixels joined to the clicks that are above the support.

    :param may_move_border: whether pixels outside the mask can be told from the object's.
    :param noise: deviation of depth, seen on the support, metres; None if there is none.
    """

    pixels: Mask
    findings: tuple[Finding, ...] = ()
    support: Plane | None = None
    allowed: float = 0.0
    may_move_border: bool = False
    noise: float | None = None


def _above_support(
    window: Window, reached: Mask, ring: int, to_target: Rigid, settings: LiftSettings
) -> _AboveSupport:
    """Find the support and cut it off, unless hardly anything is above it.

    :param ring: width of the ring round the mask in which it is looked for, pixels.
    """
    if not settings.find_support:
        return _AboveSupport(reached)
    around = window.points(window.ring(ring), to_target)[0]
    allowed = tolerance(window.median_depth(reached))
    support = find_support(around, to_target.translation, settings.up, allowed)
    if support is None:
        text = f"no plane in the {len(around)} points round the object; nothing was cut off"
        return _AboveSupport(reached, (Finding(Reason.NO_SUPPORT, text),), may_move_border=True)
    cut = min(max(CUT_LEAST, CUT_NOISE * support.noise), CUT * allowed)
    above = reached & (window.heights(support, to_target) > cut)
    body, points = np.count_nonzero(above & window.mask), np.count_nonzero(reached & window.mask)
    if body < max(LEAST_POINTS, FLAT_SHARE * points):
        text = (
            f"{body} of {points} points are more than {1000 * cut:.0f} mm above the support; it "
            "was not cut off"
        )
        flat = (Finding(Reason.FLAT, text),)
        return _AboveSupport(reached, flat, support, allowed, noise=support.noise)
    return _AboveSupport(above, (), support, allowed, True, support.noise)


def _within_moved_border(window: Window, body: Mask, most: int) -> tuple[Mask, int]:
    """Return the body's pixels within the mask, after its border was moved to where fewest pixels
    are wrong: the body's outside, and others inside; and by how many pixels it was moved outward.

    :param body: (h, w) what may be the object, inside and outside the mask.
    :param most: pixels that the border is moved at most.
    """
    beyond = window.beyond_border
    # What the mask has elsewhere, such as a wall behind a hole, says nothing about this border.
    near = window.has_depth & (np.abs(beyond) <= most) & dilated(body & window.mask, most)
    at = beyond + most
    own = np.bincount(at[near & body], minlength=2 * most + 1)
    every = np.bincount(at[near], minlength=2 * most + 1)
    wrong = np.cumsum(every - own) + own.sum() - np.cumsum(own)
    wrong = wrong + STAY * every[most] * np.abs(np.arange(-most, most + 1))
    outward = int(wrong.argmin()) - most
    kept = np.asarray(body & (beyond <= outward))
    if np.count_nonzero(kept) < LEAST_POINTS:
        return body & window.mask, 0
    return kept, outward


def _completed(
    window: Window, kept: Mask, found: _AboveSupport, to_target: Rigid, reach: int
) -> Completed:
    """Return the object's pixels with what the mask lacks of its surfaces, if these can be told
    from the support.
    """
    if found.support is None or not found.may_move_border:
        return Completed(kept, kept)
    out = max(OUT_LEAST, OUT * found.support.noise)
    return completed(window, kept, window.heights(found.support, to_target) > out, reach)


def _boxed(
    window: Window,
    kept: Mask,
    found: _AboveSupport,
    to_target: Rigid,
    settings: LiftSettings,
    findings: list[Finding],
    choices: Sequence[Choice],
    differing: float,
) -> Lifted:
    """Put a box round the points of pixels.

    :param choices: other choices of pixels.
    :param differing: share of the pixels of the mask and the object that only one of them has.
    """
    points, columns, rows = window.points(kept, to_target)
    if len(points) < LEAST_POINTS:
        text = f"{len(points)} points of the object have depth, {LEAST_POINTS} are needed"
        return Lifted(None, (*findings, Finding(Reason.TOO_FEW_POINTS, text)))
    support = found.support
    if support is not None:
        heights = support.heights(points[:: max(1, len(points) // SOME)])
        if not _may_stand_on(heights, found.allowed):
            below = 1000 * float(heights.min())
            text = f"the plane found is {below:.0f} mm below the object: not its support"
            findings.append(Finding(Reason.NO_SUPPORT, text))
            support = None
    box = box_of(points, settings.box_mode, settings.up, support, found.noise)
    boxes, left_out = [box], np.zeros_like(kept)
    for choice in choices:
        chosen = choice.pixels & ~left_out
        placed = window.points(chosen, to_target)
        other = box_of(placed[0], settings.box_mode, settings.up, support, found.noise)
        told = {finding.reason for finding in findings}
        findings += [each for each in doubt(choice, box, other) if each.reason not in told]
        boxes.append(other)
        if choice.is_better and is_elsewhere(box, other):
            (points, columns, rows), box = placed, other
            left_out = kept & ~chosen
    shifts = [other.centre - box.centre for other in boxes]
    grain = float(np.hypot(window.pixel_size(kept), found.noise or 0.0))
    reasons = [finding.reason for finding in findings]
    covariance = centre_covariance(box, to_target.translation, grain, reasons, differing, shifts)
    return Lifted(box, tuple(findings), points, columns, rows, support, covariance)


def _may_stand_on(heights: Floats, allowed: float) -> bool:
    """Return whether points at these heights above a plane may be of an object that stands on it.

    A ball's lowest visible point is half a radius above the table from 60 degrees above.
    """
    low, high = quantiles(heights, 0.01, 0.99)
    return bool(low < max(2 * CUT * allowed, GAP * (high - low)))
