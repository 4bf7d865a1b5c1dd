"""Timing side by side: ratios hold when the machine's speed drifts, seconds do not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timings:
    """Seconds of several ways to do the same, measured in turns.

    :param seconds: by way, one value per round.
    """

    seconds: Mapping[str, list[float]]

    def median(self, way: str) -> float:
        """Median seconds."""
        return statistics.median(self.seconds[way])

    def ratio(self, way: str, other: str) -> float:
        """Median over rounds of how many times as long as ``other`` it took."""
        pairs = zip(self.seconds[way], self.seconds[other], strict=True)
        return statistics.median(one / two for one, two in pairs)


def side_by_side(ways: Mapping[str, Callable[[], object]], rounds: int) -> Timings:
    """Run every way once unmeasured, and then in turns, so many rounds."""
    for run in ways.values():
        run()
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            _wait_for_device()
            start_s = time.perf_counter()
            run()
            _wait_for_device()
            seconds[way].append(time.perf_counter() - start_s)
    return Timings(seconds)


def _wait_for_device() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
