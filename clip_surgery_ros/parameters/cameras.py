"""Cameras of a node, from its list of image topics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clip_surgery_ros.core.errors import ConfigError

DEMO_FRAME = "clip_surgery_demo_camera"
"""``frame_id`` of the demo's camera; the demo's networks know its scenes only."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TOPIC = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class CameraTopic:
    """A camera of the node.

    :param name: its results are published below this name; empty for below the node's name.
    :param topic: image topic, before remapping.
    """

    name: str
    topic: str


def parse_cameras(entries: Sequence[str]) -> tuple[CameraTopic, ...]:
    """Return the cameras of ``topic`` or ``name:=topic`` entries.

    A single camera without a name has its results below the node's name. With several cameras, the
    default name is the topic without its last part: ``rear_color`` for ``/rear/color/image_raw``.

    :raises ConfigError: when there is no entry, one is no topic, or two have the same name.
    """
    if not entries:
        raise ConfigError("image_topics is empty; name at least one image topic")
    cameras = [_camera(entry, alone=len(entries) == 1) for entry in entries]
    for attribute in ("name", "topic"):
        values = [getattr(camera, attribute) for camera in cameras]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"image_topics has two cameras of the {attribute} '{twice}'; tell them apart as "
                "name:=topic"
            )
    return tuple(cameras)


def _camera(entry: str, alone: bool) -> CameraTopic:
    name, given, topic = entry.rpartition(":=")
    if not _TOPIC.fullmatch(topic):
        raise ConfigError(
            f"image_topics has '{entry}', but '{topic}' is no topic; write a topic such as "
            "/front/image_raw, or name:=topic"
        )
    if not given and not alone:
        parts = topic.lstrip("~/").split("/")
        name = "_".join(parts[:-1] or parts).lstrip("_")
    if (given or not alone) and not _NAME.fullmatch(name):
        raise ConfigError(
            f"image_topics has '{entry}', but '{name}' is no name for a camera; use letters, "
            "digits and _ as in front:=/front/image_raw"
        )
    return CameraTopic(name, topic)
