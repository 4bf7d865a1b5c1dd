"""How far a box's centre may be from the object's: its covariance.

The constants were fitted on the rendered world (``clip_surgery evaluate --space``): 68 % of the
coordinates along the covariance's axes are within one deviation of the truth, with depth that errs
as active stereo does and with right and wrong masks. The error is mostly along the ray, since the
object's back is not seen; its distribution has a longer tail than a normal one.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.numbers import cross
from clip_surgery_ros.space.reasons import LOWER_BOUND, Reason

Floats = NDArray[np.float64]

OF_SIZE = np.array([0.008, 0.003, 0.007])
"""Deviations along the ray, sideways, and across both, in lengths of the box's diagonal."""
OF_PIXEL = np.array([1.3, 0.48, 1.0])
"""Likewise in lengths of :func:`centre_covariance`'s ``grain``, which add to those."""
LOWER = 1.7
"""Times by which they are larger where the box is a lower bound."""
DOUBTFUL = np.array([3.0, 1.3, 2.0])
"""Times by which they are larger where the support was not found or not cut off, or where the mask
was divided."""


def centre_covariance(
    box: SpaceBox, eye: Floats, grain: float, reasons: Collection[Reason]
) -> Floats:
    """Return the covariance of a box's centre, (3, 3) square metres in the frame of the box.

    :param eye: (3,) the camera's place.
    :param grain: metres that a pixel and the noise of depth are at the object, together.
    :param reasons: what was found beside the box.
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
    if lower:
        deviations = deviations * LOWER
    if set(reasons) - lower:
        deviations = deviations * DOUBTFUL
    return np.asarray(axes * deviations**2 @ axes.T)
