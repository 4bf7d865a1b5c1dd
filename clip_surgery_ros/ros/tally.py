"""What happened how often, how fast and how long ago. Knows nothing of ROS."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

RECENT = 200
"""Durations kept of each kind: a percentile of 95 has ten above it, and old ones go."""
RATE_WINDOW_S = 5.0
"""Rates are means over so many seconds: steady to read, and soon 0 when all is still."""


@dataclass(frozen=True)
class Spread:
    """Percentiles of recent durations in seconds."""

    p50_s: float
    p95_s: float


class Tally:
    """Counts, rates and durations by name, since the last reset. Safe to use from any thread.

    :param now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._counts: Counter[str] = Counter()
            self._last: dict[str, float] = {}
            self._times: defaultdict[str, deque[float]] = defaultdict(deque)
            self._durations: defaultdict[str, deque[float]] = defaultdict(
                lambda: deque(maxlen=RECENT)
            )

    def count(self, name: str, times: int = 1) -> None:
        """It happened now, once or several times."""
        with self._lock:
            self._counts[name] += times
            self._last[name] = self._now()
            self._times[name].extend([self._last[name]] * times)
            self._forget_old(self._times[name])

    def took(self, name: str, seconds: float) -> None:
        """It happened and took so long."""
        self.count(name)
        with self._lock:
            self._durations[name].append(seconds)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each happened; 0 for what never did."""
        with self._lock:
            return self._counts.copy()

    def rate_hz(self, name: str) -> float:
        """How often per second it happened lately; 0 for less than twice."""
        with self._lock:
            times = self._times[name]
            self._forget_old(times)
            span_s = times[-1] - times[0] if times else 0.0
            return (len(times) - 1) / span_s if span_s else 0.0

    def lately(self, name: str) -> int:
        """How often it happened within the last :data:`RATE_WINDOW_S` seconds."""
        with self._lock:
            self._forget_old(self._times[name])
            return len(self._times[name])

    def seconds_since(self, name: str) -> float | None:
        """Since it happened last; None when it never did."""
        with self._lock:
            return self._now() - self._last[name] if name in self._last else None

    def spreads(self) -> dict[str, Spread]:
        """Percentiles of everything that was timed."""
        with self._lock:
            kept = {name: tuple(values) for name, values in self._durations.items()}
        return {
            name: Spread(*(float(value) for value in np.percentile(values, (50, 95))))
            for name, values in kept.items()
        }

    def _forget_old(self, times: deque[float]) -> None:
        while times and times[0] < self._now() - RATE_WINDOW_S:
            times.popleft()
