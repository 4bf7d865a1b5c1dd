"""The walk of a frame: image and query to maps, points, masks and segments."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.appearance import with_appearance
from clip_surgery_ros.core.device_errors import device_errors_explained
from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.interfaces import ImageTextEncoder, PromptableSegmenter
from clip_surgery_ros.core.prompts import label_prompts
from clip_surgery_ros.core.recognition import Recognizer, absence_reasons
from clip_surgery_ros.core.segmentation import Segmentation
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import AbsentLabel, FrameResult, Query, Segment, Wanted
from clip_surgery_ros.core.views import View, Views
from clip_surgery_ros.core.vocabulary import Vocabulary

MIN_SIDE = 8
"""Shortest side of an image in pixels; smaller images have nothing to segment."""


class Pipeline:
    """Finds the labels of a query in images.

    :param clip: image and text encoder.
    :param segmenter: points to masks; encodes an image only when a label is present.
    :param device: torch device of both.
    :param computing: returns a context in which the networks compute a frame, such as one that
        sets the number of threads.

    >>> from clip_surgery_ros.core.query import parse_query
    >>> from clip_surgery_ros.networks.factory import load_networks  # the demo's small networks
    >>> from clip_surgery_ros.parameters.config import Config
    >>> config = Config.from_values()
    >>> pipeline = load_networks(config).pipeline(config)
    >>> result = pipeline.run(np.zeros((64, 96, 3), np.uint8), parse_query("hammer"))
    >>> [label.name for label in result.absent]
    ['hammer']
    """

    def __init__(
        self,
        clip: ImageTextEncoder,
        segmenter: PromptableSegmenter,
        settings: Settings = Settings(),
        device: str = "cpu",
        computing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._settings, self._device, self._computing = settings, device, computing
        self._recognizer = Recognizer(clip, settings)
        self._segmentation = Segmentation(segmenter, settings)
        self._views = Views(settings.still_threshold, device)

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that CLIP knows; without names, CLIP knows general language."""
        return self._settings.vocabulary

    def run(
        self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted = Wanted()
    ) -> FrameResult:
        """Process one frame.

        The frame keeps ``query`` to its end: a query that arrives meanwhile is for the next frame.
        The same call for the same image returns the same arrays again: do not change them.

        :param image_rgb: (H, W, 3) uint8 RGB.
        :param query: without labels, no network runs.
        :param wanted: outputs that are not wanted are not computed.
        :raises ImageError: when the image is not (H, W, 3) uint8, or too small.
        :raises DeviceError: when memory runs out; a smaller frame may still fit.
        :raises DeviceLostError: when the GPU failed, and this process cannot use it any more.
        """
        _check_image(image_rgb)
        return self.vocabulary.run_known(query, lambda known: self._run(image_rgb, known, wanted))

    def _run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """Process a frame whose image was checked, for labels that CLIP knows."""
        if not query.labels:
            empty = _empty_result(query, image_rgb, self._recognizer.grid_hw(image_rgb))
            return replace(empty, calibration=self._settings.calibration)
        view = self._views.view_of(image_rgb)
        if view.last_run and view.last_run[:2] == (query, wanted):
            return replace(view.last_run[2], stage_seconds={})
        shortage = _shortage(image_rgb, query)
        with (
            device_errors_explained(self._device, shortage, self._views.forget),
            self._computing(),
        ):
            result = self._process(view, query, wanted)
        view.last_run = (query, wanted, result)
        return result

    def _process(self, view: View, query: Query, wanted: Wanted) -> FrameResult:
        """Walk from a view and at least one label to the result."""
        clock = Stages(self._device, self._settings.stage_waits)
        recognition = self._recognizer.recognize(view, query, wanted, clock)
        absent = absence_reasons(recognition, query, self._settings.presence_threshold)
        segments: tuple[Segment, ...] = ()
        if wanted.segments:
            with clock.stage("points"):
                prompts = label_prompts(recognition, query, self._settings, absent)
            segments = self._segmentation.segments(view, query, recognition, prompts, clock)
            if wanted.appearance and view.tokens is not None:
                with clock.stage("appearance"):
                    segments = with_appearance(
                        segments, view.tokens, view.grid_hw, recognition.size_hw
                    )
            found = {segment.label for segment in segments}
            for index in range(len(query.labels)):
                if index not in found:
                    absent.setdefault(index, "the segmenter found no mask for its points")
        return FrameResult(
            query=query,
            size_hw=recognition.size_hw,
            similarity=recognition.label_maps,
            presence=recognition.presence,
            probabilities=recognition.probabilities,
            thresholds=recognition.thresholds,
            segments=segments,
            absent=tuple(
                AbsentLabel(
                    name=query.labels[index].name,
                    reason=absent[index],
                    presence=float(recognition.presence[index]),
                    presence_threshold=self._settings.presence_threshold,
                )
                for index in sorted(absent)
            ),
            stage_seconds=clock.seconds,
            plain_similarity=recognition.plain_maps,
            calibration=self._settings.calibration,
        )


def _shortage(image_rgb: NDArray[np.uint8], query: Query) -> str:
    """Return what the operator is told when memory runs out on a frame."""
    height, width = image_rgb.shape[:2]
    return (
        f"out of memory on an image of {width} x {height} with {len(query.labels)} labels, "
        "which is dropped; set clip_windows to never or precision to bfloat16, take a smaller "
        "clip_input_size or network, or ask for fewer labels"
    )


def _check_image(image_rgb: NDArray[np.uint8]) -> None:
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
        raise ImageError(
            f"an image must be (H, W, 3) uint8 RGB, but this is {image_rgb.shape} "
            f"{image_rgb.dtype}"
        )
    if min(image_rgb.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"an image of {image_rgb.shape[1]} x {image_rgb.shape[0]} pixels is too small; both "
            f"sides must have at least {MIN_SIDE} pixels"
        )


def _empty_result(
    query: Query, image_rgb: NDArray[np.uint8], grid_hw: tuple[int, int]
) -> FrameResult:
    """Return the result of a query without labels."""
    none = np.zeros(0, np.float32)
    size_hw = (image_rgb.shape[0], image_rgb.shape[1])
    return FrameResult(query, size_hw, np.zeros((0, *grid_hw), np.float32), none, none, none)
