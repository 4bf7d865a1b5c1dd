"""Timing side by side: ratios hold when the machine's speed drifts, seconds do not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from clip_surgery_ros.arithmetic.timing import wait_for


@dataclass(frozen=True)
class Timings:
    """Seconds of several variants of the same work, measured in turns.

    :param seconds: by variant, one value per round.
    """

    seconds: Mapping[str, list[float]]

    def median(self, variant: str) -> float:
        """Return the variant's median seconds."""
        return statistics.median(self.seconds[variant])

    def medians(self) -> dict[str, float]:
        """Return the median seconds of every variant."""
        return {variant: self.median(variant) for variant in self.seconds}

    def ratio(self, variant: str, baseline: str) -> float:
        """Return the median over rounds of the variant's seconds divided by the baseline's.

        >>> Timings({"slow": [2.0, 40.0, 6.0], "fast": [1.0, 10.0, 2.0]}).ratio("slow", "fast")
        3.0
        """
        pairs = zip(self.seconds[variant], self.seconds[baseline], strict=True)
        return statistics.median(seconds / baseline_s for seconds, baseline_s in pairs)


def side_by_side(
    variants: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu"
) -> Timings:
    """Run every variant once without measuring it, then all of them in turns, for some rounds.

    :param device: torch device that the variants compute on.
    """
    for run in variants.values():
        run()
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant, run in variants.items():
            wait_for(torch.device(device))
            start_s = time.perf_counter()
            run()
            wait_for(torch.device(device))
            seconds[variant].append(time.perf_counter() - start_s)
    return Timings(seconds)


def median_event_seconds(run: Callable[[], object], device: str, rounds: int) -> float:
    """Return the median seconds of a run between two events of a GPU.

    The host may launch the next run meanwhile, so its own time shows only where the GPU has to
    wait for it. Before that there are two runs: the first makes tables, the second captures
    graphs.

    :param device: torch device, a GPU.
    """
    for _ in range(2):
        run()
    wait_for(torch.device(device))
    stream, pairs = torch.cuda.current_stream(device), []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(stream)
        run()
        end.record(stream)
        pairs.append((start, end))
    wait_for(torch.device(device))
    return statistics.median(start.elapsed_time(end) / 1e3 for start, end in pairs)
