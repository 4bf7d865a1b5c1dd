"""Other choices of an object's pixels: how far its box moves with them says how sure it is.

Masks of networks take in a second object behind the first, or end in the middle of one. The box
with and without the doubtful pixels differs then, which is reported and widens the covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.surface import Completed, largest_surface
from clip_surgery_ros.space.window import LEAST_PIXELS, LEAST_POINTS, Window

Mask = NDArray[np.bool_]

SHARED = (
    "without pixels that another mask has too, which may be either object's, the box would be "
    "{:.0f} mm elsewhere"
)
DIVIDED = (
    "without the parts that a step in depth divides from the largest, the box would be {:.0f} mm "
    "elsewhere"
)
STRAYED = (
    "a few pixels that a step in depth divides from the others were left out; with them the box "
    "would be {:.0f} mm elsewhere"
)
GOES_ON = (
    "the surface goes on beyond the mask; with what is near the mask, the box would be "
    "{:.0f} mm elsewhere"
)

ELSEWHERE = 0.02
"""Metres by which a box's centre must move with another choice of pixels to be reported: what a
gripper forgives."""
ELSEWHERE_SIZE = 0.05
"""The same in lengths of the box's diagonal, for large objects."""
SAME_THING = 0.5
"""Share of an object's pixels in another mask from which both masks are of one thing, as those of
"mug" and "red mug", and say nothing against each other. Of parts that steps in depth divide,
likewise: there is no larger one."""
STRAY = 0.1
"""Share of an object's pixels up to which those that a step in depth divides from it are left out,
if the box would be elsewhere without them: on development scenes, 40 of 54 such boxes of the demo
networks' masks became better. Larger parts are as often the object's own."""

MOST_LACKING = 0.5
"""Share of an object's pixels up to which what goes on beyond the mask is a part that it lacks, as
a handle. More is another thing that touches it."""


@dataclass(frozen=True)
class Choice:
    """Pixels that may be the object's instead.

    :param pixels: (h, w) bool.
    :param reason: what is to be reported if the box would be elsewhere; None if nothing is.
    :param text: how they differ, for people.
    :param is_better: whether they are the object's rather, if the box would be elsewhere.
    """

    pixels: Mask
    reason: Reason | None = None
    text: str = ""
    is_better: bool = False


def alternatives(window: Window, whole: Completed, kept: Mask) -> list[Choice]:
    """Return the choices that differ from an object's pixels, and have enough points for a box.

    :param whole: the object's pixels, with what the mask lacks.
    :param kept: (h, w) those without that.
    """
    pixels = whole.pixels
    count = np.count_nonzero(pixels)
    largest = largest_surface(window, pixels)
    is_better = bool(np.count_nonzero(largest) >= (1 - STRAY) * count)
    is_part = np.count_nonzero(whole.at_most) <= (1 + MOST_LACKING) * count
    choices = [
        Choice(largest, Reason.TWO_LAYERS, STRAYED if is_better else DIVIDED, is_better),
        Choice(pixels & ~window.shared, Reason.SHARED_PIXELS, SHARED),
        Choice(whole.at_most, Reason.MASK_TOO_SMALL if is_part else None, GOES_ON),
        Choice(kept),
    ]
    least = max(LEAST_POINTS, SAME_THING * count)
    return [
        each
        for each in choices
        if np.count_nonzero(each.pixels ^ pixels) >= LEAST_PIXELS
        and np.count_nonzero(each.pixels) >= least
    ]


def is_elsewhere(box: SpaceBox, other: SpaceBox) -> bool:
    """Return whether the centre of another box is so far from a box's that it is reported."""
    away = float(np.linalg.norm(other.centre - box.centre))
    return away > max(ELSEWHERE, ELSEWHERE_SIZE * float(np.linalg.norm(box.size)))


def doubt(choice: Choice, box: SpaceBox, other: SpaceBox) -> Iterator[Finding]:
    """Yield that the box is elsewhere with another choice of pixels, if it is to be reported.

    :param other: the box of the other choice.
    """
    if choice.reason is not None and is_elsewhere(box, other):
        away = 1000 * float(np.linalg.norm(other.centre - box.centre))
        yield Finding(choice.reason, choice.text.format(away))
