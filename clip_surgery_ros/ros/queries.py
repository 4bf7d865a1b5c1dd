"""The query in force: topics and a service that set it, latched topics that tell it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rclpy.node import Node
from std_msgs.msg import String
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query import parse_query, query_of
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.ros import messages, qos
from clip_surgery_ros.srv import SetQuery

SETTLE_S = 0.05
"""Between results and a change of their key, either way: a program takes what waits for it in the
order of its topics, not of time, and comes round to it in a fraction of this."""
MOST_REMARKS = 3
"""Of a query in the log: more would hide the first."""


@dataclass(frozen=True)
class ActiveQuery:
    """The query in force, its message, and what the class mask's key says; replaced together.

    :param threshold: presence from which a label counts as being in the picture.
    """

    query: Query
    message: TextQuery
    threshold: float = 0.0

    def has_key_of(self, other: ActiveQuery) -> bool:
        """Whether a mask of either means the same by the key of the other."""
        return (self.query.names, self.threshold) == (other.query.names, other.threshold)


class Queries:
    """Takes queries on a node, in every state of it.

    :param node: makes the topics and the service.
    :param key_threshold: the score from which a pixel of the class mask has a label.
    :param remarks: what to say of a query that the networks do not understand as it is.
    :param changed: called after another query came into force.
    """

    def __init__(
        self,
        node: Node,
        key_threshold: Callable[[], float],
        remarks: Callable[[Query], Sequence[str]],
        changed: Callable[[], None],
    ) -> None:
        self._node, self._key_threshold, self._changed = node, key_threshold, changed
        self._remarks = remarks
        self._in_force = threading.Lock()
        self._key_changed_s = self._published_s = -math.inf  # on the monotonic clock
        self.active = ActiveQuery(Query(), TextQuery())
        self.refused = 0
        """Queries that could not be used."""
        self.last_refusal = ""
        """Why the last query was refused; empty when it was not."""
        self._echo = qos.open_publisher(node, TextQuery, "~/active_query", qos.latched())
        self._key = qos.open_publisher(node, LabelInfo, "~/label_info", qos.latched())
        self.inputs = (
            qos.open_subscription(node, String, "query", self._on_text, qos.query()),
            qos.open_subscription(node, TextQuery, "~/text_query", self._on_message, qos.query()),
        )
        """Topics that queries come on."""
        node.create_service(SetQuery, "~/set_query", self._on_call)

    def ask(self, text: str) -> bool:
        """Put the labels of a text in force; the log says why if they cannot be used."""
        return self._ask(lambda sequence: parse_query(text, sequence))

    def tell_remarks(self) -> None:
        """Log what the networks do not understand of the query in force."""
        for remark in self._remarks(self.active.query)[:MOST_REMARKS]:
            self._node.get_logger().warning(remark)

    def take_threshold(self) -> None:
        """Put another presence threshold in force, and say it in the key."""
        self._put_in_force(replace(self.active, threshold=self._key_threshold()))

    def publish_under(self, asked: ActiveQuery, publish: Callable[[], None]) -> bool:
        """Publish the results of a query, unless their mask would be read by the key of another.

        The key does not change meanwhile, nor shortly before and after: whoever takes messages as
        they come reads every mask by its own key.

        :return: False when another key is in force and nothing was published.
        """
        self._settle(self._key_changed_s)
        with self._in_force:
            if not self.active.has_key_of(asked):
                return False
            self._settle(self._key_changed_s)  # for one that changed there and back meanwhile
            publish()
            self._published_s = time.monotonic()
            return True

    def _put_in_force(self, active: ActiveQuery) -> None:
        """Change the query and the key together, and say both; waits for readers of the key."""
        with self._in_force:
            before, self.active = self.active, active
            changes_key = not before.has_key_of(active)
            if changes_key:
                self._settle(self._published_s)
            if active.message is not before.message:
                self._echo.publish(active.message)
            stamp = self._node.get_clock().now().to_msg()
            self._key.publish(messages.label_info(active.query, stamp, active.threshold))
            if changes_key:
                self._key_changed_s = time.monotonic()

    def _settle(self, since_s: float) -> None:
        """Wait until those who read the key have come round to what was published then."""
        if self._key.get_subscription_count():
            time.sleep(max(0.0, since_s + SETTLE_S - time.monotonic()))

    def _on_text(self, message: String) -> None:
        self.ask(message.data)

    def _on_message(self, message: TextQuery) -> None:
        self._ask(lambda sequence: query_of(message.labels, message.thresholds, sequence))

    def _on_call(self, request: SetQuery.Request, response: SetQuery.Response) -> object:
        response.success = self._ask(
            lambda sequence: query_of(request.labels, request.thresholds, sequence)
        )
        query = self.active.query
        response.message = self.last_refusal
        if response.success:
            remarks = self._remarks(query)[:MOST_REMARKS]
            response.message = ". ".join([told(query), *remarks])
        response.sequence = query.sequence
        return response

    def _ask(self, make: Callable[[int], Query]) -> bool:
        """Put a new query in force, or keep the one before when it cannot be used.

        :param make: makes it with the sequence number it shall have.
        """
        try:
            query = make(self.active.query.sequence + 1)
        except QueryError as error:
            self.refused += 1
            self.last_refusal = f"query refused, the one before stays: {error}"
            self._node.get_logger().error(self.last_refusal)
            return False
        self.last_refusal = ""
        stamp = self._node.get_clock().now().to_msg()
        message = messages.query_message(query, stamp)
        self._put_in_force(ActiveQuery(query, message, self._key_threshold()))
        self._node.get_logger().info(told(query))
        self.tell_remarks()
        self._changed()
        return True


def told(query: Query) -> str:
    """A query for people."""
    names = "; ".join(query.names) or "nothing"
    return f"query {query.sequence}: {names}"
