"""Reads images from a recorded bag. Needs ROS's message types, but no running ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.typesys import Stores, get_typestore

from clip_surgery_ros.core.errors import ConfigError, ImageError
from clip_surgery_ros.ros.mcap_index import IndexedMcapReader

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STORAGES = (".mcap", ".db3")
"""Endings of the files of a ROS 2 bag, which is a folder with a description file."""
DESCRIPTION = "metadata.yaml"
_ZSTD = b"\x28\xb5\x2f\xfd"
"""First bytes of a compressed message."""
_MAX_NAMED = 5
"""Files of a folder that an error names."""

Convert = Callable[[Any], NDArray[np.uint8]]
"""Converts an image message to (H, W, 3) uint8 RGB."""


def images_of_bag(path: Path, topic: str | None, count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield at most ``count`` images of a topic, evenly over the bag, (H, W, 3) uint8 RGB.

    A damaged message is an error: results of the remaining images would look like results of the
    whole bag. Messages between the chosen ones are not decoded.

    :param path: folder of a ROS 2 bag, one of its files (SQLite or MCAP), or a ROS 1 file.
    :param topic: None for the only topic that has images.
    :param count: greatest number of images.
    :raises ImageError: when the bag cannot be read, has no such images, or one is damaged.
    :raises ConfigError: when ROS's Python packages are not installed.
    """
    by_type = converters()
    check_bag(path)
    with open_reader(path) as reader:
        connections = image_connections(reader, path, topic)
        total = sum(connection.msgcount for connection in connections)
        step = max(1, -(-total // count))
        number = -1
        for number, (connection, raw) in enumerate(_messages(reader, connections, path)):
            if number >= step * count:  # there are more than the description says
                return
            if number % step == 0:
                name = f"image {number + 1} of {connection.topic} in the bag {path}"
                yield _image(reader, connection, raw, by_type[connection.msgtype], name)
        if number < 0:
            raise ImageError(f"the bag {path} has no messages on {connections[0].topic}")


def check_bag(path: Path) -> None:
    """Refuse a path that is no bag, or an incomplete one, with what to name or to run instead.

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
        raise ImageError(f"the bag {path} was not closed; `rosbag reindex` makes it readable")
    elif path.suffix not in (*STORAGES, ".bag"):
        raise ImageError(
            f"{path} is no bag; name a ROS 2 bag's folder, or a file with the ending .mcap, .db3 "
            "or, of ROS 1, .bag"
        )


def _check_folder(folder: Path) -> None:
    if (folder / DESCRIPTION).is_file():
        return
    paths = sorted(folder.iterdir())
    ros1_bags = [path for path in paths if path.suffix == ".bag"]
    parts = [path for path in paths if set(path.suffixes) & set(STORAGES)]
    ros2_bags = [path for path in paths if (path / DESCRIPTION).is_file()]
    if parts:
        uncompressed = [path for path in parts if path.suffix in STORAGES]
        or_file = f", or name a file of it: {_join_paths(uncompressed)}" if uncompressed else ""
        raise ImageError(
            f"the bag {folder} has no {DESCRIPTION}, which a recorder that is killed does not "
            f"write; `ros2 bag reindex {folder}` makes it{or_file}"
        )
    if ros1_bags or ros2_bags:
        names = _join_paths(ros1_bags + ros2_bags)
        raise ImageError(f"the folder {folder} is no bag itself but holds some; name {names}")
    raise ImageError(f"the folder {folder} is no bag: it has no {DESCRIPTION} and no recording")


def _join_paths(paths: Sequence[Path]) -> str:
    more = len(paths) - _MAX_NAMED
    return " or ".join(map(str, paths[:_MAX_NAMED])) + (f" or {more} more" if more > 0 else "")


def converters() -> dict[str, Convert]:
    """Return a converter for each message type. Imports ROS's packages only when a bag is read.

    :raises ConfigError: when they are not installed.
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
def open_reader(path: Path, cut_off: bool = False) -> Iterator[AnyReader]:
    """Open a bag, or one file of it.

    :param cut_off: whether to read MCAP files without an end too, as far as they are whole.
    :raises ImageError: when it cannot be read, with what to do.
    """
    reader = None
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        if cut_off:
            _read_cut_off(reader, path)
        reader.open()
    except Exception as error:  # damaged files make the storages' packages raise anything
        reason = one_line(error)
        advice = _repair_advice(path)
        if "not supported" in reason:
            advice = "`ros2 bag convert` of the ROS that wrote it can write MCAP"
        elif "metadata" in reason:
            advice = f"`ros2 bag reindex {path}` writes a new {DESCRIPTION}"
        raise ImageError(f"the bag {path} cannot be read: {reason}; {advice}") from error
    try:
        yield reader
    finally:
        reader.close()


def _read_cut_off(reader: AnyReader, path: Path) -> None:
    """Have a reader of a ROS 2 bag read MCAP files by :class:`IndexedMcapReader`."""
    for each in reader.readers:
        storage = each.storage  # type: ignore[union-attr]  # ROS 1 bags do not come here
        if isinstance(storage, McapReader):
            each.storage = IndexedMcapReader(path)  # type: ignore[union-attr]
        elif isinstance(storage, DirectoryReader):
            storage.STORAGE_PLUGINS = {**storage.STORAGE_PLUGINS, "mcap": IndexedMcapReader}


def image_connections(reader: AnyReader, path: Path, topic: str | None) -> list[Connection]:
    """Return the connections of one topic with images: one connection for each publisher."""
    images = [con for con in reader.connections if con.msgtype in (IMAGE, COMPRESSED)]
    with_messages = {connection.topic for connection in images if connection.msgcount}
    topics = sorted(with_messages or {connection.topic for connection in images})
    if topic is None and len(topics) > 1:
        names = ", ".join(topics)
        raise ImageError(f"the bag {path} has these topics with images: {names}; name --topic")
    chosen = [con for con in images if con.topic == (topic or "".join(topics))]
    if not chosen:
        known = ", ".join(topics) or f"none, of {_all_topics(reader)}"
        on = f" on {topic}" if topic else ""
        raise ImageError(f"the bag {path} has no images{on}; topics with images: {known}")
    return chosen


def _all_topics(reader: AnyReader) -> str:
    """Return all topics of a bag with their types, for errors."""
    topics = sorted({f"{con.topic} ({con.msgtype})" for con in reader.connections})
    return ", ".join(topics) or "no topics at all"


def _messages(
    reader: AnyReader, connections: Sequence[Connection], path: Path
) -> Iterator[tuple[Connection, bytes]]:
    """Yield the messages of all connections in order of time.

    :raises ImageError: when the bag is damaged.
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
                f"{one_line(error)}; {_repair_advice(path)}"
            ) from error
        yield connection, raw
        number += 1


def _image(
    reader: AnyReader, connection: Connection, raw: bytes, convert: Convert, name: str
) -> NDArray[np.uint8]:
    """Return the image of a message.

    :param name: which image of which bag this is, for errors.
    :raises ImageError: when the message is damaged.
    """
    message = read_message(reader, connection, raw, name)
    try:
        return convert(message)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def read_message(reader: AnyReader, connection: Connection, raw: bytes, name: str) -> Any:
    """Return an image message: of rosbags' classes, which have the fields of ROS's.

    :param name: which image of which bag this is, for errors.
    :raises ImageError: when the message is damaged.
    """
    try:
        return reader.deserialize(raw, connection.msgtype)
    except Exception as error:  # as when opening
        if bytes(raw[:4]) == _ZSTD:
            raise ImageError(
                f"{name} is compressed, as only the bag's {DESCRIPTION} tells; name the bag's "
                "folder instead of a file in it"
            ) from error
        raise ImageError(
            f"{name} is damaged: {one_line(error)}; record again, or copy the bag without it"
        ) from error


def _repair_advice(path: Path) -> str:
    """Return how to save the undamaged part of a bag."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    for suffix, command in (
        (".bag", "rosbag reindex {}"),
        (".mcap", "mcap recover {}"),
        (".db3", "sqlite3 {} .recover"),
    ):
        found = [file for file in files if file.suffix == suffix]
        if found:
            return f"copy it again, or save what is whole with `{command.format(found[0])}`"
    return "copy it again"


def one_line(error: Exception) -> str:
    """Return the message of an error of another package in one line."""
    message = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return message.replace("; please report issue", "")
