"""How far a box's centre may be from the object's: its covariance.

The constants were fitted on the rendered world's development scenes (``clip_surgery evaluate
--space``): 68 % of the coordinates along the covariance's axes are within one deviation of the
truth, with depth that errs as active stereo does and with the masks of the demo's networks. For
right masks it is 75 %. The error is mostly along the ray, since the object's back is not seen; its
distribution has a longer tail than a normal one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.numbers import cross
from clip_surgery_ros.space.reasons import LOWER_BOUND, Reason

Floats = NDArray[np.float64]

OF_SIZE = np.array([0.0072, 0.0027, 0.0063])
"""Deviations along the ray, sideways, and across both, in lengths of the box's diagonal."""
OF_PIXEL = np.array([1.17, 0.43, 0.9])
"""Likewise in lengths of :func:`centre_covariance`'s ``grain``, which add to those."""
LOWER = 1.7
"""Times by which they are larger where the box is a lower bound."""
DOUBTFUL = np.array([3.0, 1.3, 2.0])
"""Times by which they are larger where the support was not found or not cut off, or where the mask
was divided."""
UNLIKE = 6.5
"""By how much they grow, in times, with the share of pixels in which the object and its mask
differ after the mask's border was moved: 0.02 for right masks, 0.1 for the demo networks'."""
WRONG = 0.5
"""How probable it is that another choice of an object's pixels is the right one."""


def centre_covariance(
    box: SpaceBox,
    eye: Floats,
    grain: float,
    reasons: Collection[Reason],
    unlike: float = 0.0,
    shifts: Sequence[Floats] = (),
) -> Floats:
    """Return the covariance of a box's centre, (3, 3) square metres in the frame of the box.

    :param eye: (3,) the camera's place.
    :param grain: metres that a pixel and the noise of depth are at the object, together.
    :param reasons: what was found beside the box.
    :param unlike: share of the pixels of mask and object that only one of them has, 0 to 1.
    :param shifts: (3,) each, from the box's centre to those with other choices of pixels, metres.
    """
    ray = box.centre - eye
    ray = ray / max(float(np.linalg.norm(ray)), 1e-9)
    up = box.pose.rotation[:, 2]
    if abs(up @ ray) > 0.99:  # seen from above, any direction across the ray will do
        up = box.pose.rotation[:, 0]
    side = cross(ray, up)
    side /= np.linalg.norm(side)
    axes = np.stack([ray, side, cross(side, ray)], axis=1)
    lower = LOWER_BOUND.intersection(reasons)
    deviations = OF_SIZE * np.linalg.norm(box.size) + OF_PIXEL * grain
    deviations = deviations * (1 + UNLIKE * unlike)
    if lower:
        deviations = deviations * LOWER
    if set(reasons) - lower:
        deviations = deviations * DOUBTFUL
    covariance = axes * deviations**2 @ axes.T
    for shift in shifts:
        covariance += WRONG * np.outer(shift, shift)
    return np.asarray(covariance)
