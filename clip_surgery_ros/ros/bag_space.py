"""What belongs to the images of a recording in space: depth, camera models and transforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.parameters.cameras import SpaceTopics
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.bag_parts import PartReader, StoredFrame
from clip_surgery_ros.ros.pairing import Paired, stamp_ns
from clip_surgery_ros.ros.space_inputs import SpaceInputs
from clip_surgery_ros.ros.transforms import rigid_of
from clip_surgery_ros.space.transforms import Rigid, TransformBuffer

AROUND_NS = 1_000_000_000
"""How long before and after an image what belongs to it is looked for, by the times when messages
were recorded: transforms of 1 Hz and more lie on both sides of it, and depth is recorded less than
that after its image."""
MOVING, STATIC = "/tf", "/tf_static"
ALWAYS = 2**63 - 1
"""Later than all log times."""


@dataclass(frozen=True)
class StaticTransform:
    """Where a frame always is in its parent.

    :param translation: metres; ``quaternion`` x, y, z, w.
    """

    parent: str
    child: str
    translation: tuple[float, ...]
    quaternion: tuple[float, ...]


def static_transforms(reader: PartReader) -> list[StaticTransform]:
    """Return the static transforms of a file, of each frame the last; impossible ones are left
    out. A recorder writes them once, so the other files of a recording have none.
    """
    found: dict[str, StaticTransform] = {}
    for _, _, message in reader.others([STATIC], 0, ALWAYS):
        for one in message.transforms:
            try:
                rigid = rigid_of(one.transform)
            except SpaceError:
                continue
            numbers = tuple(rigid.translation.tolist()), tuple(rigid.quaternion.tolist())
            parent, child = one.header.frame_id, one.child_frame_id
            found[child] = StaticTransform(parent, child, *numbers)
    return [found[child] for child in sorted(found)]


class RecordedTransforms:
    """Transforms that a recording has; a :class:`~clip_surgery_ros.ros.transforms.Transforms`."""

    def __init__(self, statics: Iterable[StaticTransform]) -> None:
        self._buffer = TransformBuffer()
        for each in statics:
            rigid = Rigid.from_message(each.translation, each.quaternion)
            self._add(each.parent, each.child, None, rigid)

    def listen(self) -> None:
        """Do nothing: what is recorded is taken in by :meth:`take`."""

    def stop(self) -> None:
        """Forget moving transforms."""
        self.forget_moving()

    def forget_moving(self) -> None:
        """Forget all but static transforms: time begins anew."""
        self._buffer.clear()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Rigid:
        """Return the transform that takes points of ``source`` to ``target``.

        :raises TransformUnavailable: with one of the reasons ``TF_...``.
        """
        return self._buffer.lookup(target, source, stamp_ns)

    def take(self, message: Any) -> None:
        """Take in a message of ``/tf``; transforms that cannot be used are left out, as in tf2."""
        for one in message.transforms:
            try:
                rigid = rigid_of(one.transform)
            except SpaceError:
                continue
            self._add(one.header.frame_id, one.child_frame_id, stamp_ns(one.header), rigid)

    def _add(self, parent: str, child: str, stamp: int | None, rigid: Rigid) -> None:
        try:
            if stamp is None:
                self._buffer.add_static(parent, child, rigid)
            else:
                self._buffer.add(parent, child, stamp, rigid)
        except SpaceError:  # without two different names, which tf2 leaves out too
            return


class BagSpace:
    """Pairs images of a file with what was recorded at their time. Only that is read.

    :param reader: of the file.
    :param topics: of the images' camera.
    :param statics: static transforms of the whole recording.
    """

    def __init__(
        self,
        reader: PartReader,
        topics: SpaceTopics,
        statics: Iterable[StaticTransform],
        config: Config,
    ) -> None:
        self._reader, self._config = reader, config
        self._transforms = RecordedTransforms(statics)
        self._inputs = SpaceInputs(
            reader.topic.removesuffix("/compressed"), topics, self._transforms
        )
        self._messages: Iterator[tuple[str, int, Any]] = iter(())
        self._read_ns = -ALWAYS
        """Log time up to which messages were taken in."""

    def pair(self, frame: StoredFrame) -> Paired:
        """Return what belongs to an image, or why something is missing.

        :param frame: in the order of log times.
        """
        stamp = frame.stamp or 0
        header = Header(
            stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame.frame_id
        )
        self._inputs.begin(stamp)
        start, end = frame.time.log_time - AROUND_NS, frame.time.log_time + AROUND_NS
        if start > self._read_ns:
            topics = [MOVING, *self._inputs.topics]
            self._messages = self._reader.others(topics, max(0, start), ALWAYS)
        found = None
        while found is None:
            topic, log_time, message = next(self._messages, ("", ALWAYS, None))
            self._read_ns = log_time
            self._take(topic, message)
            found = self._inputs.find(header, self._config, is_over=log_time > end)
        return found

    def _take(self, topic: str, message: Any) -> None:
        if topic == MOVING:
            self._transforms.take(message)
        for ring in self._inputs.topics.get(topic, ()):
            ring.add(stamp_ns(message.header), message)
