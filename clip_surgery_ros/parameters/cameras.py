"""Cameras of a node, from its list of image topics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clip_surgery_ros.core.errors import ConfigError

DEMO_FRAME = "demo_camera_optical_frame"
"""``frame_id`` of the demo camera's images: z forward, x right, y down (REP 103). The demo's
networks know its scenes only."""
COMPRESSED_DEPTH = "compressedDepth"
"""The transport of image_transport for depth, and the last part of its topics."""
FRAME = re.compile(r"[A-Za-z0-9_][^\s/]*(/[^\s/]+)*")
"""What a frame of transforms is called; tf2 has no slash at the start."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TOPIC = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class SpaceTopics:
    """The topics that place a camera's objects in space, before remapping.

    :param depth: depth images.
    :param camera_info: models of the images; empty for ``camera_info`` beside the image topic.
    :param depth_info: models of the depth images; empty for ``camera_info`` beside ``depth``.
    :param compressed: depth comes as ``compressedDepth``, below the name of ``depth``.
    :param publish_tf: places of objects are published as transforms too.
    """

    depth: str
    camera_info: str = ""
    depth_info: str = ""
    compressed: bool = False
    publish_tf: bool = False


@dataclass(frozen=True)
class CameraTopic:
    """A camera of the node.

    :param name: its results are published below this name; empty for below the node's name.
    :param topic: image topic, before remapping.
    :param space: None for a camera without depth.
    :param tracking: its objects are followed over time.
    """

    name: str
    topic: str
    space: SpaceTopics | None = None
    tracking: bool = False


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


def with_space(
    cameras: Sequence[CameraTopic],
    depth: Sequence[str],
    camera_info: Sequence[str] = (),
    depth_info: Sequence[str] = (),
    compressed: bool = False,
    publish_tf: bool = False,
) -> tuple[CameraTopic, ...]:
    """Return the cameras with their topics for objects in space.

    :param depth: the parameter ``depth_topics``: one name for each camera, or none at all.
    :param camera_info: the parameter ``camera_info_topics``, likewise.
    :param depth_info: the parameter ``depth_info_topics``, likewise.
    :raises ConfigError: their numbers differ, one is no topic, or two things have one topic.

    >>> with_space(parse_cameras(["image_raw"]), ["depth/image_raw"])[0].space.depth
    'depth/image_raw'
    """
    names = {
        "depth_topics": depth,
        "camera_info_topics": camera_info,
        "depth_info_topics": depth_info,
    }
    columns = [_names_of_each(parameter, topics, cameras) for parameter, topics in names.items()]
    rows = list(zip(*columns, strict=True))
    for camera, (of_depth, of_image, of_depth_image) in zip(cameras, rows, strict=True):
        if (of_image or of_depth_image) and not of_depth:
            raise ConfigError(
                f"camera {camera.topic} has a camera_info topic and no depth topic, so nothing "
                "would be read there; name it in depth_topics"
            )
        if of_depth == camera.topic:
            raise ConfigError(f"depth_topics has the image topic {of_depth}; name the depth's")
    given = [of_depth for of_depth, *_ in rows if of_depth]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"depth_topics has {twice} twice; each camera has a depth of its own")
    return tuple(
        replace(camera, space=SpaceTopics(topic, info, of_depth, compressed, publish_tf))
        if topic
        else camera
        for camera, (topic, info, of_depth) in zip(cameras, rows, strict=True)
    )


def _names_of_each(
    parameter: str, topics: Sequence[str], cameras: Sequence[CameraTopic]
) -> tuple[str, ...]:
    """Return a checked topic, or an empty text, for each camera."""
    if not any(topics):
        return ("",) * len(cameras)
    if len(topics) != len(cameras):
        raise ConfigError(
            f"{parameter} has {len(topics)} entries and image_topics {len(cameras)}; write one "
            "for each camera, in the same order, and '' for a camera without"
        )
    for topic in filter(None, topics):
        if not _TOPIC.fullmatch(topic):
            raise ConfigError(
                f"{parameter} has '{topic}', which is no topic; write one such as "
                "/camera/depth/image_raw"
            )
    return tuple(topics)


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
