"""A best-effort subscription that outlives a damaged packet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from clip_surgery_ros.ros import qos

LARGEST_GAP = 1000
"""Messages lost at once: half a minute of a camera. Above it, the topic is opened again, which
costs a message at most."""


class SensorTopic:
    """A best-effort topic that is read until :meth:`close`.

    Fast DDS drops every message whose number is below the highest that it has seen of a publisher.
    One damaged packet with a huge number, as from shared memory that was overwritten while it was
    read, thus silences a topic for good, and its number is reported as that many lost messages.
    After such a report the topic is opened again, which forgets the number.

    :param callback: called with every message.
    :param on_lost: called with the number of messages that were lost since the last call, where
        the middleware reports it.
    :raises ConfigError: when the node has the topic already, with a different type.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        profile: Callable[[], QoSProfile],
        on_lost: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._node, self._on_lost = node, on_lost
        self._open = lambda: qos.open_subscription(
            node, message_type, topic, callback, profile(), self._count_or_reopen
        )
        self.subscription: Subscription = self._open()
        """The present subscription."""

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self.subscription)

    def _count_or_reopen(self, number: int) -> None:
        if 0 <= number <= LARGEST_GAP:
            self._on_lost(number)
            return
        self.close()
        self.subscription = self._open()
        self._node.get_logger().warning(
            f"{self.subscription.topic_name} was opened again: {number} messages are missing at "
            "once, after a long interruption or by a damaged packet, and are not counted"
        )
