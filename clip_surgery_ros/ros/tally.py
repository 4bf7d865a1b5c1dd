"""Counts, rates and durations of named events. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

RECENT = 200
"""Durations kept for each name: ten of them are above the 95th percentile."""
RATE_WINDOW_S = 5.0
"""Rates are means over this many seconds: steady to read, and soon 0 when events stop."""


@dataclass(frozen=True)
class Spread:
    """50th and 95th percentile of recent durations, in seconds."""

    p50_s: float
    p95_s: float


class Tally:
    """Counts, rates and durations of named events since the last reset. Safe from any thread.

    >>> tally = Tally()
    >>> tally.count("in")
    >>> tally.record("clip", seconds=0.25)
    >>> tally.counts["in"], tally.counts["clip"], tally.spreads()["clip"].p50_s
    (1, 1, 0.25)

    :param now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Set all counts to 0 and forget all durations."""
        with self._lock:
            self._counts: Counter[str] = Counter()
            self._last: dict[str, float] = {}
            self._recent: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
            self._durations: defaultdict[str, deque[float]] = defaultdict(
                lambda: deque(maxlen=RECENT)
            )

    def count(self, name: str, times: int = 1) -> None:
        """Count an event that happened now, once or several times."""
        with self._lock:
            self._counts[name] += times
            self._last[name] = self._now()
            self._recent[name].append((self._last[name], times))
            self._drop_old(self._recent[name])

    def record(self, name: str, seconds: float) -> None:
        """Count an event that ended now, and keep its duration."""
        self.count(name)
        with self._lock:
            self._durations[name].append(seconds)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of each event; 0 for a name that was never counted."""
        with self._lock:
            return self._counts.copy()

    def rate_hz(self, name: str) -> float:
        """Return the events per second in the last :data:`RATE_WINDOW_S`; 0 for fewer than two."""
        with self._lock:
            recent = self._recent[name]
            self._drop_old(recent)
            span_s = recent[-1][0] - recent[0][0] if recent else 0.0
            return (sum(times for _, times in recent) - 1) / span_s if span_s else 0.0

    def recent_count(self, name: str) -> int:
        """Return the number of events in the last :data:`RATE_WINDOW_S` seconds."""
        with self._lock:
            self._drop_old(self._recent[name])
            return sum(times for _, times in self._recent[name])

    def seconds_since(self, name: str) -> float | None:
        """Return the seconds since the last event; None when there was none."""
        with self._lock:
            return self._now() - self._last[name] if name in self._last else None

    def spreads(self) -> dict[str, Spread]:
        """Return the percentiles of the recent durations of each name."""
        with self._lock:
            kept = {name: tuple(values) for name, values in self._durations.items()}
        return {
            name: Spread(*(float(value) for value in np.percentile(values, (50, 95))))
            for name, values in kept.items()
        }

    def _drop_old(self, recent: deque[tuple[float, int]]) -> None:
        while recent and recent[0][0] < self._now() - RATE_WINDOW_S:
            recent.popleft()
