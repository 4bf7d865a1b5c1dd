"""What a recipe made of one example, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import paste
from clip_surgery_ros.core.masks import resize_map
from clip_surgery_ros.core.types import FrameResult, Segment
from clip_surgery_ros.evaluation.examples import Example

FOUND_FROM = 0.5
"""IoU from which a segment is an object: COCO's and VOC's."""


@dataclass(frozen=True)
class Outcome:
    """Counts of one example and recipe.

    :param label_ious: union of the label's segments with the union of its objects, per label that
        is there; 0 where none was found.
    :param instance_ious: per object, IoU of the segment matched with it; 0 without one.
    :param hits: per label that is there, lies the highest point of its map in one of its objects?
    :param scores: published score of every segment.
    :param right: of the same segments, is it an object of its label that no better one is?
    :param presence: per label asked.
    :param there: of the same labels, is it in the picture?
    :param found: per label that is there, was it given a segment?
    :param alarms: per absent label asked, was it given a segment?
    """

    label_ious: tuple[float, ...]
    instance_ious: tuple[float, ...]
    hits: tuple[bool, ...]
    scores: tuple[float, ...]
    right: tuple[bool, ...]
    presence: tuple[float, ...]
    there: tuple[bool, ...]
    found: tuple[bool, ...]
    alarms: tuple[bool, ...]


def outcome_of(truth: Example, result: FrameResult) -> Outcome:
    """Compare a frame's result with the truth; ``result`` must answer ``truth.asked``."""
    label_ious, instance_ious, hits = [], [], []
    scores, right = [], []
    for label, name in enumerate(truth.asked):
        segments = sorted(
            (one for one in result.segments if one.name == name), key=lambda one: -one.score
        )
        masks = [_whole(one, result.size_hw) & ~truth.ignored for one in segments]
        objects = truth.objects(name)
        matched = match(masks, objects)
        scores += [one.score for one in segments]
        right += [index in matched.values() for index in range(len(segments))]
        if not objects:
            continue
        instance_ious += [
            iou(masks[matched[index]], mask) if index in matched else 0.0
            for index, mask in enumerate(objects)
        ]
        union = np.any(objects, axis=0)
        found = np.any(masks, axis=0) if masks else np.zeros_like(union)
        label_ious.append(iou(found, union))
        hits.append(points_into(result.similarity[label], union))
    found_names = {one.name for one in result.segments}
    return Outcome(
        tuple(label_ious),
        tuple(instance_ious),
        tuple(hits),
        tuple(scores),
        tuple(right),
        tuple(result.presence.tolist()),
        tuple(name in truth.present for name in truth.asked),
        tuple(name in found_names for name in truth.present),
        tuple(name in found_names for name in truth.absent),
    )


def match(
    masks: Sequence[NDArray[np.bool_]], objects: Sequence[NDArray[np.bool_]]
) -> dict[int, int]:
    """Object to segment, as COCO matches: best scored segment first, each to the free object that
    it overlaps most, from :data:`FOUND_FROM` on.

    :param masks: of segments, best score first.
    """
    matched: dict[int, int] = {}
    for index, mask in enumerate(masks):
        free = [place for place in range(len(objects)) if place not in matched]
        overlaps = [iou(mask, objects[place]) for place in free]
        if overlaps and max(overlaps) >= FOUND_FROM:
            matched[free[int(np.argmax(overlaps))]] = index
    return matched


def iou(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Intersection over union; two empty masks agree."""
    union = np.count_nonzero(found | true)
    return np.count_nonzero(found & true) / union if union else 1.0


def _whole(segment: Segment, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(size_hw, np.bool_)
    paste(mask, segment.mask, segment.box, True)
    return mask


def points_into(similarity: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Does the highest pixel of the (h, w) map, upsampled bilinearly, lie in the (H, W) mask?"""
    large = resize_map(similarity, (mask.shape[0], mask.shape[1]))
    return bool(mask.reshape(-1)[int(large.argmax())])


def found_mask(result: FrameResult, name: str) -> NDArray[np.bool_]:
    """(H, W) union of the segments of a label."""
    union = np.zeros(result.size_hw, np.bool_)
    for segment in result.segments:
        if segment.name == name:
            paste(union, segment.mask, segment.box, True)
    return union
