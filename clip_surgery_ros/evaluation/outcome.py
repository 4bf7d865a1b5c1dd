"""Compare the result of one example with its objects, and count what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import paste, uncrop
from clip_surgery_ros.core.masks import resize_map
from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.evaluation.examples import Example

MATCH_IOU = 0.5
"""Smallest IoU of a segment with the object that it finds, as in COCO and VOC."""
MOSTLY_IGNORED = 0.5
"""Share of a segment in ignored pixels above which it counts neither way, as COCO's do that find a
crowd."""


@dataclass(frozen=True)
class Outcome:
    """What one variant of the method found in one example, counted.

    :param label_ious: per present label, IoU of the union of its segments with the union of its
        objects; 0 where none was found.
    :param instance_ious: per object, IoU of the segment matched with it; 0 without one.
    :param peak_inside: per present label, whether the peak of its map lies in one of its objects.
    :param scores: score of every segment.
    :param true_positives: of the same segments, whether it is matched with an object.
    :param presence: presence of every queried label.
    :param present: of the same labels, whether it is in the picture.
    :param found: per present label, whether it has a segment.
    :param false_alarms: per absent label, whether it has a segment.
    :param instance_sizes: per object, side of a square as large, as a share of the picture's
        shorter side.
    :param first_right: per present label, whether its segment with the highest score is matched.

    A mug that was found, and a saw that is not there and was not found:

    >>> Outcome(
    ...     label_ious=(0.9,), instance_ious=(0.9,), peak_inside=(True,), scores=(0.8,),
    ...     true_positives=(True,), presence=(0.95, 0.1), present=(True, False), found=(True,),
    ...     false_alarms=(False,), instance_sizes=(0.2,), first_right=(True,),
    ... ).found
    (True,)
    """

    label_ious: tuple[float, ...]
    instance_ious: tuple[float, ...]
    peak_inside: tuple[bool, ...]
    scores: tuple[float, ...]
    true_positives: tuple[bool, ...]
    presence: tuple[float, ...]
    present: tuple[bool, ...]
    found: tuple[bool, ...]
    false_alarms: tuple[bool, ...]
    instance_sizes: tuple[float, ...]
    first_right: tuple[bool, ...]


def outcome_of(example: Example, result: FrameResult) -> Outcome:
    """Compare a result with the objects of the example.

    :param result: of a query for ``example.queried``, in this order.
    """
    label_ious, instance_ious, peak_inside, first_right = [], [], [], []
    scores, true_positives, found_names = [], [], set()
    sizes: list[float] = []
    for label, name in enumerate(example.queried):
        objects = example.masks_of(name)
        segments = _counted(example, result, name, bool(objects))
        masks = [mask for _, mask in segments]
        matched = match_objects(masks, objects)
        scores += [score for score, _ in segments]
        true_positives += [index in matched.values() for index in range(len(segments))]
        if segments:
            found_names.add(name)
        if not objects:
            continue
        instance_ious += [
            iou(masks[matched[index]], mask) if index in matched else 0.0
            for index, mask in enumerate(objects)
        ]
        sizes += [float(np.sqrt(mask.sum()) / min(mask.shape)) for mask in objects]
        union = np.any(objects, axis=0)
        found = np.any(masks, axis=0) if masks else np.zeros_like(union)
        label_ious.append(iou(found, union))
        peak_inside.append(peak_is_inside(result.similarity[label], union))
        first_right.append(0 in matched.values())
    return Outcome(
        tuple(label_ious),
        tuple(instance_ious),
        tuple(peak_inside),
        tuple(scores),
        tuple(true_positives),
        tuple(result.presence.tolist()),
        tuple(name in example.present for name in example.queried),
        tuple(name in found_names for name in example.present),
        tuple(name in found_names for name in example.absent),
        tuple(sizes),
        tuple(first_right),
    )


def _counted(
    example: Example, result: FrameResult, name: str, is_there: bool
) -> list[tuple[float, NDArray[np.bool_]]]:
    """Return scores and masks, without ignored pixels, of a label's segments that count.

    :param is_there: whether the label means an object. If not, even a segment that is ignored
        pixels for the most part is a false alarm.
    :return: highest score first.
    """
    counted = []
    for segment in sorted(result.segments, key=lambda segment: -segment.score):
        if segment.name != name:
            continue
        mask = uncrop(segment.mask, segment.box, result.size_hw)
        lost = np.count_nonzero(mask & example.ignored)
        if not is_there or lost <= MOSTLY_IGNORED * np.count_nonzero(mask):
            counted.append((segment.score, mask & ~example.ignored))
    return counted


def match_objects(
    masks: Sequence[NDArray[np.bool_]], objects: Sequence[NDArray[np.bool_]]
) -> dict[int, int]:
    """Match segments with objects, as COCO does.

    The segment with the highest score comes first. Each takes the object, of those not yet
    matched, with which it has the highest IoU, if that is at least :data:`MATCH_IOU`.

    :param masks: (H, W) bool of each segment, highest score first.
    :param objects: (H, W) bool of each object.
    :return: index of an object to index of its segment.
    """
    overlaps = [[iou(mask, each) for each in objects] for mask in masks]
    return match_overlaps(np.array(overlaps, np.float64).reshape(len(masks), len(objects)))


def match_overlaps(overlaps: NDArray[np.floating[Any]]) -> dict[int, int]:
    """Match segments with objects as :func:`match_objects` does.

    :param overlaps: (M, O) IoU of each segment, highest score first, with each object.

    >>> match_overlaps(np.array([[0.6, 0.7], [0.1, 0.8]]))
    {1: 0}
    """
    matched: dict[int, int] = {}
    for segment, row in enumerate(overlaps):
        free = [index for index in range(len(row)) if index not in matched]
        if free and row[free].max() >= MATCH_IOU:
            matched[free[int(row[free].argmax())]] = segment
    return matched


def iou(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Return intersection over union of two (H, W) masks, 0 to 1; that of two empty masks is 1.

    >>> round(float(iou(np.array([True, True, False]), np.array([False, True, True]))), 2)
    0.33
    """
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else 1.0


def peak_is_inside(similarity: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Return whether the highest pixel of a map lies in a mask.

    :param similarity: (h, w); upsampled bilinearly to the mask's size.
    :param mask: (H, W).
    """
    full_size = resize_map(similarity, (mask.shape[0], mask.shape[1]))
    return bool(mask.reshape(-1)[int(full_size.argmax())])


def found_mask(result: FrameResult, name: str) -> NDArray[np.bool_]:
    """Return the union of the segments of a label, (H, W) bool."""
    union = np.zeros(result.size_hw, np.bool_)
    for segment in result.segments:
        if segment.name == name:
            paste(union, segment.mask, segment.box, True)
    return union
