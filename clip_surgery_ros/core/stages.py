"""Time that each stage of a frame takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stages:
    """Measures the stages of a frame.

    A GPU computes after the call that asked for it has returned, so the host's clock would count a
    stage's work in a later stage, which waits. Therefore CUDA's events measure there: the GPU
    records the time when it gets to them.

    :param device: torch device that the stages compute on.
    :param waiting: on a GPU, wait for it at the end of each stage instead. Then a stage contains
        all of its own work and nothing else, but a frame takes longer.
    """

    def __init__(self, device: str = "cpu", waiting: bool = False) -> None:
        self._gpu = device if device.startswith("cuda") else None
        self._waiting = waiting
        self._host: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs inside; the times of a stage that runs again are added."""
        if self._gpu and not self._waiting:
            start = self._record()
            yield
            self._events.append((name, start, self._record()))
            return
        start_s = time.perf_counter()
        yield
        if self._gpu:
            torch.cuda.synchronize(self._gpu)
        self._host[name] = self._host.get(name, 0.0) + time.perf_counter() - start_s

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage, in the order they ran.

        Waits for a GPU that has not finished the last stage.
        """
        if self._events and not self._events[-1][2].query():
            self._events[-1][2].synchronize()
        seconds = dict(self._host)
        for name, start, end in self._events:
            seconds[name] = seconds.get(name, 0.0) + start.elapsed_time(end) / 1e3
        return seconds

    def _record(self) -> torch.cuda.Event:
        """Return an event at this point of the GPU's work."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._gpu))
        return event
