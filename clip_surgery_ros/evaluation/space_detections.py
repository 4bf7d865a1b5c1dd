"""What is found in views of the rendered world: true masks made worse, or a pipeline's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import uncrop
from clip_surgery_ros.core.masks import innermost
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.evaluation.outcome import match_objects
from clip_surgery_ros.world.depth_views import DepthView
from clip_surgery_ros.world.frame import ObjectTruth

Mask = NDArray[np.bool_]

MASKS: Mapping[str, int] = {"true": 0, "6 px too large": 6, "6 px too small": -6}
"""Pixels by which masks are grown, by name of the kind of mask."""
PIPELINE = "the pipeline's"
"""Name of the kind of mask that a pipeline finds."""
LEAST_PIXELS = 800 / (640 * 480)
"""Share of the picture of the smallest object that is measured: 28 pixels square of 640 x 480."""
LEAST_MASK = 240 / (640 * 480)
"""Share of the picture of the smallest mask that is measured, as 6 px too small may leave
nothing."""
LEAST_VISIBLE = 0.35
"""Visible share of the objects that are measured at all."""


@dataclass(frozen=True)
class Detected:
    """An object that is to be found, and what was found of it.

    :param kind: of the mask: key of :data:`MASKS`, or :data:`PIPELINE`.
    :param mask: (H, W) bool; empty if the object was not found.
    :param clicks: (K, 2) x, y of pixels on the object.
    :param others: (H, W) bool, the masks of all others.
    """

    truth: ObjectTruth
    kind: str
    mask: Mask
    clicks: NDArray[np.intp]
    others: Mask

    @property
    def is_found(self) -> bool:
        """Whether there is a mask."""
        return bool(self.mask.any())


Detector = Callable[[DepthView], Iterator[Detected]]
"""Yields what is found of the objects of a view that are measured."""


def degraded(view: DepthView) -> Iterator[Detected]:
    """Yield each object with each kind of :data:`MASKS`, unless hardly any of its mask is left."""
    for truth in measured_objects(view):
        clicks = np.array([innermost(view.mask(truth))])
        for kind, pixels in MASKS.items():
            mask, others = masks_of(view, truth, pixels)
            if mask.mean() >= LEAST_MASK:
                yield Detected(truth, kind, mask, clicks, others)


class PipelineMasks:
    """Finds objects with a pipeline that is asked for the names of all that are measured, as the
    node is.

    A segment is an object's if its label is the object's name and their IoU is at least
    ``outcome.MATCH_IOU``; the segment with the highest score chooses first.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, view: DepthView) -> Iterator[Detected]:
        """Yield each object once, with an empty mask if it was not found."""
        measured = measured_objects(view)
        names = sorted({truth.name for truth in measured})
        if not names:
            return
        result = self._pipeline.run(view.rgb, query_of_names(names), Wanted())
        masks = [uncrop(each.mask, each.box, result.size_hw) for each in result.segments]
        found: dict[int, int] = {}
        for name in names:
            found |= _matched(view, name, result, masks)
        covered = np.sum(masks, axis=0, dtype=np.int32) if masks else np.zeros(result.size_hw)
        nothing = np.zeros(result.size_hw, np.bool_)
        for truth in measured:
            index = found.get(truth.instance)
            if index is None:
                yield Detected(truth, PIPELINE, nothing, np.zeros((0, 2), np.intp), nothing)
                continue
            points, mask = result.segments[index].points, masks[index]
            clicks = points.xy[points.positive].astype(np.intp)
            yield Detected(truth, PIPELINE, mask, clicks, covered > mask)


def _matched(view: DepthView, name: str, result: FrameResult, masks: list[Mask]) -> dict[int, int]:
    """Return the segments of a label by the instance of the object that each finds."""
    segments = [k for k, each in enumerate(result.segments) if each.name == name]
    segments.sort(key=lambda k: -result.segments[k].score)
    objects = [each for each in view.objects if each.name == name and each.pixels]
    matched = match_objects([masks[k] for k in segments], [view.mask(each) for each in objects])
    return {objects[at].instance: segments[k] for at, k in matched.items()}


def measured_objects(view: DepthView) -> list[ObjectTruth]:
    """Return the objects of a view of which enough is seen."""
    least = LEAST_PIXELS * view.ids.size
    return [t for t in view.objects if t.pixels >= least and t.visible >= LEAST_VISIBLE]


def masks_of(view: DepthView, truth: ObjectTruth, pixels: int) -> tuple[Mask, Mask]:
    """Return the mask of an object and those of all others, (H, W), grown by pixels.

    :param pixels: negative to shrink.
    """
    mask, others = np.zeros_like(view.ids, np.bool_), np.zeros_like(view.ids, np.bool_)
    for each in view.objects:
        grown = changed(view.mask(each), pixels)
        if each is truth:
            mask = grown
        else:
            others |= grown
    return mask, others


def changed(mask: Mask, pixels: int) -> Mask:
    """Return a mask grown in all eight directions, or shrunk for negative pixels."""
    side = 2 * abs(pixels) + 1
    change = cv2.dilate if pixels > 0 else cv2.erode
    return np.asarray(change(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)
