"""Finds the fastest of several functions with the same result on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

_ROUNDS = 3
"""Turns of each function."""
_GPU_RUNS = 4
"""Runs in a turn on a GPU: while it computes one, the host launches the next."""
T = TypeVar("T")


def fastest(runs: Mapping[T, Callable[[], object]], device: torch.device) -> T:
    """Return the key of the function with the shortest run.

    :param device: that the functions compute on.
    """
    best = best_seconds(runs, device)
    return min(best, key=best.__getitem__)


def best_seconds(
    runs: Mapping[T, Callable[[], object]], device: torch.device
) -> Mapping[T, float]:
    """Return the seconds of the shortest run of each function.

    The functions take turns, so that load of the machine affects all of them. On a GPU, its events
    measure the time, not the host's clock, which would also measure the launching.

    :param device: that the functions compute on.
    """
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_ROUNDS):
        for key, run in runs.items():
            best[key] = min(best[key], _seconds(run, device))
    return best


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a run takes on its device."""
    if device.type != "cuda":
        start_s = time.perf_counter()
        run()
        return time.perf_counter() - start_s
    run()  # the first run may load kernels
    wait_for(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record(torch.cuda.current_stream(device))
    for _ in range(_GPU_RUNS):
        run()
    end.record(torch.cuda.current_stream(device))
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / _GPU_RUNS


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # without a device, this would open the first GPU
