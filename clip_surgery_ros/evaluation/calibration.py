"""Thresholds of raw similarity, proposed from pictures of one's own.

A label counts as absent where no token of a picture reaches the threshold. So what counts is the
highest similarity that the label reaches in each picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.types import Query, Wanted
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.parameters.thresholds import format_thresholds, is_parsable

LEVELS = 256
"""Of the histogram that Otsu's threshold is found on, OpenCV's."""
PANELS = 12
"""Most labels with a histogram of their own: more cannot be read on one page."""
GROUPS = (("present", "tab:green"), ("absent", "tab:red"), ("unknown", "tab:gray"))
"""Fields of :class:`Similarities` and their colours."""


@dataclass(frozen=True)
class Similarities:
    """Highest similarity of a label in each picture, by what is known of the picture."""

    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """All of them."""
        return self.present + self.absent + self.unknown


@dataclass(frozen=True)
class Proposal:
    """A threshold and what it would have done on the same pictures.

    :param found: share of the pictures with the label (of all, where nothing is known) that reach
        it; NaN of none.
    :param false_alarms: share of the pictures without it that reach it; NaN of none.
    """

    threshold: float
    found: float
    false_alarms: float


def of_images(
    pipeline: Pipeline, images: Iterable[NDArray[np.uint8]], query: Query, most: int | None = None
) -> dict[str, Similarities]:
    """Similarities by label in (H, W, 3) uint8 RGB pictures of which nothing is known.

    Labels that the network does not know have none, and are left out.

    :param most: how many pictures there are at most, for the progress bar.
    """
    query = pipeline.vocabulary.without_unknown(query)
    found = {name: Similarities() for name in query.names}
    for image in tqdm(images, total=most, unit="picture"):
        for name, value in _highest(pipeline, image, query).items():
            found[name].unknown.append(value)
    return found


def of_examples(
    pipeline: Pipeline, examples: Iterable[Example], most: int | None = None
) -> dict[str, Similarities]:
    """Similarities by label in pictures whose objects are known; ``most`` as above."""
    found: dict[str, Similarities] = {}
    for truth in tqdm(examples, total=most, unit="picture"):
        query = pipeline.vocabulary.without_unknown(query_of_names(truth.asked))
        for name, value in _highest(pipeline, truth.image, query).items():
            similarities = found.setdefault(name, Similarities())
            known = similarities.present if name in truth.present else similarities.absent
            known.append(value)
    return found


def _highest(pipeline: Pipeline, image: NDArray[np.uint8], query: Query) -> dict[str, float]:
    maps = pipeline.run(image, query, Wanted(segments=False)).similarity
    return {name: float(one.max()) for name, one in zip(query.names, maps, strict=True)}


def together(similarities: Iterable[Similarities]) -> Similarities:
    """Those of all labels."""
    everything = Similarities()
    for one in similarities:
        everything.present.extend(one.present)
        everything.absent.extend(one.absent)
        everything.unknown.extend(one.unknown)
    return everything


def propose(similarities: Similarities, false_alarm_rate: float) -> Proposal | None:
    """A threshold by the wished rate of false alarms, or Otsu's where nothing is known.

    :param false_alarm_rate: share of the pictures without the label that may reach it, 0 to 1.
    :returns: None where too little is known: pictures without the label are too few for one false
        alarm at this rate, or there is one picture only.
    """
    known = bool(similarities.present or similarities.absent)
    countable = len(similarities.absent) * (false_alarm_rate or 1) >= 1
    if (known and not countable) or len(similarities.values) < 2:
        return None
    threshold = (
        by_false_alarms(similarities.absent, false_alarm_rate)
        if known
        else otsu(similarities.unknown)
    )
    # Rounded up, as it is written: what holds at a threshold holds above it. Cosines end at 1.
    threshold = min(math.ceil(threshold * 1e4) / 1e4, 1.0)
    return Proposal(
        threshold,
        _reaching(similarities.present or similarities.unknown, threshold),
        _reaching(similarities.absent, threshold),
    )


def by_false_alarms(absent: Sequence[float], rate: float) -> float:
    """The least threshold that at most this share of the values reaches."""
    ordered = np.sort(np.asarray(absent, np.float64))[::-1]
    allowed = min(int(rate * len(ordered)), len(ordered) - 1)
    return float(np.nextafter(ordered[allowed], np.inf))


def otsu(values: Sequence[float]) -> float:
    """The threshold between two groups that vary least inside (Otsu 1979), midway between them.

    :param values: at least two; of equal ones no part is above.
    """
    low, high = min(values), max(values)
    if low == high:
        return math.nextafter(high, math.inf)
    each = np.asarray(values)
    levels = np.round((each - low) / (high - low) * (LEVELS - 1)).astype(np.uint8)
    cut, _ = cv2.threshold(levels.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(each[levels <= cut].max() + each[levels > cut].min()) / 2


def _reaching(values: Sequence[float], threshold: float) -> float:
    return float(np.mean(np.asarray(values) >= threshold)) if values else math.nan


def table(
    similarities: Mapping[str, Similarities], proposals: Mapping[str, Proposal | None]
) -> str:
    """Proposals in Markdown, one row per name."""
    rows = [
        "| label | pictures with it | without | not known | threshold | found | false alarms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, proposal in proposals.items():
        seen = similarities[name]
        counts = f"{len(seen.present)} | {len(seen.absent)} | {len(seen.unknown)}"
        told = "too little is known | | |"
        if proposal is not None:
            shares = (_share(proposal.found), _share(proposal.false_alarms))
            told = f"{proposal.threshold:.4f} | {shares[0]} | {shares[1]} |"
        rows.append(f"| {name} | {counts} | {told}")
    return "\n".join(rows)


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def parameter_file(threshold: float, by_label: Mapping[str, float]) -> str:
    """A ROS parameter file with the common threshold, and those of single labels if any.

    :raises ClipSurgeryError: when a label's name cannot be written, such as with a separator.
    """
    wrong = [name for name in by_label if not is_parsable(name)]
    if wrong:
        raise ClipSurgeryError(
            f"the label '{wrong[0]}' has a separator, quotes or the like in its name, which "
            "label_thresholds cannot hold; leave --per-label out"
        )
    lines = [
        "# Thresholds of raw similarity, written by `clip_surgery calibrate`.",
        "/**:",
        "  ros__parameters:",
        f"    threshold: {threshold:.4f}",
    ]
    if by_label:
        lines.append(
            f"    label_thresholds: {json.dumps(format_thresholds(by_label), ensure_ascii=False)}"
        )
    return "\n".join(lines) + "\n"


def histograms(
    similarities: Mapping[str, Similarities], proposals: Mapping[str, Proposal | None]
) -> Figure:
    """A histogram per name, at most :data:`PANELS`, with the proposed threshold as a line."""
    names = list(proposals)[:PANELS]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    picture = Figure(figsize=(4.5 * columns + 1, 2.8 * rows + 0.6), layout="constrained")
    grid = picture.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, name in zip(grid, names, strict=False):
        _histogram(axes, name, similarities[name], proposals[name])
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    picture.supxlabel("highest raw similarity in a picture")
    return picture


def _histogram(axes: Axes, name: str, seen: Similarities, proposal: Proposal | None) -> None:
    bins = np.linspace(min(seen.values), max(seen.values) + 1e-6, 41)
    for group, colour in GROUPS:
        values = getattr(seen, group)
        if values:
            label = f"{group} ({len(values)})"
            axes.hist(values, bins.tolist(), color=colour, alpha=0.5, label=label)
    if proposal is not None:
        told = f"threshold {proposal.threshold:.4f}"
        axes.axvline(proposal.threshold, color="black", linestyle="--", label=told)
    axes.set(title=name, ylabel="pictures")
    axes.legend(fontsize="small")
