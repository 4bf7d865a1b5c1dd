"""The labelled images of bags, in the order of time, from the results of items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from clip_surgery_ros.core.types import FrameResult, Query
from clip_surgery_ros.recorded.label import result_file
from clip_surgery_ros.recorded.plan import Item, Plan
from clip_surgery_ros.recorded.stored import Values, motion_of, picture_of, result_of
from clip_surgery_ros.recorded.stored_space import Scene, scene_of
from clip_surgery_ros.ros.bag_parts import FrameTime
from clip_surgery_ros.tracks.image_motion import UNKNOWN, ImageMotion, Reduced, motion_between
from clip_surgery_ros.tracks.types import Remembered


@dataclass(frozen=True)
class LabelledFrame:
    """An image with its labels.

    :param name: of its bag and log time; a different one for each image.
    :param item: that it was labelled in.
    :param values: as the item's result has them.
    :param result: what was found; None for an image that could not be read or labelled.
    :param motion: of the picture since the last image of the bag that could be read.
    :param scene: the places of its objects; None if they are not wanted.
    :param remembered: all objects of the bag at this time, which give the segments of ``result``
        their ids; None before ids are given.
    """

    name: str
    item: Item
    values: Values
    result: FrameResult | None = None
    motion: ImageMotion = UNKNOWN
    scene: Scene | None = None
    remembered: Remembered | None = None

    @property
    def error(self) -> str:
        """Why it could not be read or labelled; empty if it was."""
        return str(self.values.get("error", ""))

    @property
    def log_time(self) -> int:
        """When it was recorded, ns since the epoch."""
        return int(self.values["log_time"])

    @property
    def time(self) -> FrameTime:
        """Which image of its file it is."""
        return FrameTime(self.log_time, int(self.values["copy"]))

    @property
    def stamp(self) -> int:
        """Stamp of its header, ns since the epoch; 0 if that is not known."""
        return int(self.values["stamp"] or 0)


def labelled_frames(plan: Plan, query: Query, output: Path) -> Iterator[LabelledFrame]:
    """Yield all images in the order of bags and log times, whatever the order of the work.

    The results of one item at a time are in memory; of several, where their times overlap.
    """
    for _, items in groupby(plan.items, key=lambda item: item.bag):
        yield from _named(_frames_of_bag(list(items), query, output))


@dataclass
class _Result:
    """The result of an item.

    :param first: what tells the motion of its first good image; ``last`` of its last one.
    :param left: number of its good images that were not yielded yet.
    """

    item: Item
    first: Reduced | None
    last: Reduced | None
    left: int


def _frames_of_bag(items: Sequence[Item], query: Query, output: Path) -> Iterator[LabelledFrame]:
    """Yield a bag's images by their log times; sorting keeps the order of copies."""
    before: _Result | None = None
    for together in _overlapping(items):
        rows: list[tuple[Values, _Result]] = []
        for item in together:
            content = json.loads(result_file(item, output).read_bytes())
            left = sum("error" not in values for values in content["frames"])
            ends = picture_of(content["first"]), picture_of(content["last"])
            result = _Result(item, *ends, left)
            rows += ((values, result) for values in content["frames"])
        for values, result in sorted(rows, key=lambda row: row[0]["log_time"]):
            if "error" in values:
                yield LabelledFrame("", result.item, values)
                continue
            motion = _motion(values, result, before)
            before = result
            result.left -= 1
            found = result_of(values, query)
            space = values["space"]
            scene = None if space is None else scene_of(space, found.size_hw)
            yield LabelledFrame("", result.item, values, found, motion, scene)


def _overlapping(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield a bag's items by time, those together whose times overlap."""
    together: list[Item] = []
    end = -1
    for item in sorted(items, key=lambda each: each.frames[0].log_time):
        if together and item.frames[0].log_time > end:
            yield together
            together = []
        together.append(item)
        end = max(end, item.frames[-1].log_time)
    if together:
        yield together


def _motion(values: Values, result: _Result, before: _Result | None) -> ImageMotion:
    """Return the motion of an image's picture since the bag's last good image.

    :param before: the result that has this last image; None for the first image of all.
    """
    if values["motion"] is not None:
        return motion_of(values["motion"]) if result is before else UNKNOWN
    if before is None or before.left or before.last is None or result.first is None:
        return UNKNOWN
    return motion_between(before.last, result.first)


def _named(frames: Iterable[LabelledFrame]) -> Iterator[LabelledFrame]:
    """Yield a bag's images with names."""
    last, copies = -1, 1
    for frame in frames:
        copies = copies + 1 if frame.log_time == last else 1
        last = frame.log_time
        copy = f"_{copies}" if copies > 1 else ""
        yield replace(frame, name=f"{frame.item.bag}/{last}{copy}")
