"""Propose thresholds of raw similarity from the user's own pictures.

A label counts as absent where no token of a picture reaches the threshold. So the threshold
depends on the highest similarity that the label reaches in each picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.types import Query, Wanted
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.parameters.thresholds import format_thresholds, is_parsable

OTSU_BINS = 256
"""Number of bins of the histogram on which OpenCV finds Otsu's threshold."""


@dataclass(frozen=True)
class Similarities:
    """The highest similarity of a label in each picture.

    :param present: in pictures that show the label.
    :param absent: in pictures that do not.
    :param unknown: in pictures of which this is not known.
    """

    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """The similarities in all pictures."""
        return self.present + self.absent + self.unknown


@dataclass(frozen=True)
class Proposal:
    """A threshold, and its recall and rate of false alarms on the same pictures.

    :param recall: fraction of the pictures with the label that reach the threshold; of all
        pictures, where nothing is known of them. NaN without such pictures.
    :param false_alarm_rate: fraction of the pictures without the label that reach the threshold;
        NaN without such pictures.
    """

    threshold: float
    recall: float
    false_alarm_rate: float


def similarities_in_images(
    pipeline: Pipeline, images: Iterable[NDArray[np.uint8]], query: Query, total: int | None = None
) -> dict[str, Similarities]:
    """Measure similarities by label in pictures of which nothing is known.

    Labels that the network does not know are left out.

    :param images: (H, W, 3) uint8 RGB each.
    :param total: largest number of pictures, for the progress bar.
    """
    query = pipeline.vocabulary.without_unknown(query)
    similarities = {name: Similarities() for name in query.names}
    for image in tqdm(images, total=total, unit="picture"):
        for name, value in _highest(pipeline, image, query).items():
            similarities[name].unknown.append(value)
    return similarities


def similarities_in_examples(
    pipeline: Pipeline, examples: Iterable[Example], total: int | None = None
) -> dict[str, Similarities]:
    """Measure similarities by label in pictures whose objects are known.

    :param total: largest number of pictures, for the progress bar.
    """
    by_label: dict[str, Similarities] = {}
    for example in tqdm(examples, total=total, unit="picture"):
        query = pipeline.vocabulary.without_unknown(query_of_names(example.queried))
        for name, value in _highest(pipeline, example.image, query).items():
            similarities = by_label.setdefault(name, Similarities())
            group = similarities.present if name in example.present else similarities.absent
            group.append(value)
    return by_label


def _highest(pipeline: Pipeline, image: NDArray[np.uint8], query: Query) -> dict[str, float]:
    """Return the highest similarity of each label in one picture."""
    maps = pipeline.run(image, query, Wanted(segments=False)).similarity
    return {
        name: float(label_map.max()) for name, label_map in zip(query.names, maps, strict=True)
    }


def merge(by_label: Iterable[Similarities]) -> Similarities:
    """Return the similarities of all labels as those of one."""
    merged = Similarities()
    for similarities in by_label:
        merged.present.extend(similarities.present)
        merged.absent.extend(similarities.absent)
        merged.unknown.extend(similarities.unknown)
    return merged


def propose_threshold(similarities: Similarities, false_alarm_rate: float) -> Proposal | None:
    """Propose the threshold with a given rate of false alarms, or Otsu's where it is not known
    which pictures show the label.

    :param false_alarm_rate: fraction of the pictures without the label that may reach it, 0 to 1.
    :returns: None with too few pictures: one only, or so few without the label that not even one
        may be a false alarm at this rate.

    >>> seen = Similarities(present=[0.5, 0.6, 0.05], absent=[0.1, 0.2, 0.31])
    >>> proposal = propose_threshold(seen, false_alarm_rate=0.0)
    >>> proposal.threshold, round(proposal.recall, 2), proposal.false_alarm_rate
    (0.3101, 0.67, 0.0)
    """
    is_known = bool(similarities.present or similarities.absent)
    has_enough_absent = len(similarities.absent) * (false_alarm_rate or 1) >= 1
    if (is_known and not has_enough_absent) or len(similarities.values) < 2:
        return None
    threshold = (
        threshold_by_false_alarms(similarities.absent, false_alarm_rate)
        if is_known
        else otsu_threshold(similarities.unknown)
    )
    # The parameter file has four digits. Rounding up keeps the rate of false alarms; a cosine is 1
    # at most.
    threshold = min(math.ceil(threshold * 1e4) / 1e4, 1.0)
    return Proposal(
        threshold,
        _fraction_reaching(similarities.present or similarities.unknown, threshold),
        _fraction_reaching(similarities.absent, threshold),
    )


def threshold_by_false_alarms(absent: Sequence[float], rate: float) -> float:
    """Return the smallest threshold that at most this fraction of the values reaches."""
    ordered = np.sort(np.asarray(absent, np.float64))[::-1]
    allowed = min(int(rate * len(ordered)), len(ordered) - 1)
    return float(np.nextafter(ordered[allowed], np.inf))


def otsu_threshold(values: Sequence[float]) -> float:
    """Return Otsu's threshold (1979), midway between the two groups that it separates.

    It separates the values into the two groups with the smallest variance inside the groups.

    :param values: at least two. If all are equal, the threshold is just above them.
    """
    low, high = min(values), max(values)
    if low == high:
        return math.nextafter(high, math.inf)
    array = np.asarray(values)
    bins = np.round((array - low) / (high - low) * (OTSU_BINS - 1)).astype(np.uint8)
    last_low_bin, _ = cv2.threshold(
        bins.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU
    )
    is_low = bins <= last_low_bin
    return float(array[is_low].max() + array[~is_low].min()) / 2


def _fraction_reaching(values: Sequence[float], threshold: float) -> float:
    return float(np.mean(np.asarray(values) >= threshold)) if values else math.nan


def markdown(
    similarities: Mapping[str, Similarities], proposals: Mapping[str, Proposal | None]
) -> str:
    """Return the proposals as a Markdown table, one row per name."""
    rows = [
        "| label | pictures with it | without | not known | threshold | found | false alarms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, proposal in proposals.items():
        seen = similarities[name]
        counts = f"{len(seen.present)} | {len(seen.absent)} | {len(seen.unknown)}"
        cells = "too little is known | | |"
        if proposal is not None:
            recall, rate = _cell(proposal.recall), _cell(proposal.false_alarm_rate)
            cells = f"{proposal.threshold:.4f} | {recall} | {rate} |"
        rows.append(f"| {name} | {counts} | {cells}")
    return "\n".join(rows)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def parameter_file_text(threshold: float, by_label: Mapping[str, float]) -> str:
    """Return a ROS parameter file with the common threshold, and those of single labels if any.

    :raises ClipSurgeryError: when the parameter cannot hold a label's name, which has a separator,
        for example.
    """
    refused = [name for name in by_label if not is_parsable(name)]
    if refused:
        raise ClipSurgeryError(
            f"the label '{refused[0]}' has a separator, quotes or the like in its name, which "
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
