"""Pictures of a recorded bag: no ROS graph, only its message types."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from clip_surgery_ros.core.errors import ImageError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def images_of_bag(path: Path, topic: str | None, count: int) -> Iterator[NDArray[np.uint8]]:
    """At most ``count`` pictures of a topic, evenly over the bag, (H, W, 3) uint8 RGB.

    :param path: folder of a ROS 2 bag (SQLite or MCAP), or a ROS 1 file.
    :param topic: None takes the only one that has images.
    :raises ImageError: when the bag cannot be read, has no such images, or one is damaged.
    """
    # Here, since the command line does without ROS's packages otherwise.
    from clip_surgery_ros.adapters.images import compressed_to_rgb, image_to_rgb

    with contextlib.ExitStack() as stack:
        try:
            store = get_typestore(Stores.ROS2_JAZZY)
            reader = stack.enter_context(AnyReader([path], default_typestore=store))
        except (AnyReaderError, OSError) as error:
            raise ImageError(f"the bag {path} cannot be read: {error}") from error
        connection = _connection(reader, path, topic)
        every = max(1, -(-connection.msgcount // count))
        for index, (_, _, raw) in enumerate(reader.messages([connection])):
            if index % every == 0:
                message = reader.deserialize(raw, connection.msgtype)
                convert = image_to_rgb if connection.msgtype == IMAGE else compressed_to_rgb
                yield convert(message)


def _connection(reader: AnyReader, path: Path, topic: str | None) -> Connection:
    """The topic asked for, or the only one with images."""
    images = {c.topic: c for c in reader.connections if c.msgtype in (IMAGE, COMPRESSED)}
    known = ", ".join(sorted(images)) or "none"
    if topic is None and len(images) == 1:
        return next(iter(images.values()))
    if topic is None:
        raise ImageError(f"the bag {path} has these topics with images: {known}; name --topic")
    if topic not in images:
        raise ImageError(f"the bag {path} has no images on {topic}; those with images: {known}")
    return images[topic]
