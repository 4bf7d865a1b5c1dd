"""A limit on the number of events per second. No ROS here."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Decides which events may pass, so that they do not exceed a rate.

    When an event passes late, the next one may pass earlier by the same time: the average rate is
    kept even if it does not divide the rate of the events. After a pause there is no burst.

    >>> limit = RateLimit(now=iter([0.0, 0.4, 0.6, 0.8, 1.0]).__next__)
    >>> [limit.is_due(rate_hz=2.0) for _ in range(5)]
    [True, False, True, False, True]

    :param now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._next_due_s = 0.0

    def is_due(self, rate_hz: float) -> bool:
        """Whether an event may pass now. If so, it counts as passed.

        :param rate_hz: most events per second; 0 is no limit.
        """
        if rate_hz <= 0:
            return True
        now_s = self._now()
        late_s = now_s - self._next_due_s
        if late_s < 0:
            return False
        self._next_due_s = now_s + 1 / rate_hz - (late_s if late_s < 1 / rate_hz else 0.0)
        return True
