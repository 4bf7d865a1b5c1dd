"""Why an object has no box in space, or what is special about its box: reasons in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """What happened to an object or a look-up; the values are for messages."""

    NO_DEPTH = "no_depth"
    """No depth image was taken with the image. No box."""
    NO_CAMERA_INFO = "no_camera_info"
    """The model of a camera is missing. No box."""
    CAMERA_MODEL = "camera_model"
    """A camera model cannot be used, or is of another picture. No box."""
    DEPTH_IMAGE = "depth_image"
    """The depth image cannot be used. No box."""
    CLOCK = "clock"
    """Stamps are missing, or of another clock. No box."""
    UNIT = "unit"
    """Depth is so small or so large that its unit must be wrong. No box."""
    TF_UNKNOWN_FRAME = "tf_unknown_frame"
    """No transform names the frame. No box."""
    TF_NOT_CONNECTED = "tf_not_connected"
    """Two frames are of different trees. No box."""
    TF_PAST = "tf_past"
    """Transforms begin after the stamp. No box."""
    TF_FUTURE = "tf_future"
    """Transforms end before the stamp. No box."""
    EMPTY_MASK = "empty_mask"
    """The mask has no pixels. No box."""
    TOO_FEW_POINTS = "too_few_points"
    """Too few pixels of the mask have depth. No box."""
    OUT_OF_RANGE = "out_of_range"
    """Nearly all depth under the mask is nearer or farther than allowed. No box."""
    TWO_LAYERS = "two_layers"
    """A step in depth divides the mask: a part was left out, or the box would be elsewhere if it
    were."""
    HOLES = "holes"
    """Much of the mask has no depth, so the box may be too small."""
    CUT_BY_BORDER = "cut_by_border"
    """The picture's border cuts the object: the box is a lower bound."""
    MASK_TOO_SMALL = "mask_too_small"
    """The mask ends before its surface does, which goes on: the box is a lower bound."""
    HIDDEN = "hidden"
    """Something in front hides a part of the object: the box is a lower bound."""
    NO_SUPPORT = "no_support"
    """No support was found round the object, so nothing was cut off below."""
    SMALL_PART = "small_part"
    """Only a small part of the mask is the object's, or it differs from the object by much, so its
    border may be wrong."""
    SHARED_PIXELS = "shared_pixels"
    """The box would be elsewhere without pixels that another object's mask has too."""
    FLAT = "flat"
    """The object is hardly higher than its support, so the support was not cut off."""


LOWER_BOUND = frozenset({Reason.CUT_BY_BORDER, Reason.MASK_TOO_SMALL, Reason.HIDDEN, Reason.HOLES})
"""Reasons that make a box a lower bound of the object's true box."""


@dataclass(frozen=True)
class Finding:
    """A reason with its sentence for people.

    >>> print(Finding(Reason.TOO_FEW_POINTS, "18 of 412 pixels of the mask have depth"))
    too_few_points: 18 of 412 pixels of the mask have depth
    """

    reason: Reason
    text: str

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.text}"
