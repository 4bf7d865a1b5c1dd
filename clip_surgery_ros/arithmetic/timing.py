"""Finds the fastest of several functions with the same result on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

_ROUNDS = 3
"""Runs of each function."""
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

    The functions take turns, so that load of the machine affects all of them.

    :param device: that the functions compute on.
    """
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_ROUNDS):
        for key, run in runs.items():
            wait_for(device)
            start = time.perf_counter()
            run()
            wait_for(device)
            best[key] = min(best[key], time.perf_counter() - start)
    return best


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # without a device, this would open the first GPU
