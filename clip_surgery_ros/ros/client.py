"""A client of a running node, for other programs: sends a query and waits for the result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameterTypes
from rclpy.context import Context
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.query_text import as_entry
from clip_surgery_ros.msg import SegmentArray
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.srv import Segment, SetQuery

REPEAT_S = 1.0
"""The first call is repeated after this time, in seconds: a server drops its response when it has
not discovered the client yet."""
QUIET_WAIT_S = 3.0
"""A longer wait for the node is reported, in seconds; discovery takes a fraction of this."""
SLICE_S = 0.1
"""The deadline, and Ctrl-C, are checked this often, in seconds."""


class ClientError(ClipSurgeryError):
    """The node is not running, does not respond, or refuses."""


@contextmanager
def connect(name: str, wait_s: float) -> Iterator[NodeClient]:
    """Start ROS and yield a client of a node; stop ROS afterwards.

    :param name: of the node, with its namespace.
    :param wait_s: longest wait for the node, and for each of its responses, in seconds.
    :raises ClientError: when ROS cannot start, or the name is not valid.
    """
    _check_name(name, "a node, such as /robot/clip_surgery")
    context = Context()  # a context of its own leaves the handling of Ctrl-C to the program
    try:
        rclpy.init(args=[], context=context)
        node = Node(f"ask_{os.getpid()}", context=context)
    except RuntimeError as error:  # the base class of rclpy's own errors
        raise ClientError(f"ROS cannot start: {error}") from error
    try:
        yield NodeClient(node, name, wait_s)
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _check_name(name: str, what: str) -> None:
    """Refuse a name that ROS does not accept."""
    try:
        validate_topic_name(name)
    except NameValidationException as error:
        raise ClientError(f"'{name}' is no name of {what}") from error


class NodeClient:
    """Sends queries to a running node and waits for their results.

    >>> with connect("/clip_surgery", wait_s=60) as client:  # doctest: +SKIP
    ...     result = client.segment_stream(["red mug", "screwdriver"])
    ...     print([segment.label for segment in result.segments])

    :param node: of this program; makes the clients and subscriptions.
    :param name: of the running node.
    :param wait_s: longest wait for it and for each of its responses, in seconds.
    """

    def __init__(self, node: Node, name: str, wait_s: float) -> None:
        self._node, self._wait_s = node, wait_s
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._name = node.resolve_topic_name(name)
        self._health: dict[str, str] = {}
        node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.result()
        )

    def segment_image(self, image_rgb: NDArray[np.uint8], labels: Sequence[str]) -> SegmentArray:
        """Return the result of an image; the node's cameras and its query are not disturbed.

        :param image_rgb: (H, W, 3) uint8 RGB.
        :param labels: what to look for.
        :raises ClientError: when the node does not respond, or refuses.
        """
        image = image_message(image_rgb, "rgb8", Header(stamp=self._now()))
        request = Segment.Request(image=image, labels=[*map(as_entry, labels)])
        return self._call(Segment, "segment", request).result

    def segment_stream(self, labels: Sequence[str], camera: str = "") -> SegmentArray:
        """Set the node's query and return the result of the next frame.

        :param labels: what to look for.
        :param camera: its name, where the node has several.
        :raises ClientError: when the node does not respond, or refuses.
        """
        _check_name(camera or "none", "a camera, such as front")
        topic = "/".join(part for part in (self._name, camera, "segments") if part)
        results: list[SegmentArray] = []
        self._node.create_subscription(SegmentArray, topic, results.append, qos.result())
        sequence = self._call(
            SetQuery, "set_query", SetQuery.Request(labels=[*map(as_entry, labels)])
        ).sequence

        def first_result() -> SegmentArray | None:
            return next((result for result in results if result.query.sequence == sequence), None)

        if self._wait(lambda: first_result() is not None):
            return first_result()
        raise ClientError(self._no_answer(topic))

    def _now(self) -> object:
        return self._node.get_clock().now().to_msg()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep what the node's diagnostics say of the node and its cameras."""
        name = self._name.lstrip("/")
        for status in message.status:
            if status.name == name or status.name.startswith(f"{name}: "):
                self._health[status.name] = status.message

    def _no_answer(self, topic: str) -> str:
        health = "; ".join(f"{name}: {message}" for name, message in self._health.items())
        return (
            f"no answer on {topic} within {self._wait_s:g} s; the node says: {health or 'nothing'}"
        )

    def _call(self, service_type: Any, name: str, request: object) -> Any:
        """Return the response of one of the node's services.

        :raises ClientError: when there is none, or it is a refusal.
        """
        client: Any = self._node.create_client(service_type, f"{self._name}/{name}")
        if not self._wait(client.service_is_ready, QUIET_WAIT_S):
            print(f"waiting for {self._name} ...", file=sys.stderr)
        if not self._wait(client.service_is_ready):
            raise ClientError(
                f"there is no node {self._name} after {self._wait_s:g} s; start it with "
                "clip_surgery_node, or name it: --node /robot/clip_surgery"
            )
        self._wait_for_discovery()
        future = client.call_async(request)
        if not self._wait(future.done):
            raise ClientError(self._no_answer(f"{self._name}/{name}"))
        response = future.result()
        if not response.success:
            raise ClientError(f"{self._name}: {response.message}")
        return response

    def _wait_for_discovery(self) -> None:
        """Wait until the node has discovered this program's clients: it answers a harmless call.

        :raises ClientError: when it does not answer.
        """
        name = f"{self._name}/get_parameter_types"
        client: Any = self._node.create_client(GetParameterTypes, name)
        end_s = time.monotonic() + self._wait_s
        while time.monotonic() < end_s:
            if self._wait(client.call_async(GetParameterTypes.Request()).done, REPEAT_S):
                return
        raise ClientError(
            f"{self._name} is there, but has not answered within {self._wait_s:g} s; "
            "is it still loading its networks? Give it longer: --wait 120"
        )

    def _wait(self, is_done: Callable[[], bool], limit_s: float | None = None) -> bool:
        """Spin until a condition holds.

        :return: False when it does not hold within the limit.
        """
        end_s = time.monotonic() + (self._wait_s if limit_s is None else limit_s)
        while not is_done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=SLICE_S)
        return is_done()
