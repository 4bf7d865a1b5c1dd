"""Which of several ways to the same result is the fastest on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

_ROUNDS = 3
T = TypeVar("T")


def fastest(runs: Mapping[T, Callable[[], object]]) -> T:
    """The key whose best time of a few is shortest."""
    best = best_seconds(runs)
    return min(best, key=best.__getitem__)


def best_seconds(runs: Mapping[T, Callable[[], object]]) -> Mapping[T, float]:
    """The best time of a few of each; they take turns, so that load meets all."""
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_ROUNDS):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            best[key] = min(best[key], time.perf_counter() - start)
    return best
