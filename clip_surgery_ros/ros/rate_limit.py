"""At most so many per second. Knows nothing of ROS."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Says when the next one is due; what one came late is given back to the next.

    :param now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._next_due_s = 0.0

    def is_due(self, rate_hz: float) -> bool:
        """Whether one may pass now; it is then taken to have passed.

        :param rate_hz: most per second; 0 lets all pass.
        """
        if rate_hz <= 0:
            return True
        now_s = self._now()
        late_s = now_s - self._next_due_s
        if late_s < 0:
            return False
        self._next_due_s = now_s + 1 / rate_hz - (late_s if late_s < 1 / rate_hz else 0.0)
        return True
