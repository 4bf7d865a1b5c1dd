"""Labels an item of work, and keeps its result in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.geometry import uncrop
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.run_lengths import compressed_runs, run_lengths
from clip_surgery_ros.core.types import FrameResult, Query, Segment
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.recorded.plan import Item
from clip_surgery_ros.ros.bag_parts import StoredFrame, open_part

ITEMS = "items"
"""Folder of the results of items, in the output folder."""
_DIGITS = 6
"""Of scores: more than float32 holds."""


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
    pipeline = networks.pipeline(networks.config)
    frames = []
    with open_part(item.part, item.topic) as reader:
        for frame in reader.frames(item.frames, item.together):
            frames.append(_labelled(frame, query, pipeline))
            on_frame()
    content = json.dumps({"frames": frames}, separators=(",", ":"))
    write_whole(result_file(item, output), content.encode())


def _labelled(frame: StoredFrame, query: Query, pipeline: Pipeline) -> dict[str, Any]:
    """Return the labels of an image as JSON has them, or why there are none."""
    about = {
        "log_time": frame.time.log_time,
        "stamp": frame.stamp,
        "frame_id": frame.frame_id,
    }
    if frame.image is None:
        return {**about, "error": frame.error}
    try:
        result = pipeline.run(frame.image, query)
    except ImageError as error:
        return {**about, "error": str(error)}
    return {
        **about,
        "size_hw": list(result.size_hw),
        "objects": [_object(segment, result) for segment in result.segments],
        "absent": [{"name": label.name, "reason": label.reason} for label in result.absent],
    }


def _object(segment: Segment, result: FrameResult) -> dict[str, Any]:
    box = segment.box
    mask = uncrop(segment.mask, box, result.size_hw)
    return {
        "label": segment.label,
        "score": round(float(segment.score), _DIGITS),
        "presence": round(float(segment.presence), _DIGITS),
        "box": [box.x, box.y, box.width, box.height],
        "area": int(np.count_nonzero(segment.mask)),
        "counts": compressed_runs(run_lengths(mask)),
    }
