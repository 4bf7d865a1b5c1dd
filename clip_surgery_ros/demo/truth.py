"""The truth about a view of the rendered world, as JSON.

No standard message has a place for colour, finish, visible share and a second box.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.ros.camera_messages import quaternion
from clip_surgery_ros.world.frame import Box
from clip_surgery_ros.world.recorded import RecordedFrame
from clip_surgery_ros.world.rigid import Pose

WORLD_FRAME = "world"
"""Frame of the truth's poses; z is up, and the top of the table is z = 0."""


def truth_text(number: int, frame: RecordedFrame, stamp: tuple[int, int]) -> str:
    """Return the truth about a view; docs/world.md describes its fields.

    :param number: of the view.
    :param stamp: seconds and nanoseconds of the view's messages.
    """
    objects = [
        {
            "instance": one.instance,
            "name": one.name,
            "colour": one.colour,
            "finish": one.finish,
            "pixels": one.pixels,
            "visible": one.visible,
            "pose": _pose(one.pose),
            "upright": _box(one.upright),
            "oriented": _box(one.oriented),
        }
        for one in frame.objects
    ]
    header = {"stamp": {"sec": stamp[0], "nanosec": stamp[1]}, "frame_id": WORLD_FRAME}
    return json.dumps({"header": header, "view": number, "objects": objects})


def names_in_view(truth: Mapping[str, Any]) -> list[str]:
    """Return the names of the objects of a truth, with colours, the most visible ones first."""
    objects = sorted(truth["objects"], key=lambda one: -one["visible"])
    names = (f"{one['colour']} {one['name']}".strip() for one in objects if one["pixels"])
    return list(dict.fromkeys(names))


def label_mask(
    truth: Mapping[str, Any], instances: NDArray[np.uint16], label: str
) -> NDArray[np.bool_]:
    """Return where the objects are that a label means: by name, or by colour and name.

    :param instances: (H, W), which object each pixel shows.
    :return: (H, W).
    """
    meant = [
        one["instance"]
        for one in truth["objects"]
        if label.lower() in (one["name"], f"{one['colour']} {one['name']}")
    ]
    return np.isin(instances, meant)


def _pose(matrix: Pose) -> dict[str, list[float]]:
    return {
        "position": matrix[:3, 3].tolist(),
        "orientation": quaternion(matrix[:3, :3]).tolist(),
    }


def _box(box: Box) -> dict[str, list[float]]:
    return {**_pose(box.pose), "size": box.size.tolist()}
