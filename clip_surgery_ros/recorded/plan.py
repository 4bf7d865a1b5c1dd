"""Divides the labelling of bags into items of work, from the bags' indexes alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.networks.factory import profiles_of, weight_files
from clip_surgery_ros.parameters.cameras import SpaceTopics
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.bag_parts import FrameTime, Part, open_part, parts_of_bag
from clip_surgery_ros.ros.bag_space import StaticTransform, static_transforms
from clip_surgery_ros.ros.space_inputs import depth_topic
from clip_surgery_ros.weights.files import sha256

IMAGES_PER_ITEM = 64
"""By default. A killed run loses at most the unfinished item of each worker: with networks that
take a second for a frame this is a minute. Reading a file's indexes again for each item takes far
less."""
FORMAT = 3
"""Raise it when the files of items change: older ones are then made again."""
_FINGERPRINT_BYTES = 65536
"""Bytes at a file's start and end that tell it from others: a bag is too large to read all."""
_WHERE_ONLY = ("clip_checkpoint", "sam_checkpoint")
"""Parameters that say where weights are; the weights themselves count instead."""


@dataclass(frozen=True)
class Item:
    """A piece of work: some images of one file.

    :param key: of everything that its result depends on; the result's file has this name.
    :param bag: name of the bag in the results.
    :param frames: sorted, at most ``images_per_item`` of :func:`make_plan`.
    :param together: whether they follow each other without a gap.
    :param space: topics for objects in space; None if they are not wanted.
    :param statics: static transforms of all files of the bag.
    """

    key: str
    bag: str
    part: Part
    topic: str
    frames: tuple[FrameTime, ...]
    together: bool
    space: SpaceTopics | None = None
    statics: tuple[StaticTransform, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All items, in the order of bags and files.

    :param unreadable: why files of a bag were left out, a sentence for each.
    :param depends: what all results depend on, see :func:`dependencies`.
    """

    items: tuple[Item, ...]
    unreadable: tuple[str, ...]
    depends: Mapping[str, Any]

    @property
    def frame_count(self) -> int:
        """Number of images in all items."""
        return sum(len(item.frames) for item in self.items)


@dataclass(frozen=True)
class _IndexedPart:
    """A file of a bag with the times of its images, and its static transforms."""

    part: Part
    topic: str
    times: list[FrameTime]
    statics: list[StaticTransform]


def make_plan(
    bags: Sequence[Path],
    topic: str | None,
    every_s: float,
    query: Query,
    config: Config,
    images_per_item: int = IMAGES_PER_ITEM,
    space: SpaceTopics | None = None,
) -> Plan:
    """Plan the work. Reads the indexes of bags, and the weights once for their checksums.

    :param bags: folders of ROS 2 bags, or files of them.
    :param topic: None for the only topic that has images, in each bag.
    :param every_s: least time between two images in seconds, by the times when they were
        recorded, which are all that indexes have; 0 for all images.
    :param images_per_item: at most.
    :param space: topics for objects in space; None if they are not wanted.
    :raises ImageError: when no file of a bag can be read, or a bag has no such images or no such
        depth.
    :raises WeightsError: when a weight file is missing.
    """
    depends = dependencies(query, config)
    return plan_items(bags, topic, every_s, depends, images_per_item, space)


def plan_items(
    bags: Sequence[Path],
    topic: str | None,
    every_s: float,
    depends: Mapping[str, Any],
    images_per_item: int = IMAGES_PER_ITEM,
    space: SpaceTopics | None = None,
) -> Plan:
    """Plan work of any kind. Parameters and errors are those of :func:`make_plan`.

    :param depends: what the results of all items depend on, as JSON has it.
    """
    items: list[Item] = []
    unreadable: list[str] = []
    for bag, name in zip(bags, _names(bags), strict=True):
        parts, problems = _indexed_parts(bag, topic, space)
        unreadable += problems
        last = {each.child: each for part in parts for each in part.statics}
        statics = tuple(last[child] for child in sorted(last))
        common = dict(depends)
        if space is not None:
            common["space"] = [asdict(space), [asdict(each) for each in statics]]
        chosen = _sampled([part.times for part in parts], round(every_s * 1e9))
        for part, frames in zip(parts, chosen, strict=True):
            for item in _items(part, frames, name, common, images_per_item):
                items.append(replace(item, space=space, statics=statics))
    return Plan(tuple(items), tuple(unreadable), depends)


def dependencies(query: Query, config: Config) -> dict[str, Any]:
    """Return what the results of all items depend on, as JSON has it. Weights are read once.

    :raises WeightsError: when a weight file is missing, or a profile is damaged.
    """
    return {
        "format": FORMAT,
        "version": version("clip_surgery_ros"),
        "query": [asdict(label) for label in query.labels],
        "weights": [sha256(file) for file in weight_files(config)],
        "profiles": [profile.values for profile in profiles_of(config)],
        "parameters": {k: v for k, v in asdict(config).items() if k not in _WHERE_ONLY},
    }


def _names(bags: Sequence[Path]) -> list[str]:
    """Return a different name for each bag, by its folder or file."""
    names: list[str] = []
    for bag in bags:
        names.append(unused_name(bag.resolve().name, names))
    return names


def unused_name(name: str, used: Sequence[str]) -> str:
    """Return a name, with the first number from 2 on behind it if it is used.

    >>> unused_name("drive", ["drive", "drive_2"])
    'drive_3'
    """
    found, number = name, 2
    while found in used:
        found, number = f"{name}_{number}", number + 1
    return found


def _indexed_parts(
    bag: Path, topic: str | None, space: SpaceTopics | None
) -> tuple[list[_IndexedPart], list[str]]:
    """Return a bag's files that can be read, and why others cannot."""
    found: list[_IndexedPart] = []
    topics: set[str] = set()
    problems: list[ImageError] = []
    for part in parts_of_bag(bag):
        try:
            with open_part(part, topic) as reader:
                topic = reader.topic  # all files of a bag have the same
                statics = static_transforms(reader) if space is not None else []
                found.append(_IndexedPart(part, topic, reader.times(), statics))
                topics |= reader.image_topics()
        except ImageError as error:
            problems.append(error)
    if problems and not found:
        raise problems[0]
    if not any(part.times for part in found):
        raise ImageError(f"the bag {bag} has no messages on {topic}")
    if space is not None and depth_topic(space) not in topics:
        known = ", ".join(sorted(topics)) or "none"
        raise ImageError(
            f"the bag {bag} has no messages on {depth_topic(space)}; name --depth, of the topics "
            f"that have images: {known}"
        )
    return found, [str(error) for error in problems]


def _sampled(times: Sequence[Sequence[FrameTime]], every_ns: int) -> list[list[FrameTime]]:
    """Return those of each file's images that are at least ``every_ns`` after the one before."""
    chosen: list[list[FrameTime]] = [[] for _ in times]
    last: int | None = None
    for time, index in sorted((time, i) for i, part in enumerate(times) for time in part):
        if last is None or time.log_time - last >= every_ns:
            chosen[index].append(time)
            last = time.log_time
    return chosen


def _items(
    indexed: _IndexedPart,
    frames: Sequence[FrameTime],
    name: str,
    common: dict[str, Any],
    images_per_item: int,
) -> Iterator[Item]:
    """Yield the items of one file."""
    fingerprint = _fingerprint(indexed.part.file)
    position = {time: index for index, time in enumerate(indexed.times)}
    for start in range(0, len(frames), images_per_item):
        some = tuple(frames[start : start + images_per_item])
        together = all(position[b] - position[a] == 1 for a, b in pairwise(some))
        times = [(time.log_time, time.copy) for time in some]
        content = {**common, "file": fingerprint, "topic": indexed.topic, "frames": times}
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        yield Item(key, name, indexed.part, indexed.topic, some, together)


def _fingerprint(file: Path) -> str:
    """Return what tells a recorded file from others, wherever it lies."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        digest = hashlib.sha256(opened.read(_FINGERPRINT_BYTES))
        opened.seek(max(0, size - _FINGERPRINT_BYTES))
        digest.update(opened.read())
    return f"{size} {digest.hexdigest()}"
