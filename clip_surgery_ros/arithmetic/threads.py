"""The number of threads on which the networks compute."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

SMALL_THREADS = 4
"""Most threads for small networks, such as the demo's. Two threads on two cores take a third less
time than one. With more than four, a thread would compute its part of a layer in less time than it
takes to wake the thread."""
CONTENDED_SHARE = 0.2
"""Share of a frame in which its thread waited for a core, from which on other programs count as
competing. Beside two programs on two cores it is 0.3 to 0.5; on an idle machine the process's own
threads, which decode images, wait for less than 0.1."""
TRIAL_FRAMES = 3
"""Frames with each number of threads before one is chosen: the scheduler shares cores by turns of
some milliseconds, so that single frames differ by tens of per cent."""
TRIAL_AGAIN = 100
"""Frames beside competitors after which the numbers are tried again, because the load changes. A
trial costs three slow frames, some per cent of a hundred."""
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


class ThreadsByLoad:
    """Chooses for each frame on how many threads it is computed, by what else uses the cores.

    Small networks have many short steps, after each of which their threads wait for each other. On
    an idle machine several threads are faster. Beside other programs one of them is always waiting
    for its turn on a core, and then all wait: one thread alone may finish earlier, and takes less
    processor time. Both are tried there, and the faster is kept for a while. On an idle machine
    nothing is tried.

    :param count: threads on an idle machine, at least 1.

    >>> threads = ThreadsByLoad(2)
    >>> threads.count
    2
    >>> for seconds in (0.9, 0.8, 0.9):
    ...     threads.record(2, seconds, waited=0.4)
    >>> threads.count  # other programs compete: the other number is tried
    1
    """

    def __init__(self, count: int) -> None:
        self._idle_count = count
        self._is_contended = False
        self._clear()

    def _clear(self) -> None:
        counts = dict.fromkeys((self._idle_count, 1))
        self._seconds = {count: deque[float](maxlen=TRIAL_FRAMES) for count in counts}
        self._contended_frames = 0

    @property
    def count(self) -> int:
        """The number of threads for the next frame."""
        if not self._is_contended:
            return self._idle_count
        for count, seconds in self._seconds.items():
            if len(seconds) < TRIAL_FRAMES:
                return count
        return min(self._seconds, key=lambda count: statistics.median(self._seconds[count]))

    def record(self, count: int, seconds: float, waited: float) -> None:
        """Record a frame.

        :param count: threads that computed it.
        :param seconds: wall time.
        :param waited: seconds in which its thread could have run, but had no core.
        """
        self._is_contended = waited > CONTENDED_SHARE * seconds
        if not self._is_contended:
            return
        self._contended_frames += 1
        if self._contended_frames > TRIAL_AGAIN:
            self._clear()
        self._seconds[count].append(seconds)

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Compute a frame inside, on the calling thread and :attr:`count` - 1 others."""
        count, before = self.count, torch.get_num_threads()
        start_s, start_waited_s = time.perf_counter(), waited_for_core()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            waited_s = waited_for_core() - start_waited_s
            self.record(count, time.perf_counter() - start_s, waited_s)


def waited_for_core() -> float:
    """Return the seconds in which the calling thread could have run, but had no core.

    0 where the system does not count them. From Linux's ``schedstat`` (Documentation/scheduler).
    """
    try:
        _, waited_ns, _ = _SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return 0.0
    return int(waited_ns) / 1e9


_SCHEDSTAT = Path("/proc/thread-self/schedstat")
