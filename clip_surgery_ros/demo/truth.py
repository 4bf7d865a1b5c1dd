"""The truth about a view of the rendered world, as JSON.

No standard message has a place for colour, finish, visible share and a second box.
"""

from __future__ import annotations

import json

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


def _pose(matrix: Pose) -> dict[str, list[float]]:
    return {
        "position": matrix[:3, 3].tolist(),
        "orientation": quaternion(matrix[:3, :3]).tolist(),
    }


def _box(box: Box) -> dict[str, list[float]]:
    return {**_pose(box.pose), "size": box.size.tolist()}
