"""Writes messages of ROS to a bag that needs nothing else to be read: MCAP, compressed with zstd,
with the definitions of all its message types. No ROS needs to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from clip_surgery_ros.ros.endpoints import type_name

VERSION: Literal[9] = 9
"""Of the bag's description, which Jazzy writes."""
_INFINITE = QosTime(9_223_372_036, 854_775_807)
"""How rosbag2 writes that a duration has no limit."""
_BASE_TYPES = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}
"""Names of types that differ between rosidl's Python classes and ``.msg`` files."""
_ARRAY = re.compile(r"(?P<item>.+)\[(?P<size>\d+)\]")
_SEQUENCE = re.compile(r"sequence<(?P<item>[^,]+)(, (?P<most>\d+))?>")
_BOUNDED = re.compile(r"(?P<base>w?string)<(?P<most>\d+)>")


@dataclass(frozen=True)
class BagTopic:
    """A topic to record.

    :param message_type: class of its messages.
    :param qos: that players offer it with.
    """

    message_type: type
    qos: QoSProfile


class BagWriter:
    """Writes messages to the topics of a bag; see :func:`write_bag`."""

    def __init__(self, writer: Writer, topics: Mapping[str, BagTopic]) -> None:
        self._writer = writer
        self._store = store = typestore_of([topic.message_type for topic in topics.values()])
        self._connections = {
            name: writer.add_connection(
                name,
                type_name(topic.message_type),
                typestore=store,
                offered_qos_profiles=[_qos(topic.qos)],
            )
            for name, topic in topics.items()
        }

    def write(self, topic: str, message: Any, log_time: int) -> None:
        """Write a message; the same message gives the same bytes.

        :param topic: one of the bag's.
        :param log_time: when it counts as recorded, ns since the epoch.
        """
        connection = self._connections[topic]
        raw = serialize_message(message)
        # ROS leaves in the gaps between fields what was in memory; rosbags writes zeros there.
        clean = self._store.deserialize_cdr(raw, connection.msgtype)
        self._writer.write(
            connection, log_time, self._store.serialize_cdr(clean, connection.msgtype)
        )


@contextmanager
def write_bag(path: Path, topics: Mapping[str, BagTopic]) -> Iterator[BagWriter]:
    """Open a new bag for writing; at the end it is complete.

    :param path: of its folder, which must not exist.
    :param topics: by name; each is in the bag even without a message.
    """
    writer = Writer(path, version=VERSION, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        yield BagWriter(writer, topics)


def typestore_of(message_types: list[type]) -> Typestore:
    """Return a store with the definitions of message types, read from their Python classes.

    Files of definitions are not installed with every package of messages.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    waiting = list(message_types)
    while waiting:
        message_type: Any = waiting.pop()
        name = type_name(message_type)
        if name in store.types:
            continue
        fields = {
            field: _definition(written)
            for field, written in message_type.get_fields_and_field_types().items()
        }
        text = "\n".join(f"{definition} {field}" for field, definition in fields.items())
        store.register(get_types_from_msg(text, name))
        waiting += [_class_of(definition) for definition in fields.values() if "/" in definition]
    return store


def _definition(written: str) -> str:
    """Return a field's type as ``.msg`` files have it.

    >>> _definition("sequence<double>"), _definition("std_msgs/Header"), _definition("float[9]")
    ('float64[]', 'std_msgs/Header', 'float32[9]')
    """
    if match := _SEQUENCE.fullmatch(written):
        most = f"<={match['most']}" if match["most"] else ""
        return f"{_definition(match['item'])}[{most}]"
    if match := _ARRAY.fullmatch(written):
        return f"{_definition(match['item'])}[{match['size']}]"
    if match := _BOUNDED.fullmatch(written):
        return f"{match['base']}<={match['most']}"
    return _BASE_TYPES.get(written, written)


def _class_of(definition: str) -> type:
    """Return the class of a field's type, such as ``std_msgs/Header[]``."""
    package, name = definition.partition("[")[0].split("/")
    found: type = getattr(import_module(f"{package}.msg"), name)
    return found


def _qos(profile: QoSProfile) -> Qos:
    """Return a profile as bags have it."""
    is_reliable = profile.reliability is ReliabilityPolicy.RELIABLE
    is_latched = profile.durability is DurabilityPolicy.TRANSIENT_LOCAL
    return Qos(
        QosHistory.KEEP_LAST,
        profile.depth,
        QosReliability.RELIABLE if is_reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE,
        _INFINITE,
        _INFINITE,
        QosLiveliness.AUTOMATIC,
        _INFINITE,
        False,
    )
