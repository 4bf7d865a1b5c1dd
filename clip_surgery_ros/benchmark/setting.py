"""What measurements share: the networks, the images and the rows of the table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.networks import build_networks, build_reference
from clip_surgery_ros.benchmark.reference import ReferenceFlow
from clip_surgery_ros.benchmark.timing import Timings, side_by_side
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.recipes import RECIPES, Recipe
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.networks.clip.backend import ClipBackend

SIZE_HW = (720, 1280)
LABELS = 5
IMAGES = 7
"""A prime, and more than the number of images that a pipeline keeps (``views.CAPACITY``)."""


@dataclass(frozen=True)
class Row:
    """One measured value beside its target.

    :param what: what was measured; for a ratio both sides of it, as in "reference / this".
    :param value: in ``unit``; a ratio if the unit is empty.
    :param wanted: the target; empty for none.
    :param seconds: median seconds behind the value, by variant.
    :param series: rows of one series are drawn in one picture, at ``x`` of its axis.
    """

    what: str
    value: float
    wanted: str = ""
    unit: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    series: str = ""
    x: float = 0.0


@dataclass(frozen=True)
class Setting:
    """What all measurements share. Networks are built when they are first needed.

    In rows, "this" is this package (:attr:`networks`), "reference" is :attr:`reference`, and
    "unmodified packages", "open_clip" and "segment-anything" are :attr:`unmodified`.

    :param sam_model: ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h``.
    :param precision: ``float32``, ``bfloat16`` or ``float16``, which is for GPUs.
    :param device: torch device of the networks.
    :param rounds: how often each variant runs, in turns with the others.
    :param ros_seconds: how long images are sent through ROS.
    """

    sam_model: str = "vit_b"
    precision: str = "float32"
    device: str = "cpu"
    rounds: int = 5
    ros_seconds: float = 90.0

    @cached_property
    def networks(self) -> tuple[ClipBackend, PromptableSegmenter]:
        """CLIP and segmenter as this package runs them."""
        return build_networks(self.sam_model, self.precision, self.device)

    @cached_property
    def reference(self) -> ReferenceFlow:
        """The paper's recipe on unmodified packages, with the same weights, in float32."""
        if self.precision == "float32":
            return self.unmodified
        return build_reference(self.sam_model, "float32", self.device)

    @cached_property
    def unmodified(self) -> ReferenceFlow:
        """The same as :attr:`reference`, but in the precision of this setting."""
        return build_reference(self.sam_model, self.precision, self.device)

    @cached_property
    def exact(self) -> ReferenceFlow:
        """The same in float64 on the CPU, to measure errors against."""
        return build_reference(self.sam_model, "float64")

    def side_by_side(
        self, variants: Mapping[str, Callable[[], object]], rounds: int | None = None
    ) -> Timings:
        """Time variants of the same work on this setting's device.

        :param rounds: by default those of this setting.
        """
        return side_by_side(variants, rounds or self.rounds, self.device)

    def pipeline(
        self,
        recipe: Recipe = RECIPES["reference"],
        presence_threshold: float = 0.0,
        still_threshold: float = 0.0,
        windows: bool = False,
    ) -> Pipeline:
        """Return the pipeline to measure: it asks for no distractors, and finds every label.

        Parameters are fields of :class:`Settings`.
        """
        settings = Settings(
            recipe=recipe,
            presence_threshold=presence_threshold,
            still_threshold=still_threshold,
            windows=windows,
            distractor_names=(),
            min_area=1,
        )
        return Pipeline(*self.networks, settings, self.device)


def random_images(count: int, size_hw: tuple[int, int] = SIZE_HW) -> Iterator[NDArray[np.uint8]]:
    """Make smooth random images, all different, (H, W, 3) uint8; this takes almost no time."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        small = generator.integers(0, 255, (9, 16, 3), dtype=np.uint8)
        yield np.asarray(cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def unseen_images(size_hw: tuple[int, int] = SIZE_HW) -> Callable[[], NDArray[np.uint8]]:
    """Return a function whose every call gives an image that no pipeline has in its cache.

    Several pipelines may call it in turns: as the number of images is prime, each of them gets
    all images before one comes again.
    """
    return itertools.cycle(list(random_images(IMAGES, size_hw))).__next__


def without_autograd(run: Callable[[], object]) -> Callable[[], object]:
    """Return the same function in torch's inference mode."""
    return torch.inference_mode()(run)
