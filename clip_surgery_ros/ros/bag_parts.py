"""Reads chosen images of a recording, file by file, from what its indexes tell."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.ros.bag import (
    DESCRIPTION,
    STORAGES,
    check_bag,
    converters,
    image_connections,
    one_line,
    open_reader,
    read_message,
)
from clip_surgery_ros.ros.mcap_index import IndexedMcapReader

_INFORMATION = "rosbag2_bagfile_information"
"""The only entry of a description file."""


@dataclass(frozen=True)
class Part:
    """One file of a recording; a recorder may split a long one into many.

    :param bag: what the user named: a folder or a file.
    :param file: the file, which has images, texts and all else of its time.
    :param described: whether the folder's description tells how to read it (compression).
    """

    bag: Path
    file: Path
    described: bool


@dataclass(frozen=True, order=True)
class FrameTime:
    """Which image of a topic in a part.

    :param log_time: when it was recorded, ns since the epoch.
    :param copy: 0 for the first image of this log time, 1 for the second, and so on.
    """

    log_time: int
    copy: int = 0


@dataclass(frozen=True)
class StoredFrame:
    """An image as it was read, or why it could not be.

    :param stamp: of its header, ns since the epoch; None when the message is damaged.
    :param frame_id: of its header.
    :param image: (H, W, 3) uint8 RGB; None when it could not be read.
    :param error: why, in a sentence; empty for a good image.
    """

    time: FrameTime
    stamp: int | None
    frame_id: str
    image: NDArray[np.uint8] | None
    error: str = ""


def parts_of_bag(path: Path) -> list[Part]:
    """Return the files of a recording, in the order in which they were written.

    A folder without a description, which a recorder that is killed leaves, has the files that
    are in it.

    :param path: folder of a ROS 2 bag, or one of its files (SQLite or MCAP).
    :raises ImageError: when it is neither.
    """
    if path.is_dir() and not (path / DESCRIPTION).exists():
        files = sorted(file for file in path.iterdir() if file.suffix in STORAGES)
        if files:
            return [Part(path, file, described=False) for file in files]
    check_bag(path)
    if path.suffix == ".bag" and path.is_file():
        raise ImageError(
            f"{path} is a bag of ROS 1; `rosbags-convert --src {path}` makes one of 2"
        )
    if path.is_file():
        return [Part(path, path, described=False)]
    names = _description(path)["relative_file_paths"]
    return [Part(path, path / PurePath(name).name, described=True) for name in names]


def _description(folder: Path) -> dict[str, Any]:
    """Return what the description of a bag says.

    :raises ImageError: when it is none.
    """
    try:
        information = yaml.safe_load((folder / DESCRIPTION).read_text())[_INFORMATION]
        if not isinstance(information["relative_file_paths"], list):
            raise TypeError("relative_file_paths is no list")
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise ImageError(
            f"the bag {folder} cannot be read: its {DESCRIPTION} is damaged ({one_line(error)}); "
            f"`ros2 bag reindex {folder}` writes a new one"
        ) from error
    return information


class PartReader:
    """Images of one topic in one file of a recording.

    :param topic: None for the only topic that has images.
    :raises ImageError: when there is no such topic.
    """

    def __init__(self, part: Part, reader: AnyReader, topic: str | None) -> None:
        self._part, self._reader = part, reader
        self._connections = image_connections(reader, part.bag, topic)
        self._converters = converters()

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self._connections[0].topic

    def times(self) -> list[FrameTime]:
        """Return when the topic's images were recorded, sorted. No image is read."""
        storage = self._reader.readers[0].storage  # type: ignore[union-attr]  # not ROS 1
        storage = storage.storages[0] if hasattr(storage, "storages") else storage
        wanted = {(connection.topic, connection.msgtype) for connection in self._connections}
        ids = [each.id for each in storage.connections if (each.topic, each.msgtype) in wanted]
        if isinstance(storage, Sqlite3Reader):
            log_times = _times_in_sqlite(storage, ids)
        else:
            assert isinstance(storage, IndexedMcapReader)
            log_times = storage.times(ids)
        times: list[FrameTime] = []
        for log_time in log_times:
            is_copy = bool(times) and times[-1].log_time == log_time
            times.append(FrameTime(log_time, times[-1].copy + 1 if is_copy else 0))
        return times

    def image_topics(self) -> set[str]:
        """Return the topics that have raw or compressed images, of depth or others."""
        kinds, connections = self._converters.keys(), self._reader.connections
        return {each.topic for each in connections if each.msgtype in kinds and each.msgcount}

    def others(
        self, topics: Collection[str], start: int, stop: int
    ) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, log time and message of other topics, in the order of log times.

        Damaged messages are left out; a damaged file ends before its time.

        :param start: log time of the first message, ns.
        :param stop: log time before which the last one is, ns.
        """
        connections = [each for each in self._reader.connections if each.topic in topics]
        if not connections:
            return
        with suppress(ImageError):
            for connection, log_time, raw in self._stored(connections, start, stop):
                with suppress(ImageError):
                    message = read_message(self._reader, connection, raw, "the message")
                    yield connection.topic, log_time, message

    def _stored(
        self, connections: Sequence[Connection], start: int, stop: int
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield messages as they are stored, with their log times.

        :raises ImageError: the file is damaged.
        """
        try:
            yield from self._reader.messages(connections, start, stop)
        except Exception as error:  # damaged files make the storages' packages raise anything
            raise ImageError(one_line(error)) from error

    def frames(self, wanted: Sequence[FrameTime], together: bool) -> Iterator[StoredFrame]:
        """Yield the wanted images in their order. One that cannot be read has an error instead.

        :param wanted: sorted.
        :param together: whether they follow each other without a gap; else each is looked up, and
            what lies between is not read.
        """
        left = list(wanted)
        while left:
            group = left if together else left[:1]
            done, problem = 0, "the file has no such message any more"
            try:
                for time, connection, raw in self._messages(group):
                    while done < len(group) and group[done] < time:  # the file has changed
                        yield StoredFrame(group[done], None, "", None, problem)
                        done += 1
                    if done < len(group) and group[done] == time:
                        done += 1
                        yield self._frame(time, connection, raw)
            except ImageError as error:
                problem = str(error)
            if done < len(group):
                if together and len(group) > 1:  # from here on each alone: some may be whole
                    left, together = left[done:], False
                    continue
                yield StoredFrame(group[done], None, "", None, problem)
                done += 1
            left = left[done:]

    def _messages(
        self, wanted: Sequence[FrameTime]
    ) -> Iterator[tuple[FrameTime, Connection, bytes]]:
        """Yield all messages of the time of the wanted ones."""
        start, stop = wanted[0].log_time, wanted[-1].log_time + 1
        last = FrameTime(-1)
        for connection, log_time, raw in self._stored(self._connections, start, stop):
            copy = last.copy + 1 if last.log_time == log_time else 0
            last = FrameTime(log_time, copy)
            yield last, connection, raw

    def _frame(self, time: FrameTime, connection: Connection, raw: bytes) -> StoredFrame:
        stamp, frame_id = None, ""
        try:
            message = read_message(self._reader, connection, raw, "the message")
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            frame_id = message.header.frame_id
            return StoredFrame(
                time, stamp, frame_id, self._converters[connection.msgtype](message)
            )
        except ImageError as error:
            return StoredFrame(time, stamp, frame_id, None, str(error))


