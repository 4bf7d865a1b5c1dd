"""The pinhole model of a picture, from its CameraInfo: rectified or not, cropped, binned."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.space.depth import Intrinsics

LARGEST_DISTORTION = 1.0
"""Pixels by which the lens may move the picture's border before it is reported."""
SAME_SHAPE = 0.01
"""Share by which the sides of two pictures may differ in shape; sizes are rounded."""


def is_rectified(topic: str) -> bool:
    """Whether a topic has rectified pictures, by its name: ``image_rect``, ``image_rect_color``.

    >>> is_rectified("/camera/image_rect_color"), is_rectified("/camera/image_raw")
    (True, False)
    """
    return "rect" in topic.rpartition("/")[2]


def intrinsics_of(
    info: CameraInfo, size_hw: tuple[int, int], rectified: bool, name: str
) -> Intrinsics:
    """Return the model of a picture; its lens distortion is left out.

    A region of interest and binning are respected, and so is a picture that was enlarged or
    reduced without them.

    :param info: of the camera.
    :param size_hw: rows and columns of the picture.
    :param rectified: whether the picture is rectified: P holds, else K.
    :param name: of the topic, for errors.
    :raises SpaceError: the camera is not calibrated, or the model is of a picture of another
        shape.
    """
    height, width = size_hw
    if not (info.width and info.height):
        raise SpaceError(f"{name} has a size of 0 x 0; is the camera calibrated?")
    try:
        if rectified and any(info.p):
            model = Intrinsics.from_projection(info.p, info.width, info.height)
        else:
            model = Intrinsics.from_matrix(info.k, info.width, info.height)
    except SpaceError as error:
        raise SpaceError(f"{name}: {error}") from error
    roi = info.roi
    if roi.width and roi.height:
        model = model.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)
    if info.binning_x > 1 or info.binning_y > 1:
        model = model.binned(max(1, info.binning_x), max(1, info.binning_y))
    if abs(width / height * model.height / model.width - 1) > SAME_SHAPE:
        raise SpaceError(
            f"{name} is of pictures of {model.width} x {model.height} pixels, and the picture has "
            f"{width} x {height}; name the topic that belongs to it"
        )
    return model if (model.width, model.height) == (width, height) else model.scaled(width, height)


def distortion_of(info: CameraInfo) -> float:
    """Return by how many pixels the lens moves the border of the picture at most.

    :return: 0 of a model without distortion, and of one that OpenCV does not have.
    """
    d, k = np.array(info.d, np.float64), np.array(info.k, np.float64).reshape(3, 3)
    usable = np.isfinite(d).all() and np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0
    if not (usable and d.any()):
        return 0.0
    x = np.linspace(0, max(0, info.width - 1), 9)
    y = np.linspace(0, max(0, info.height - 1), 9)
    border = np.array(
        [[a, b] for a in x for b in y if a in (x[0], x[-1]) or b in (y[0], y[-1])]
    ).reshape(-1, 1, 2)
    try:
        if info.distortion_model in ("equidistant", "fisheye"):
            ideal = cv2.fisheye.undistortPoints(border, k, d[:4], P=k)
        elif info.distortion_model in ("plumb_bob", "rational_polynomial", ""):
            ideal = cv2.undistortPoints(border, k, d, P=k)
        else:
            return 0.0
    except cv2.error:  # of another number of coefficients than OpenCV has
        return 0.0
    moved = np.linalg.norm(np.asarray(ideal) - border, axis=2)
    return float(moved.max()) if np.isfinite(moved).all() else float("inf")
