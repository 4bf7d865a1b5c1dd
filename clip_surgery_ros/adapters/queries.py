"""The query in force: topics and a service that set it, latched topics that tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from std_msgs.msg import String
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.adapters import messages, qos
from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query import parse_query, query_of
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.srv import SetQuery


@dataclass(frozen=True)
class ActiveQuery:
    """The query in force and its message, replaced together."""

    query: Query
    message: TextQuery


class Queries:
    """Takes queries on a node, in every state of it.

    :param node: makes the topics and the service.
    :param key_threshold: the score from which a pixel of the class mask has a label.
    :param changed: called after another query came into force.
    """

    def __init__(
        self, node: Node, key_threshold: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        self._node, self._key_threshold, self._changed = node, key_threshold, changed
        self.active = ActiveQuery(Query(), TextQuery())
        self.refused = 0
        """Queries that could not be used."""
        self.last_refusal = ""
        """Why the last query was refused; empty when it was not."""
        self._echo = qos.open_publisher(node, TextQuery, "~/active_query", qos.latched())
        self._key = qos.open_publisher(node, LabelInfo, "~/label_info", qos.latched())
        qos.open_subscription(node, String, "query", self._on_text, qos.query())
        qos.open_subscription(node, TextQuery, "~/text_query", self._on_message, qos.query())
        node.create_service(SetQuery, "~/set_query", self._on_call)

    def ask(self, text: str) -> bool:
        """Put the labels of a text in force; the log says why if they cannot be used."""
        return self._ask(lambda sequence: parse_query(text, sequence))

    def publish_key(self) -> None:
        """Say again what the values of the class mask mean."""
        stamp = self._node.get_clock().now().to_msg()
        self._key.publish(messages.label_info(self.active.query, stamp, self._key_threshold()))

    def _on_text(self, message: String) -> None:
        self.ask(message.data)

    def _on_message(self, message: TextQuery) -> None:
        self._ask(lambda sequence: query_of(message.labels, message.thresholds, sequence))

    def _on_call(self, request: SetQuery.Request, response: SetQuery.Response) -> object:
        response.success = self._ask(
            lambda sequence: query_of(request.labels, request.thresholds, sequence)
        )
        query = self.active.query
        response.message = told(query) if response.success else self.last_refusal
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
        self.active = ActiveQuery(query, messages.query_message(query, stamp))
        self._echo.publish(self.active.message)
        self.publish_key()
        self._node.get_logger().info(told(query))
        self._changed()
        return True


def told(query: Query) -> str:
    """A query for people."""
    names = "; ".join(query.names) or "nothing"
    return f"query {query.sequence}: {names}"
