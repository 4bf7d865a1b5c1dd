"""What measurements share: their networks, pictures and rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.networks import build_stock, build_this
from clip_surgery_ros.benchmark.stock import StockFlow
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.networks.clip.backend import ClipBackend

SIZE_HW = (720, 1280)
LABELS = 5
PICTURES = 7
"""A prime, and more than a pipeline keeps (``views.CAPACITY``)."""


@dataclass(frozen=True)
class Row:
    """One figure beside what is wanted of it.

    :param value: in ``unit``; a ratio where the unit is empty.
    :param seconds: median seconds behind the figure, by what took them.
    :param series: rows of a series are drawn in one picture, ``x`` along its axis.
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
    """What all measurements share.

    :param sam_model: ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h``.
    :param rounds: each way is run so often, in turns with the others.
    """

    sam_model: str = "vit_b"
    precision: str = "float32"
    device: str = "cpu"
    rounds: int = 5

    @cached_property
    def own(self) -> tuple[ClipBackend, PromptableSegmenter]:
        """The networks as this package runs them, built when first asked for."""
        return build_this(self.sam_model, self.precision, self.device)

    @cached_property
    def stock(self) -> StockFlow:
        """The same weights as they come, in the same precision."""
        return build_stock(self.sam_model, self.precision, self.device)

    @cached_property
    def published(self) -> StockFlow:
        """The same weights in float32, as the published recipe runs."""
        exact = self.precision == "float32"
        return self.stock if exact else build_stock(self.sam_model, "float32", self.device)

    def pipeline(self, **changes: object) -> Pipeline:
        """The pipeline measured, asking only the labels of the query, all of them present."""
        settings = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
        return Pipeline(*self.own, replace(settings, **changes))  # type: ignore[arg-type]


def frames(count: int, size_hw: tuple[int, int] = SIZE_HW) -> Iterator[NDArray[np.uint8]]:
    """Smooth random pictures, no two the same, (H, W, 3) uint8, that cost nothing to make."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        small = generator.integers(0, 255, (9, 16, 3), dtype=np.uint8)
        yield np.asarray(cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def endless(size_hw: tuple[int, int] = SIZE_HW) -> Callable[[], NDArray[np.uint8]]:
    """Gives a picture at every call that is none of those which a pipeline keeps.

    Several may take turns: as many pictures as a prime keep coming back in another order.
    """
    return itertools.cycle(list(frames(PICTURES, size_hw))).__next__


def inference(run: Callable[[], object]) -> Callable[[], object]:
    """The same without autograd's records."""
    return torch.inference_mode()(run)