def _times_in_sqlite(storage: Sqlite3Reader, ids: Sequence[int]) -> list[int]:
    """Return sorted log times in ns. SQLite does not read the pages that have only images."""
    assert storage.dbconn
    marks = ",".join("?" * len(ids))
    query = f"SELECT timestamp FROM messages WHERE topic_id IN ({marks}) ORDER BY timestamp"
    return [time for (time,) in storage.dbconn.execute(query, ids)]


@contextmanager
def open_part(part: Part, topic: str | None) -> Iterator[PartReader]:
    """Open one file of a recording. Other files of it are not opened.

    A file that is compressed as a whole is decompressed to the folder of temporary files until it
    is closed.

    :param topic: None for the only topic that has images.
    :raises ImageError: when the file cannot be read, or has no such topic.
    :raises ConfigError: when ROS's Python packages are not installed.
    """
    if not part.described:
        with open_reader(part.file, cut_off=True) as reader:
            yield PartReader(part, reader, topic)
        return
    if not part.file.exists():
        raise ImageError(f"the bag {part.bag} is not complete: {part.file} is missing")
    information = _description(part.bag)
    information.update(relative_file_paths=[part.file.name], files=[])
    with TemporaryDirectory(prefix="clip_surgery_bag_") as folder:
        # rosbags opens the files that a description names: this one names a single file.
        (Path(folder) / part.file.name).symlink_to(part.file.absolute())
        (Path(folder) / DESCRIPTION).write_text(json.dumps({_INFORMATION: information}))
        with open_reader(Path(folder), cut_off=True) as reader:
            yield PartReader(part, reader, topic)
