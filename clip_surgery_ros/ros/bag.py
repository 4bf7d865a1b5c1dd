"""Pictures of a recorded bag: no ROS graph, only its message types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from clip_surgery_ros.core.errors import ConfigError, ImageError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STORAGES = (".mcap", ".db3")
"""Of ROS 2, which lie in a folder with a description."""
DESCRIPTION = "metadata.yaml"
_ZSTD = b"\x28\xb5\x2f\xfd"
"""What a compressed message starts with."""
_MOST_NAMED = 5
"""Files of a folder that a message names."""

Convert = Callable[[Any], NDArray[np.uint8]]
"""A message to (H, W, 3) uint8 RGB."""


def images_of_bag(path: Path, topic: str | None, count: int) -> Iterator[NDArray[np.uint8]]:
    """At most ``count`` pictures of a topic, evenly over the bag, (H, W, 3) uint8 RGB.

    A message that is damaged ends it: figures of what is left would pass for those of the whole.
    Messages that are not shown are not looked into.

    :param path: folder of a ROS 2 bag, one of its files (SQLite or MCAP), or a ROS 1 file.
    :param topic: None takes the only one that has images.
    :raises ImageError: when the bag cannot be read, has no such images, or one is damaged.
    :raises ConfigError: when ROS's Python packages are not there.
    """
    converters = _converters()
    check_bag(path)
    with _opened(path) as reader:
        connections = _connections(reader, path, topic)
        told = sum(connection.msgcount for connection in connections)
        every = max(1, -(-told // count))
        number = -1
        for number, (connection, raw) in enumerate(_messages(reader, connections, path)):
            if number >= every * count:  # the description told of fewer
                return
            if number % every == 0:
                where = f"image {number + 1} of {connection.topic} in the bag {path}"
                yield _picture(reader, connection, raw, converters[connection.msgtype], where)
        if number < 0:
            raise ImageError(f"the bag {path} has no messages on {connections[0].topic}")


def check_bag(path: Path) -> None:
    """Refuse what is no bag, or lacks something, saying what to name or to run.

    :raises ImageError: naming the path.
    """
    if path.is_dir():
        _check_folder(path)
    elif not path.exists():
        raise ImageError(f"the bag {path} cannot be read: it does not exist")
    elif path.name == DESCRIPTION:
        raise ImageError(f"{path} describes a bag; name its folder, {path.parent}")
    elif path.name.endswith((".db3.zstd", ".mcap.zstd")):
        raise ImageError(f"{path} is a compressed part of a bag; name its folder, {path.parent}")
    elif path.name.endswith(".bag.active"):
        raise ImageError(
            f"the bag {path} was not closed; `rosbag reindex` makes one that can be read of it"
        )
    elif path.suffix not in (*STORAGES, ".bag"):
        raise ImageError(
            f"{path} is no bag; name a ROS 2 bag's folder, or a file with the ending .mcap, .db3 "
            "or, of ROS 1, .bag"
        )


def _check_folder(folder: Path) -> None:
    if (folder / DESCRIPTION).is_file():
        return
    inside = sorted(folder.iterdir())
    old = [one for one in inside if one.suffix == ".bag"]
    parts = [one for one in inside if set(one.suffixes) & set(STORAGES)]
    bags = [one for one in inside if (one / DESCRIPTION).is_file()]
    if parts:
        whole = [one for one in parts if one.suffix in STORAGES]
        or_file = f", or name a file of it: {_listed(whole)}" if whole else ""
        raise ImageError(
            f"the bag {folder} has no {DESCRIPTION}, which a recorder that is killed does not "
            f"write; `ros2 bag reindex {folder}` makes it{or_file}"
        )
    if old or bags:
        raise ImageError(
            f"the folder {folder} is no bag itself but holds some; name {_listed(old + bags)}"
        )
    raise ImageError(f"the folder {folder} is no bag: it has no {DESCRIPTION} and no recording")


def _listed(paths: Sequence[Path]) -> str:
    more = len(paths) - _MOST_NAMED
    return " or ".join(map(str, paths[:_MOST_NAMED])) + (f" or {more} more" if more > 0 else "")


def _converters() -> dict[str, Convert]:
    """By type of message. Imported here: the command line does without ROS's packages else.

    :raises ConfigError: when they are not there.
    """
    try:
        from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb
    except ImportError as error:
        raise ConfigError(
            f"reading a bag needs ROS's Python packages ({error}); enter the environment that has "
            "them: source its setup.bash or activate"
        ) from error
    return {IMAGE: image_to_rgb, COMPRESSED: compressed_to_rgb}


@contextmanager
def _opened(path: Path) -> Iterator[AnyReader]:
    reader = None
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except Exception as error:  # damaged files make the storages' packages raise anything
        told = _told(error)
        cure = _cure(path)
        if "not supported" in told:
            cure = "`ros2 bag convert` of the ROS that wrote it makes one that can be read"
        elif "metadata" in told:
            cure = f"`ros2 bag reindex {path}` writes {DESCRIPTION} anew"
        raise ImageError(f"the bag {path} cannot be read: {told}; {cure}") from error
    try:
        yield reader
    finally:
        reader.close()


def _connections(reader: AnyReader, path: Path, topic: str | None) -> list[Connection]:
    """Every publisher of images on the topic asked for, or on the only one that has images."""
    images = [one for one in reader.connections if one.msgtype in (IMAGE, COMPRESSED)]
    full = {one.topic for one in images if one.msgcount}
    topics = sorted(full or {one.topic for one in images})
    if topic is None and len(topics) > 1:
        told = ", ".join(topics)
        raise ImageError(f"the bag {path} has these topics with images: {told}; name --topic")
    chosen = [one for one in images if one.topic == (topic or "".join(topics))]
    if not chosen:
        known = ", ".join(topics) or f"none, of {_others(reader)}"
        on = f" on {topic}" if topic else ""
        raise ImageError(f"the bag {path} has no images{on}; topics with images: {known}")
    return chosen


def _others(reader: AnyReader) -> str:
    told = sorted({f"{one.topic} ({one.msgtype})" for one in reader.connections})
    return ", ".join(told) or "no topics at all"


def _messages(
    reader: AnyReader, connections: Sequence[Connection], path: Path
) -> Iterator[tuple[Connection, bytes]]:
    """In order of time, whoever published.

    :raises ImageError: at damage.
    """
    messages, number = reader.messages(connections), 0
    while True:
        try:
            connection, _, raw = next(messages)
        except StopIteration:
            return
        except Exception as error:  # as when opening
            raise ImageError(
                f"the bag {path} is damaged after {number} images of {connections[0].topic}: "
                f"{_told(error)}; {_cure(path)}"
            ) from error
        yield connection, raw
        number += 1


def _picture(
    reader: AnyReader, connection: Connection, raw: bytes, convert: Convert, where: str
) -> NDArray[np.uint8]:
    """:raises ImageError: saying which message is damaged."""
    try:
        message = reader.deserialize(raw, connection.msgtype)
    except Exception as error:  # as when opening
        if bytes(raw[:4]) == _ZSTD:
            raise ImageError(
                f"{where} is compressed, as only the bag's {DESCRIPTION} tells; name the bag's "
                "folder instead of a file in it"
            ) from error
        raise ImageError(
            f"{where} is damaged: {_told(error)}; record again, or copy the bag without it"
        ) from error
    try:
        return convert(message)
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from error


def _cure(path: Path) -> str:
    """What may bring back what is whole of a damaged recording."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    for suffix, command in (
        (".bag", "rosbag reindex {}"),
        (".mcap", "mcap recover {}"),
        (".db3", "sqlite3 {} .recover"),
    ):
        found = [one for one in files if one.suffix == suffix]
        if found:
            return f"copy it again, or save what is whole with `{command.format(found[0])}`"
    return "copy it again"


def _told(error: Exception) -> str:
    """A message of another package, in a line."""
    told = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return told.replace("; please report issue", "")
