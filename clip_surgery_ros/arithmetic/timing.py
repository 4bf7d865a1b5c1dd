"""Finds the fastest of several functions with the same result on this machine.

The same result up to rounding: where every bit counts, processes must make the same choice, see
:func:`use_choices`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar, cast

import torch

_ROUNDS = 3
"""Turns of each function."""
_GPU_RUNS = 4
"""Runs in a turn on a GPU: while it computes one, the host launches the next."""
T = TypeVar("T")
Cached = TypeVar("Cached", bound=Callable[..., object])
_choices: dict[str, str] = {}
"""What was chosen in this process, by the name of the choice."""
_caches: list[Callable[[], None]] = []
"""Functions that forget what depends on choices."""


def fastest(name: str, runs: Mapping[T, Callable[[], object]], device: torch.device) -> T:
    """Return the key of the function with the shortest run; the same key in a later call.

    :param name: of the choice, different for all that differ in work or device.
    :param runs: the functions, by keys that are named or have a telling ``repr``.
    :param device: that the functions compute on.
    """
    known = next((key for key in runs if _label(key) == _choices.get(name)), None)
    if known is not None:
        return known
    best = best_seconds(runs, device)
    chosen = min(best, key=best.__getitem__)
    _choices[name] = _label(chosen)
    return chosen


def cached_choice(function: Cached) -> Cached:
    """Cache a function whose results depend on choices, as ``functools.cache`` does."""
    cached = cache(function)
    _caches.append(cached.cache_clear)
    return cast("Cached", cached)


def choices() -> Mapping[str, str]:
    """Return what was chosen in this process, by names, for :func:`use_choices` of another one."""
    return dict(_choices)


def use_choices(others: Mapping[str, str]) -> None:
    """Choose as another process did, wherever that works here.

    Networks that are loaded already go on as they are.
    """
    _choices.update(others)
    for forget in _caches:
        forget()


def _label(key: object) -> str:
    return getattr(key, "__name__", None) or repr(key)


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
