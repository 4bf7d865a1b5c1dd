"""Fake networks with known results, for tests of the node."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.core.types import (
    AbsentLabel,
    Box,
    FrameResult,
    PointPrompts,
    Query,
    Segment,
    Wanted,
)
from clip_surgery_ros.core.vocabulary import Vocabulary

SIZE_HW = (6, 8)
BOX = Box(x=2, y=1, width=4, height=3)


def frame_result(query: Query, size_hw: tuple[int, int] = SIZE_HW) -> FrameResult:
    """Return a result with the first label found at ``BOX`` and the others absent."""
    count = len(query.labels)
    similarity = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3) / 10
    mask = np.ones((BOX.height, BOX.width), np.bool_)
    mask[0, 0] = False
    points = PointPrompts(np.array([[3, 2], [7, 5]], np.int32), np.array([True, False]))
    found = Segment(1, 0, query.names[0], 0.75, 0.875, 0.25, 0.5, BOX, mask, points)
    return FrameResult(
        query=query,
        size_hw=size_hw,
        similarity=similarity,
        presence=np.linspace(0.875, 0.125, count, dtype=np.float32),
        probabilities=np.full(count, 1 / count, np.float32),
        thresholds=np.full(count, 0.125, np.float32),
        segments=(found,),
        absent=tuple(AbsentLabel(name, "nothing like it", 0.125, 0.5) for name in query.names[1:]),
        stage_seconds={"clip": 0.25, "sam": 0.5},
    )


class FakeEngine:
    """Answers with :func:`frame_result` and records the requests.

    :param before: called before each answer, on the calling thread; may block or raise.
    """

    def __init__(self, before: Callable[[np.ndarray], None] = lambda _: None) -> None:
        self.requests: list[tuple[np.ndarray, Query, Wanted]] = []
        self.threads: set[str] = set()
        self._before = before

    def run(self, image_rgb: np.ndarray, query: Query, wanted: Wanted) -> FrameResult:
        """Record the request and answer it."""
        self.threads.add(threading.current_thread().name)
        self.requests.append((image_rgb.copy(), query, wanted))
        self._before(image_rgb)
        return frame_result(query, image_rgb.shape[:2])


class FakeNetworks:
    """Loaded networks with a single fake engine.

    :param engine: answers every frame, whatever the parameters.
    """

    device, precision = "cpu", "float32"
    fell_back = know_demo_only = False
    sources = "a fake"
    multilingual = True
    text_counts = TextCounts()
    vocabulary = Vocabulary()

    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.engine = engine or FakeEngine()
        self.configs: list[object] = []

    def calibration(self, config: object) -> None:
        """Return that nothing was fitted for a fake."""

    def pipeline(self, config: object) -> FakeEngine:
        """Return the engine; record the parameters."""
        self.configs.append(config)
        return self.engine
