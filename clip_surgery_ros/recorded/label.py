"""Labels an item of work, and keeps its result in a file."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.plan import Item
from clip_surgery_ros.recorded.stored import Values, motion_values, picture_values, values_of
from clip_surgery_ros.recorded.stored_space import scene_values
from clip_surgery_ros.ros.bag_parts import StoredFrame, open_part
from clip_surgery_ros.ros.bag_space import BagSpace
from clip_surgery_ros.ros.places import objects_in_space
from clip_surgery_ros.tracks.image_motion import Reduced, motion_between, reduced

ITEMS = "items"
"""Folder of the results of items, in the output folder."""
WANTED = Wanted(appearance=True)
"""Appearances tell alike objects apart when ids are given."""


def result_file(item: Item, output: Path) -> Path:
    """Return the file that has the result of an item, once it is complete."""
    return output / ITEMS / f"{item.key}.json"


def label_item(
    item: Item,
    query: Query,
    networks: LoadedNetworks,
    output: Path,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Label the images of an item and write the result. One image at a time is in memory.

    :param on_frame: called after each image.
    :raises ImageError: when the bag's file cannot be opened any more. Images that cannot be read
        or labelled are no errors: the result has the reason in their place.
    :raises DeviceError: when memory runs out.
    """
    # A pipeline keeps what it computed of an image for similar ones. A new one for each item
    # makes the result independent of the items that this process has labelled before.
    pipeline, motions = networks.pipeline(networks.config), _Motions()
    frames = []
    with open_part(item.part, item.topic) as reader:
        space = None
        if item.space is not None:
            space = BagSpace(reader, item.space, item.statics, networks.config)
        for frame in reader.frames(item.frames, item.together):
            values, result = _labelled(frame, query, pipeline)
            if result is not None and frame.image is not None:
                values["motion"] = motions.step(frame.image)
                values["space"] = space and _in_space(frame, result, space, networks.config)
            frames.append(values)
            on_frame()
    ends = {"first": picture_values(motions.first), "last": picture_values(motions.last)}
    content = json.dumps({"frames": frames, **ends}, separators=(",", ":"))
    # On a cluster a worker that was taken for lost may still write what another one does again.
    writer = f".{socket.gethostname()}.{os.getpid()}"
    write_whole(result_file(item, output), content.encode(), writer)


class _Motions:
    """How the picture moves from image to image of an item, which ids without depth need.

    The first and the last picture stay, for the motion from item to item.
    """

    def __init__(self) -> None:
        self.first: Reduced | None = None
        self.last: Reduced | None = None

    def step(self, image: NDArray[np.uint8]) -> Values | None:
        """Return the motion since the last image as JSON has it; None for the first image."""
        now = reduced(image)
        last, self.last = self.last, now
        if last is None:
            self.first = now
            return None
        return motion_values(motion_between(last, now))


def _labelled(
    frame: StoredFrame, query: Query, pipeline: Pipeline
) -> tuple[Values, FrameResult | None]:
    """Return the labels of an image as JSON has them, or why there are none."""
    about = {
        "log_time": frame.time.log_time,
        "copy": frame.time.copy,
        "stamp": frame.stamp,
        "frame_id": frame.frame_id,
    }
    if frame.image is None:
        return {**about, "error": frame.error}, None
    try:
        result = pipeline.run(frame.image, query, WANTED)
    except ImageError as error:
        return {**about, "error": str(error)}, None
    return {**about, **values_of(result)}, result


def _in_space(frame: StoredFrame, result: FrameResult, space: BagSpace, config: Config) -> Values:
    """Return the places of an image's objects as JSON has them."""
    paired = space.pair(frame)
    found = objects_in_space(result, paired, config)
    # Without a frame that does not move with the camera, objects are followed in the picture.
    return scene_values(found, paired, for_ids=bool(config.target_frame))
