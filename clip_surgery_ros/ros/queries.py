"""The query in force: the topics and the service that set it, and the latched topics with it."""

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
"""Least time between the publication of masks and of a new key for them, in seconds. A subscriber
handles messages that wait in the order of its topics, not of their publication, so it needs time
to handle the earlier message first; it usually needs a fraction of this."""
MAX_NOTES = 3
"""Notes about one query in the log; more would hide the first."""


@dataclass(frozen=True)
class ActiveQuery:
    """A query, its message and its mask's key, which change together.

    :param query: what to look for.
    :param message: of the query.
    :param threshold: the presence threshold: labels below it are absent.
    """

    query: Query
    message: TextQuery
    threshold: float = 0.0

    def has_same_key(self, other: ActiveQuery) -> bool:
        """Whether a mask of both has the same key: the same labels and threshold."""
        return self.has_same_labels(other) and self.threshold == other.threshold

    def has_same_labels(self, other: ActiveQuery) -> bool:
        """Whether the indices of both masks mean the same labels."""
        return self.query.names == other.query.names


class Queries:
    """Holds the query in force and receives new ones, in every lifecycle state of a node.

    :param node: makes the topics and the service.
    :param key_threshold: returns the presence threshold, which the mask's key states.
    :param unknown_notes: returns a note for each label of a query that the networks do not know.
    :param on_query: called after a new query came into force.
    """

    def __init__(
        self,
        node: Node,
        key_threshold: Callable[[], float],
        unknown_notes: Callable[[Query], Sequence[str]],
        on_query: Callable[[], None],
    ) -> None:
        self._node, self._key_threshold = node, key_threshold
        self._unknown_notes, self._on_query = unknown_notes, on_query
        self._key_lock = threading.Lock()
        self._key_changed_s = self._published_s = -math.inf  # on the monotonic clock
        self.active = ActiveQuery(Query(), TextQuery())
        self.refused = 0
        """Number of queries that could not be used."""
        self.last_refusal = ""
        """Why the last query was refused; empty when it was not."""
        self._echo = qos.open_publisher(node, TextQuery, "~/active_query", qos.latched())
        self._key = qos.open_publisher(node, LabelInfo, "~/label_info", qos.latched())
        self.inputs = (
            qos.open_subscription(node, String, "query", self._on_text, qos.query()),
            qos.open_subscription(node, TextQuery, "~/text_query", self._on_message, qos.query()),
        )
        """Subscriptions that queries arrive on."""
        node.create_service(SetQuery, "~/set_query", self._on_set_query)

    def set_text(self, text: str) -> bool:
        """Put the labels of a text in force.

        :return: False when they cannot be used; the log says why.
        """
        return self._set(lambda sequence: parse_query(text, sequence))

    def log_unknown_labels(self) -> None:
        """Log which labels of the query in force the networks do not know."""
        for note in self._unknown_notes(self.active.query)[:MAX_NOTES]:
            self._node.get_logger().warning(note)

    def update_threshold(self) -> None:
        """Put a changed presence threshold in force, and publish it in the key."""
        self._put_in_force(replace(self.active, threshold=self._key_threshold()))

    def publish_if_current(
        self, query: ActiveQuery, publish: Callable[[], None], any_threshold: bool = False
    ) -> bool:
        """Publish the results of a query, unless the mask's key has changed since.

        The key does not change while ``publish`` runs, nor :data:`SETTLE_S` before and after: a
        subscriber that handles messages as they arrive has the right key for every mask.

        :param query: the query of the results.
        :param any_threshold: publish also when only the presence threshold has changed.
        :return: False when a different key is in force and nothing was published.
        """
        self._settle(self._key_changed_s)
        with self._key_lock:
            if not self.is_current(query, any_threshold):
                return False
            self._settle(self._key_changed_s)  # the key may have changed twice meanwhile
            publish()
            self._published_s = time.monotonic()
            return True

    def is_current(self, query: ActiveQuery, any_threshold: bool = False) -> bool:
        """Whether results of a query would be published now; see :meth:`publish_if_current`."""
        is_current = query.has_same_labels if any_threshold else query.has_same_key
        return is_current(self.active)

    def _put_in_force(self, active: ActiveQuery) -> None:
        """Change query and key together and publish both; wait for the key's subscribers."""
        with self._key_lock:
            before, self.active = self.active, active
            changes_key = not before.has_same_key(active)
            if changes_key:
                self._settle(self._published_s)
            if active.message is not before.message:
                self._echo.publish(active.message)
            stamp = self._node.get_clock().now().to_msg()
            self._key.publish(messages.label_info(active.query, stamp, active.threshold))
            if changes_key:
                self._key_changed_s = time.monotonic()

    def _settle(self, since_s: float) -> None:
        """Wait until subscribers of the key have handled what was published at that time."""
        if self._key.get_subscription_count():
            time.sleep(max(0.0, since_s + SETTLE_S - time.monotonic()))

    def _on_text(self, message: String) -> None:
        self.set_text(message.data)

    def _on_message(self, message: TextQuery) -> None:
        self._set(lambda sequence: query_of(message.labels, message.thresholds, sequence))

    def _on_set_query(self, request: SetQuery.Request, response: SetQuery.Response) -> object:
        response.success = self._set(
            lambda sequence: query_of(request.labels, request.thresholds, sequence)
        )
        query = self.active.query
        response.message = self.last_refusal
        if response.success:
            notes = self._unknown_notes(query)[:MAX_NOTES]
            response.message = ". ".join([describe_query(query), *notes])
        response.sequence = query.sequence
        return response

    def _set(self, make_query: Callable[[int], Query]) -> bool:
        """Put a new query in force; keep the current one when the new one cannot be used.

        :param make_query: makes the query with a sequence number.
        :return: whether the new query is in force.
        """
        try:
            query = make_query(self.active.query.sequence + 1)
        except QueryError as error:
            self.refused += 1
            self.last_refusal = f"query refused, the one before stays: {error}"
            self._node.get_logger().error(self.last_refusal)
            return False
        self.last_refusal = ""
        stamp = self._node.get_clock().now().to_msg()
        message = messages.query_message(query, stamp)
        self._put_in_force(ActiveQuery(query, message, self._key_threshold()))
        self._node.get_logger().info(describe_query(query))
        self.log_unknown_labels()
        self._on_query()
        return True


def describe_query(query: Query) -> str:
    """Return the sequence number and labels of a query, for people."""
    names = "; ".join(query.names) or "nothing"
    return f"query {query.sequence}: {names}"
