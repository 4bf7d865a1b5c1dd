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


def fastest(runs: Mapping[T, Callable[[], object]]) -> T:
    """Return the key of the function with the shortest run."""
    best = best_seconds(runs)
    return min(best, key=best.__getitem__)


def best_seconds(runs: Mapping[T, Callable[[], object]]) -> Mapping[T, float]:
    """Return the seconds of the shortest run of each function.

    The functions take turns, so that load of the machine affects all of them.
    """
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_ROUNDS):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            best[key] = min(best[key], time.perf_counter() - start)
    return best
