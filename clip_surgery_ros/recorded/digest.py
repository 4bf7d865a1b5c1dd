"""What a page about labelled bags shows, collected image by image in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from clip_surgery_ros.core.types import Query, Segment
from clip_surgery_ros.recorded.frames import LabelledFrame
from clip_surgery_ros.recorded.plan import Plan

BINS = 72
"""Sections of a bag's time that counts are shown of, at most: one for each 10 pixels of a chart.
A bag with fewer images has one for each."""
OVERVIEW = 24
"""Images of the overview: four rows of six on a wide screen."""
EXAMPLES = 4
"""Best and worst examples of each label: a row."""
MOST_REASONS = 12
"""Different reasons for which a label is absent that are kept; more are counted as one."""
MOST_SKIPPED = 100
"""Skipped images that are named; ``coco.json`` has all of them."""
OTHER = "other reasons"
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class Example:
    """An object in an image.

    :param frame: without its places, and what is remembered of other objects.
    :param number: of the image in the order of all images.
    """

    frame: LabelledFrame
    segment: Segment
    number: int


@dataclass
class Timeline:
    """Counts over a bag's time, in sections of the same length.

    :param start: first log time, ns; ``end`` the last.
    :param images: number of images in each section.
    :param objects: number of objects of each label in each section.
    """

    start: int
    end: int
    images: list[int]
    objects: list[list[int]]

    def add(self, frame: LabelledFrame) -> None:
        """Count an image."""
        assert frame.result is not None
        share = (frame.log_time - self.start) / max(1, self.end - self.start)
        index = min(len(self.images) - 1, int(share * len(self.images)))
        self.images[index] += 1
        for segment in frame.result.segments:
            self.objects[segment.label][index] += 1


@dataclass
class OfLabel:
    """What is shown of a label.

    :param best: examples with the highest scores, one of each object; ``worst`` the lowest.
    :param reasons: for which it was absent, without numbers: how often, and an example of it.
    """

    best: list[Example] = field(default_factory=list)
    worst: list[Example] = field(default_factory=list)
    reasons: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add_reason(self, reason: str) -> None:
        """Count that it was absent."""
        key = _NUMBER.sub("#", reason)
        if key not in self.reasons and len(self.reasons) >= MOST_REASONS:
            key, reason = OTHER, OTHER
        count, first = self.reasons.get(key, (0, reason))
        self.reasons[key] = (count + 1, first)


class Digest:
    """Collects images; ``take`` gets them in the order of bags and log times.

    :param plan: has the bags' times, and how many images there are.
    """

    def __init__(self, plan: Plan, query: Query) -> None:
        self.timelines: dict[str, Timeline] = {}
        for bag, grouped in groupby(plan.items, key=lambda item: item.bag):
            items = list(grouped)
            bins = min(BINS, sum(len(item.frames) for item in items))
            self.timelines[bag] = Timeline(
                min(item.frames[0].log_time for item in items),
                max(item.frames[-1].log_time for item in items),
                [0] * bins,
                [[0] * bins for _ in query.labels],
            )
        self.labels = [OfLabel() for _ in query.labels]
        self.overview: list[LabelledFrame] = []
        self.skipped: list[LabelledFrame] = []
        self._step = max(1, -(-plan.frame_count // OVERVIEW))
        self._names = {name: index for index, name in enumerate(query.names)}
        self._number = -1

    def take(self, frame: LabelledFrame) -> None:
        """Collect what is shown of an image."""
        self._number += 1
        result = frame.result
        if result is None:
            if len(self.skipped) < MOST_SKIPPED:
                self.skipped.append(frame)
            return
        frame = replace(frame, scene=None, remembered=None)
        if self._number >= self._step * len(self.overview):
            self.overview.append(frame)
        self.timelines[frame.item.bag].add(frame)
        for label in result.absent:
            self.labels[self._names[label.name]].add_reason(label.reason)
        for segment in result.segments:
            example, shown = Example(frame, segment, self._number), self.labels[segment.label]
            shown.best = _with(shown.best, example, lambda each: -each.segment.score)
            shown.worst = _with(shown.worst, example, lambda each: each.segment.score)


def _with(
    kept: Sequence[Example], new: Example, rank: Callable[[Example], float]
) -> list[Example]:
    """Return the examples of least rank, one for each object that has an id."""
    found: list[Example] = []
    for each in sorted([*kept, new], key=lambda one: (rank(one), one.number)):
        if each.segment.id and any(each.segment.id == one.segment.id for one in found):
            continue
        found.append(each)
    return found[:EXAMPLES]
