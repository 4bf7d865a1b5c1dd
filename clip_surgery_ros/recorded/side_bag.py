"""A bag beside each labelled one, with the messages that the node would have published.

They are stamped and logged at the times of the images, so that both bags play together.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.core.files import UNFINISHED, remove_unfinished
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.frames import LabelledFrame
from clip_surgery_ros.recorded.results import Take
from clip_surgery_ros.ros import messages, qos
from clip_surgery_ros.ros.bag_writing import BagTopic, BagWriter, write_bag
from clip_surgery_ros.ros.outputs import OUTPUTS, SPACE_OUTPUTS, TRACKS, Frame, Output

BAGS = "bags"
"""Folder of the side bags, in the output folder."""
NODE = "/clip_surgery"
"""Name of the node, below which its topics are."""
_QUERY, _KEY = f"{NODE}/active_query", f"{NODE}/label_info"
_LEFT_OUT = ("heatmap", "heatmaps", "overlay", "points", "background_points")
"""They show maps or depth, which are not kept, or the image, which the other bag has."""
_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)
"""None of the kept topics shows it."""


@contextmanager
def side_bags(query: Query, config: Config, output: Path) -> Iterator[Take]:
    """Write a bag with the node's topics beside each bag; it replaces that of an earlier run."""
    folder = output / BAGS
    folder.mkdir(exist_ok=True)
    remove_unfinished(folder)
    with TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished:
        with ExitStack() as opened:
            yield _SideBags(Path(unfinished), opened, query, config.presence_threshold).take
        for path in sorted(Path(unfinished).iterdir()):
            if (folder / path.name).exists():
                shutil.rmtree(folder / path.name)
            os.replace(path, folder / path.name)


class _SideBags:
    """Writes side bags, one after the other.

    :param opened: holds the one that is written, and closes it.
    :param threshold: presence below which labels are absent, which the mask's key states.
    """

    def __init__(self, folder: Path, opened: ExitStack, query: Query, threshold: float) -> None:
        self._folder, self._opened = folder, opened
        self._query, self._threshold = query, threshold
        self._writers: dict[str, BagWriter] = {}
        """The bag that is written, by its name."""
        self._message = TextQuery()

    def take(self, frame: LabelledFrame) -> None:
        """Write the messages of an image; of one without labels there are none."""
        name, log_time = frame.item.bag, frame.log_time
        if name not in self._writers:
            self._begin(name, frame)
        writer = self._writers[name]
        if frame.result is None:
            return
        stamp = messages.time_message(frame.stamp)
        header = Header(stamp=stamp, frame_id=frame.values["frame_id"])
        space = None if frame.scene is None else frame.scene.found
        shown = Frame(frame.result, _NO_IMAGE, header, self._message, space, frame.remembered)
        for topic, output in _outputs(space is not None).items():
            message = output.build(shown)
            if message is not None:
                writer.write(topic, message, log_time)

    def _begin(self, name: str, frame: LabelledFrame) -> None:
        """Open the next bag, and write what the node publishes once for a query."""
        self._opened.close()
        topics = {_QUERY: BagTopic(TextQuery, qos.latched())}
        topics[_KEY] = BagTopic(LabelInfo, qos.latched())
        for topic, output in _outputs(frame.item.space is not None).items():
            topics[topic] = BagTopic(output.message_type, output.make_qos())
        opened = write_bag(self._folder / name, topics)
        self._writers = {name: self._opened.enter_context(opened)}
        stamp = messages.time_message(frame.stamp or frame.log_time)
        self._message = messages.query_message(self._query, stamp)
        key = messages.label_info(self._query, stamp, self._threshold)
        self._writers[name].write(_QUERY, self._message, frame.log_time)
        self._writers[name].write(_KEY, key, frame.log_time)


def _outputs(in_space: bool) -> dict[str, Output]:
    """Return the node's outputs by topic.

    :param in_space: whether there is depth.
    """
    outputs = (*OUTPUTS, *(SPACE_OUTPUTS if in_space else ()), TRACKS)
    kept = [output for output in outputs if output.name not in _LEFT_OUT]
    return {f"{NODE}/{output.name.removeprefix('~/')}": output for output in kept}
