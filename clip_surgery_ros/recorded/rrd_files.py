"""What is found in bags, as files of the Rerun viewer, one for each bag. Needs the Rerun SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import UNFINISHED, remove_unfinished
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.recorded.frames import LabelledFrame
from clip_surgery_ros.recorded.plan import Item
from clip_surgery_ros.recorded.results import Take
from clip_surgery_ros.rerun_bridge.archetypes import (
    camera_entity,
    image_entities,
    result_entities,
    track_entities,
)
from clip_surgery_ros.rerun_bridge.extra import SUFFIX
from clip_surgery_ros.rerun_bridge.recording import Recording, recorded_to
from clip_surgery_ros.ros import messages, track_messages
from clip_surgery_ros.ros.bag_parts import StoredFrame, open_part
from clip_surgery_ros.ros.messages import time_message

RERUN = "rerun"
"""Folder of the files, in the output folder."""
_CAMERA = camera_entity("")


@contextmanager
def rrd_files(query: Query, output: Path) -> Iterator[Take]:
    """Write a file for each bag; it replaces that of an earlier run.

    The images are read from the bags once more.
    """
    folder = output / RERUN
    folder.mkdir(exist_ok=True)
    remove_unfinished(folder)
    with TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished:
        with ExitStack() as opened:
            yield _RrdFiles(Path(unfinished), opened, query).take
        for path in sorted(Path(unfinished).iterdir()):
            os.replace(path, folder / path.name)


class _RrdFiles:
    """Writes the files, one after the other.

    :param opened: holds the one that is written and what is read, and closes them.
    """

    def __init__(self, folder: Path, opened: ExitStack, query: Query) -> None:
        self._folder, self._opened, self._query = folder, opened, query
        self._recordings: dict[str, Recording] = {}
        """The one that is written, by the name of its bag."""
        self._images: dict[str, Iterator[StoredFrame]] = {}
        """The images of items that are not at their end, by the item's key."""

    def take(self, frame: LabelledFrame) -> None:
        """Log an image with its labels; nothing of an image without labels."""
        bag = frame.item.bag
        if bag not in self._recordings:
            self._opened.close()
            opened = recorded_to(self._folder / f"{bag}{SUFFIX}", _CAMERA)
            self._recordings = {bag: self._opened.enter_context(opened)}
            self._images = {}
        image_rgb = self._image(frame)
        if frame.result is None:
            return
        recording, stamp_ns = self._recordings[bag], frame.stamp or frame.log_time
        header = Header(stamp=time_message(stamp_ns), frame_id=frame.values["frame_id"])
        asked = messages.query_message(self._query, header.stamp)
        space = None if frame.scene is None else frame.scene.found
        message = messages.segment_array(frame.result, header, asked, space, frame.remembered)
        recording.log_labels(_CAMERA, self._query.names, stamp_ns)
        if image_rgb is not None:
            recording.log(image_entities(_CAMERA, image_rgb), stamp_ns)
        recording.log(result_entities(_CAMERA, message, frame.result.size_hw), stamp_ns)
        if frame.remembered is not None:
            tracks = track_messages.track_array(frame.remembered, header)
            recording.log(track_entities(tracks), stamp_ns)

    def _image(self, frame: LabelledFrame) -> NDArray[np.uint8] | None:
        """Return the image of a frame; None if it can no longer be read."""
        key = frame.item.key
        try:
            if key not in self._images:
                self._images[key] = self._open(frame.item)
            for stored in self._images[key]:
                if stored.time == frame.time:
                    return stored.image
        except ImageError:  # the file is gone; the results are there all the same
            self._images[key] = iter(())
        return None

    def _open(self, item: Item) -> Iterator[StoredFrame]:
        reader = self._opened.enter_context(open_part(item.part, item.topic))
        return reader.frames(item.frames, item.together)
