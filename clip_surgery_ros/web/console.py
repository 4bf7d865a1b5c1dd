"""The console's ROS node: reads what viewers look at, and hands their queries to the node."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.task import Future
from rclpy.timer import Timer

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query_text import as_entry, names_in
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.ros import qos
from clip_surgery_ros.srv import SetQuery
from clip_surgery_ros.web.content import (
    as_json,
    number,
    query_content,
    status_content,
    statuses_of,
)
from clip_surgery_ros.web.feed import CameraFeed
from clip_surgery_ros.web.hub import STATE, Key, Payload
from clip_surgery_ros.web.requests import Arrange, Ask
from clip_surgery_ros.web.table import Table

NODE_NAME = "clip_surgery_web"
SILENT_S = 3.5
"""The node is taken for gone after so many seconds without diagnostics, which it sends every
second."""
CHECK_S = 1.0
"""Period of checks whether the node is there."""
ANSWER_S = 8.0
"""Longest wait for an answer of the node, seconds; it answers in milliseconds, unless it loads
its networks."""
PARAMETERS = ("presence_threshold", "threshold", "target_frame")
"""Parameters of the node that the page shows."""

OnAnswer = Callable[[bool, str, int], None]
"""Takes whether a query was accepted, a sentence, and the sequence number of the query."""


class ConsoleNode(Node):
    """Everything here runs on the thread that spins the node.

    :param target: name of the node that is watched.
    :param put: takes key and message for viewers; any thread may call it.
    :param table: name of the demo's camera; empty if there is none.
    :param context: of ROS; the process's own by default.
    """

    def __init__(
        self,
        target: str,
        put: Callable[[Key, Payload], None],
        table: str = "",
        context: Context | None = None,
    ) -> None:
        super().__init__(NODE_NAME, context=context)
        self.target = self.resolve_topic_name(target)
        """Full name of the node that is watched."""
        self._put = put
        self._viewers = 0
        self._wishes: frozenset[Key] = frozenset()
        self._feeds: dict[str, CameraFeed] = {}
        self._always: list[Subscription] = []
        self._status: DiagnosticStatus | None = None
        self._camera_statuses: Mapping[str, DiagnosticStatus] = {}
        self._heard_s = -math.inf
        self._query: TextQuery | None = None
        self._shown_parameters: dict[str, Any] = {}
        # They stay open: a server that has not discovered a client drops its first answers.
        self._set_query = self.create_client(SetQuery, f"{self.target}/set_query")
        self._get_parameters = self.create_client(GetParameters, f"{self.target}/get_parameters")
        self._table = None
        if table:
            self._table = Table(self, self.resolve_topic_name(table), self._send_state)
        self.create_timer(CHECK_S, self._on_timer)

    def show(self, wishes: frozenset[Key], viewers: int) -> None:
        """Read what viewers look at, and nothing if there are none.

        :param wishes: (camera, channel) of all viewers.
        """
        self._wishes, self._viewers = wishes, viewers
        if viewers and not self._always:
            self._always = [
                self.create_subscription(
                    DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.result()
                ),
                self.create_subscription(
                    TextQuery, f"{self.target}/active_query", self._on_query, qos.latched()
                ),
            ]
        elif not viewers:
            for subscription in self._always:
                self.destroy_subscription(subscription)
            self._always, self._status, self._heard_s = [], None, -math.inf
        self._show_cameras()

    def ask(self, request: Ask, on_answer: OnAnswer) -> None:
        """Set the node's query, and pass on its answer."""
        try:
            names = names_in(request.text)
        except QueryError as error:
            on_answer(False, str(error), 0)
            return
        if not self._set_query.service_is_ready():
            on_answer(False, f"there is no node {self.target}; start clip_surgery_node", 0)
            return
        thresholds = [request.thresholds.get(name, math.nan) for name in names]
        asked = SetQuery.Request(labels=[*map(as_entry, names)])
        if not all(map(math.isnan, thresholds)):
            asked.thresholds = thresholds
        _Call(self, self._set_query.call_async(asked), on_answer)

    def arrange(self, request: Arrange) -> None:
        """Arrange the demo's table, where there is one."""
        if self._table is not None:
            self._table.arrange(request.view, request.without)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        status, cameras = statuses_of(self.target, message.status)
        if status is None:
            return
        is_new = not self._is_there()
        self._status, self._camera_statuses = status, cameras
        self._heard_s = time.monotonic()
        if is_new:
            self.get_logger().info(f"{self.target} is there")
        self._show_cameras()
        self._read_parameters()
        self._send_state()

    def _on_query(self, message: TextQuery) -> None:
        self._query = message
        for feed in self._feeds.values():
            feed.has_query = bool(message.labels)
        self._send_state()

    def _on_timer(self) -> None:
        if self._viewers and self._table is not None:
            self._table.read()
        if self._viewers and not self._is_there():
            self._send_state()

    def _is_there(self) -> bool:
        return time.monotonic() - self._heard_s < SILENT_S

    def _show_cameras(self) -> None:
        """Open the wished topics of cameras that the node has."""
        topics = {
            name: topic
            for name, status in self._camera_statuses.items()
            if (topic := next((p.value for p in status.values if p.key == "topic"), ""))
        }
        for name in [*self._feeds]:
            if self._feeds[name].image_topic != topics.get(name):
                self._feeds.pop(name).show(())
        for name, topic in topics.items():
            if name not in self._feeds:
                results = f"{self.target}/{name}".rstrip("/")
                self._feeds[name] = CameraFeed(self, results, topic, self._sender(name))
                self._feeds[name].has_query = bool(self._query and self._query.labels)
            self._feeds[name].show({channel for camera, channel in self._wishes if camera == name})

    def _sender(self, camera: str) -> Callable[[str, bytes], None]:
        return lambda channel, payload: self._put((camera, channel), payload)

    def _read_parameters(self) -> None:
        if self._get_parameters.service_is_ready():
            future = self._get_parameters.call_async(GetParameters.Request(names=[*PARAMETERS]))
            future.add_done_callback(self._on_parameters)

    def _on_parameters(self, future: Future) -> None:
        response = future.result()
        for name, value in zip(PARAMETERS, response.values if response else (), strict=False):
            if value.type == ParameterType.PARAMETER_DOUBLE:
                self._shown_parameters[name] = number(value.double_value)
            elif value.type == ParameterType.PARAMETER_STRING:
                self._shown_parameters[name] = value.string_value

    def _send_state(self) -> None:
        is_there = self._is_there() and self._status is not None
        content: dict[str, Any] = {
            "type": "state",
            "node": self.target,
            "is_there": is_there,
            "status": status_content(self.target, self._status) if is_there else None,
            "cameras": [
                status_content(name, status) for name, status in self._camera_statuses.items()
            ],
            "query": query_content(self._query) if self._query is not None else None,
            "parameters": self._shown_parameters,
            "table": None if self._table is None else self._table.content,
            "viewers": self._viewers,
        }
        self._put(STATE, as_json(content))


