"""From a frame's result and what was paired with its image to objects in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from clip_surgery_ros.core.errors import ImageError, SpaceError
from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.camera_models import intrinsics_of
from clip_surgery_ros.ros.depth_images import metres_of_message
from clip_surgery_ros.ros.pairing import Paired
from clip_surgery_ros.space.depth import DepthImage, registered
from clip_surgery_ros.space.lifting import LiftSettings
from clip_surgery_ros.space.objects import ObjectsInSpace, lift_all, nowhere
from clip_surgery_ros.space.reasons import Finding, Reason

UP = np.array([0.0, 0.0, 1.0])
"""Against gravity in frames of robots and maps (REP 103, REP 105)."""
OPTICAL = "_optical_frame"
"""How names of camera frames end (REP 103); their z is no vertical."""


def objects_in_space(result: FrameResult, paired: Paired, config: Config) -> ObjectsInSpace:
    """Return where the objects of a frame are; each that has no place says why.

    :param result: of the image that ``paired`` belongs to.
    """
    count, frame, failure = len(result.segments), paired.frame, paired.failure
    depth = None
    if paired.depth is not None and paired.camera_info is not None:
        reason = Reason.DEPTH_IMAGE
        try:
            metres = metres_of_message(paired.depth, config.depth_unit)
            reason = Reason.CAMERA_MODEL
            depth = registered_depth(metres, paired.camera_info, paired, result.size_hw)
        except (ImageError, SpaceError) as error:
            failure = failure or Finding(reason, str(error))
    if failure is not None:
        return nowhere(count, frame, failure, depth)
    if depth is None:
        missing = Finding(Reason.NO_DEPTH, "no depth image came with the image")
        return nowhere(count, frame, missing, depth)
    return lift_all(result, depth, paired.to_target, frame, lift_settings(config, frame))


def lift_settings(config: Config, frame: str) -> LiftSettings:
    """Return how objects are lifted.

    :param frame: of the boxes: up is known in the target frame, but not in a camera's.
    """
    knows_up = bool(config.target_frame) and not frame.endswith(OPTICAL)
    return LiftSettings(
        box_mode=config.box_mode,  # type: ignore[arg-type]
        nearest=config.min_depth,
        farthest=config.max_depth,
        up=UP if knows_up else None,
        find_support=config.support == "plane",
    )


def registered_depth(
    metres: NDArray[np.float32], camera_info: CameraInfo, paired: Paired, size_hw: tuple[int, int]
) -> DepthImage:
    """Return the depth of a picture, projected into it where the depth camera is another one.

    :param metres: (h, w) of the depth image.
    :param camera_info: of the picture.
    :param paired: has the rest of what belongs to the picture.
    :param size_hw: of the picture.
    :raises SpaceError: a camera model cannot be used.
    """
    colour = intrinsics_of(camera_info, size_hw, paired.rectified[0], "camera_info")
    same_frame = bool(np.allclose(paired.depth_to_image.matrix, np.eye(4), atol=1e-9))
    info = paired.depth_info or camera_info
    height, width = metres.shape
    own = intrinsics_of(
        info, (height, width), paired.rectified[1], "the depth image's camera_info"
    )
    depth = DepthImage(metres, own)
    if same_frame and metres.shape == size_hw and np.allclose(own.matrix, colour.matrix):
        return DepthImage(metres, colour)
    return registered(depth, colour, paired.depth_to_image.matrix)
