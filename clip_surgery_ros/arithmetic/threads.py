"""On how many threads the networks compute."""

from __future__ import annotations

import logging
import os
from functools import cache

import torch

SMALL_THREADS = 4
"""Most threads for small networks, as the demo's. Two of two cores save a third of their frame;
with more than four a thread's part of a layer would take no longer than waking the thread."""
_LOG = logging.getLogger(__name__)


def set_thread_count(asked: int, small: bool) -> int:
    """Compute on so many threads from now on, in every thread that has not computed yet.

    :param asked: how many; 0 takes all that the process was given, for small networks at most
        :data:`SMALL_THREADS`.
    :param small: whether the networks are.
    :returns: how many.
    """
    given = initial_thread_count()
    count = _within(asked, usable_cores()) if asked else _chosen(given, small)
    torch.set_num_threads(count)
    return count


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def initial_thread_count() -> int:
    """Threads that torch had before this package changed them: as many as cores, or what
    ``OMP_NUM_THREADS`` says.
    """
    return torch.get_num_threads()


def _chosen(given: int, small: bool) -> int:
    told = "OMP_NUM_THREADS" in os.environ  # by the user, who knows
    return min(given, SMALL_THREADS) if small and not told else given


def _within(asked: int, most: int) -> int:
    if asked > most:
        _LOG.warning("cpu_threads is %d, but the process may use %d cores: %d", asked, most, most)
    return min(asked, most)