class _Call:
    """A call of a service: its answer, or a sentence when none comes."""

    def __init__(self, node: ConsoleNode, future: Future, on_answer: OnAnswer) -> None:
        self._node, self._future, self._on_answer = node, future, on_answer
        self._timer: Timer | None = node.create_timer(ANSWER_S, self._on_deadline)
        future.add_done_callback(self._on_done)

    def _on_done(self, future: Future) -> None:
        if self._end() and (response := future.result()) is not None:
            self._on_answer(response.success, response.message, response.sequence)

    def _on_deadline(self) -> None:
        if self._end():
            self._on_answer(False, f"{self._node.target} does not answer; ask again", 0)

    def _end(self) -> bool:
        """Whether this is the first end of the call."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self._node.destroy_timer(timer)
        return timer is not None


class RosThread:
    """Spins the console's node on a thread of its own; any thread may call these methods.

    :param node: which only that thread touches from here on.
    :param on_end: called on that thread when it ends before :meth:`stop`, by an error, which is
        printed, or because ROS was shut down.
    """

    def __init__(self, node: ConsoleNode, on_end: Callable[[], None]) -> None:
        self._node, self._on_end = node, on_end
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._calls: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._spin, name="ros", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Call a function on the node's thread, soon, and in the order of these calls."""
        self._calls.append(function)
        # rclpy begins with the task that came last, so each takes the call that came first.
        self._executor.create_task(lambda: self._calls.popleft()())

    def stop(self) -> None:
        """Stop the thread and remove the node."""
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            with suppress(ExternalShutdownException, ShutdownException):
                self._executor.spin()
        finally:  # a page whose ROS side is gone would show old pictures without a word
            self._on_end()
