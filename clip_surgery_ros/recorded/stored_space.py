"""Places of objects as the files of items have them: to JSON and back."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.pictures.decode import decode
from clip_surgery_ros.recorded.stored import Values, array_of, text_of
from clip_surgery_ros.ros.pairing import Paired
from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import Lifted
from clip_surgery_ros.space.objects import ObjectsInSpace
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.cloud import ADDED, thinned

WIDTH = 320
"""Pixels to which wider depth images are reduced. Ids need them to tell whether a place is empty
or hidden, by surfaces of an object's size."""
MOST_MM = 65_535
"""Farthest depth that is kept, millimetres: what 16 bits hold; farther depth counts as none."""
_POINTS = "<f4"


@dataclass(frozen=True)
class Scene:
    """The places of an image's objects.

    :param found: one for each object of the result; with depth if objects are followed in space.
    :param to_target: takes points of the camera's frame to that of the places.
    """

    found: ObjectsInSpace
    to_target: Rigid


def scene_values(found: ObjectsInSpace, paired: Paired, for_ids: bool) -> Values:
    """Return the places of an image's objects as JSON has them.

    :param paired: what belongs to the image.
    :param for_ids: whether objects are followed in space, for which points and depth are kept.
    """
    to_target = paired.to_target
    return {
        "frame": found.frame,
        "failure": None if found.failure is None else _finding_values(found.failure),
        "objects": [_lifted_values(each, for_ids) for each in found.lifted],
        "to_target": [*to_target.translation.tolist(), *to_target.quaternion.tolist()],
        "depth": _depth_values(found.depth) if found.depth is not None and for_ids else None,
    }


def scene_of(values: Values, size_hw: tuple[int, int]) -> Scene:
    """Return the places that :func:`scene_values` stored.

    :param size_hw: of the image.
    """
    failure, depth = values["failure"], values["depth"]
    found = ObjectsInSpace(
        values["frame"],
        tuple(_lifted_of(each) for each in values["objects"]),
        None if depth is None else _depth_of(depth, size_hw),
        None if failure is None else _finding_of(failure),
    )
    numbers = np.array(values["to_target"])
    return Scene(found, Rigid(numbers[:3], numbers[3:]))


def _lifted_values(lifted: Lifted, for_ids: bool) -> Values:
    box, covariance = lifted.box, lifted.covariance
    return {
        "findings": [_finding_values(each) for each in lifted.findings],
        "box": None
        if box is None
        else {
            "centre": box.centre.tolist(),
            "orientation": box.pose.quaternion.tolist(),
            "size": box.size.tolist(),
        },
        "covariance": None if covariance is None else covariance.ravel().tolist(),
        # A tracker takes so many points of a view.
        "points": text_of(thinned(lifted.points, ADDED), _POINTS) if for_ids else "",
    }


def _lifted_of(values: Values) -> Lifted:
    box, covariance = values["box"], values["covariance"]
    if box is not None:
        pose = Rigid(np.array(box["centre"]), np.array(box["orientation"]))
        box = SpaceBox(pose, np.array(box["size"]))
    return Lifted(
        box,
        tuple(_finding_of(each) for each in values["findings"]),
        array_of(values["points"], _POINTS, np.float64).reshape(-1, 3),
        covariance=None if covariance is None else np.array(covariance).reshape(3, 3),
    )


def _finding_values(finding: Finding) -> Values:
    return {"reason": finding.reason.value, "text": finding.text}


def _finding_of(values: Values) -> Finding:
    return Finding(Reason(values["reason"]), values["text"])


def _depth_values(depth: DepthImage) -> Values:
    """Return a depth image as JSON has it: a PNG in millimetres, reduced without mixing depths."""
    camera = depth.intrinsics
    millimetres = np.rint(np.nan_to_num(depth.metres, nan=0.0, posinf=0.0) * 1000)
    pixels = np.where(millimetres <= MOST_MM, millimetres, 0).astype(np.uint16)
    if camera.width > WIDTH:
        size = (WIDTH, max(1, round(WIDTH * camera.height / camera.width)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST), np.uint16)
    return {
        "png": base64.b64encode(encode_image(".png", pixels)).decode(),
        "camera": [camera.fx, camera.fy, camera.cx, camera.cy],
    }


def _depth_of(values: Values, size_hw: tuple[int, int]) -> DepthImage:
    """Return a depth image of the picture's size."""
    pixels: NDArray[np.uint16] = decode(base64.b64decode(values["png"]), "a depth image", ("PNG",))
    if pixels.shape != size_hw:
        pixels = np.asarray(cv2.resize(pixels, size_hw[::-1], interpolation=cv2.INTER_NEAREST))
    fx, fy, cx, cy = values["camera"]
    camera = Intrinsics(fx, fy, cx, cy, size_hw[1], size_hw[0])
    return DepthImage(pixels * np.float32(0.001), camera)
