"""The number of threads on which the networks compute."""

from __future__ import annotations

import logging
import os
from functools import cache

import torch

SMALL_THREADS = 4
"""Most threads for small networks, such as the demo's. Two threads on two cores take a third less
time than one. With more than four, a thread would compute its part of a layer in less time than it
takes to wake the thread."""
_LOG = logging.getLogger(__name__)


def set_thread_count(requested: int, small: bool) -> int:
    """Set the number of threads for every thread that has not computed yet.

    :param requested: 0 takes the number that torch starts with; for small networks at most
        :data:`SMALL_THREADS`.
    :param small: whether the networks are small.
    :returns: the number of threads.
    """
    initial = initial_thread_count()  # it is read before the first change
    count = _limit(requested, usable_cores()) if requested else _default_count(initial, small)
    torch.set_num_threads(count)
    return count


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def initial_thread_count() -> int:
    """Return the number of threads before this package changed it.

    It is the number of cores, or the value of ``OMP_NUM_THREADS``. The first call must come before
    the first change.
    """
    return torch.get_num_threads()


def _default_count(initial: int, small: bool) -> int:
    is_set_by_user = "OMP_NUM_THREADS" in os.environ
    return min(initial, SMALL_THREADS) if small and not is_set_by_user else initial


def _limit(requested: int, cores: int) -> int:
    if requested > cores:
        _LOG.warning(
            "cpu_threads is %d, but the process may use %d cores; %d threads are used",
            requested, cores, cores,
        )  # fmt: skip
    return min(requested, cores)
