"""Whether somebody reads what a camera of the demo publishes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rclpy.publisher import Publisher

KNOWN_S = 1.0
"""A camera knows its reader up to so many seconds before the reader knows the camera."""


class Readers:
    """The readers of some topics.

    :param publishers: of the topics; a reader of any counts.
    """

    def __init__(self, publishers: Sequence[Publisher]) -> None:
        self._publishers = publishers
        self._since_s = math.inf

    def are_ready(self) -> bool:
        """Whether somebody reads, who knows of the camera by now."""
        now_s = time.monotonic()
        are_there = any(one.get_subscription_count() > 0 for one in self._publishers)
        self._since_s = min(self._since_s, now_s) if are_there else math.inf
        return now_s - self._since_s >= KNOWN_S
