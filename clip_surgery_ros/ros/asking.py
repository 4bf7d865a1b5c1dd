"""Asking a running node from another program, and waiting for its answer."""

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
"""A server gives up an answer whose reader it has not discovered yet: the question is repeated."""
TOLD_S = 3.0
"""A wait for the node that is longer is told, in seconds; discovery takes a fraction."""
SLICE_S = 0.1
"""Longest wait without looking at the deadline, and at Ctrl-C."""


class AskError(ClipSurgeryError):
    """The node is not there, does not answer, or refuses."""


@contextmanager
def asker(name: str, wait_s: float) -> Iterator[Asker]:
    """ROS for as long as it takes to ask.

    :param name: of the node to ask, with its namespace.
    :param wait_s: longest wait for the node, and for each of its answers, in seconds.
    :raises AskError: when ROS cannot start, or the name is none.
    """
    _check(name, "a node, such as /robot/clip_surgery")
    context = Context()  # whose owner handles Ctrl-C
    try:
        rclpy.init(args=[], context=context)
        node = Node(f"ask_{os.getpid()}", context=context)
    except RuntimeError as error:  # rclpy's own errors are
        raise AskError(f"ROS cannot start: {error}") from error
    try:
        yield Asker(node, name, wait_s)
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _check(name: str, what: str) -> None:
    """Refuse what ROS would not take as a name."""
    try:
        validate_topic_name(name)
    except NameValidationException as error:
        raise AskError(f"'{name}' is no name of {what}") from error


class Asker:
    """Asks one node.

    :param node: the asker's own.
    :param name: of the node to ask.
    :param wait_s: longest wait for it and for each of its answers, in seconds.
    """

    def __init__(self, node: Node, name: str, wait_s: float) -> None:
        self._node, self._wait_s = node, wait_s
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._name = node.resolve_topic_name(name)
        self._said: dict[str, str] = {}
        node.create_subscription(DiagnosticArray, "/diagnostics", self._listen, qos.result())

    def picture(self, image_rgb: NDArray[np.uint8], labels: Sequence[str]) -> SegmentArray:
        """What of these labels is in a picture; the node's stream and its query go on.

        :param image_rgb: (H, W, 3) uint8.
        :raises AskError: when no answer comes, or a refusal.
        """
        image = image_message(image_rgb, "rgb8", Header(stamp=self._now()))
        request = Segment.Request(image=image, labels=[*map(as_entry, labels)])
        return self._call(Segment, "segment", request).result

    def stream(self, labels: Sequence[str], camera: str = "") -> SegmentArray:
        """Put labels in force, and what of them is in the next frame.

        :param camera: its name, where the node has several.
        :raises AskError: when no answer comes, or a refusal.
        """
        _check(camera or "none", "a camera, such as front")
        topic = "/".join(part for part in (self._name, camera, "segments") if part)
        answers: list[SegmentArray] = []
        self._node.create_subscription(SegmentArray, topic, answers.append, qos.result())
        sequence = self._call(
            SetQuery, "set_query", SetQuery.Request(labels=[*map(as_entry, labels)])
        ).sequence

        def answer() -> SegmentArray | None:
            return next((one for one in answers if one.query.sequence == sequence), None)

        if self._wait(lambda: answer() is not None):
            return answer()
        raise AskError(self._no_answer(topic))

    def _now(self) -> object:
        return self._node.get_clock().now().to_msg()

    def _listen(self, message: DiagnosticArray) -> None:
        """Keep what the node says of itself and its cameras."""
        name = self._name.lstrip("/")
        for status in message.status:
            if status.name == name or status.name.startswith(f"{name}: "):
                self._said[status.name] = status.message

    def _no_answer(self, topic: str) -> str:
        said = "; ".join(f"{name}: {what}" for name, what in self._said.items())
        return (
            f"no answer on {topic} within {self._wait_s:g} s; of itself the node says: "
            f"{said or 'nothing'}"
        )

    def _call(self, kind: Any, name: str, request: object) -> Any:
        """The answer of one of the node's services.

        :raises AskError: when there is none, or it is a refusal.
        """
        client: Any = self._node.create_client(kind, f"{self._name}/{name}")
        if not self._wait(client.service_is_ready, TOLD_S):
            print(f"waiting for {self._name} ...", file=sys.stderr)
        if not self._wait(client.service_is_ready):
            raise AskError(
                f"there is no node {self._name} after {self._wait_s:g} s; start it with "
                "clip_surgery_node, or name it: --node /robot/clip_surgery"
            )
        self._meet()
        future = client.call_async(request)
        if not self._wait(future.done):
            raise AskError(self._no_answer(f"{self._name}/{name}"))
        answer = future.result()
        if not answer.success:
            raise AskError(f"{self._name}: {answer.message}")
        return answer

    def _meet(self) -> None:
        """Wait until the node knows the clients made so far, by asking it something harmless.

        :raises AskError: when it does not answer.
        """
        name = f"{self._name}/get_parameter_types"
        client: Any = self._node.create_client(GetParameterTypes, name)
        end_s = time.monotonic() + self._wait_s
        while time.monotonic() < end_s:
            if self._wait(client.call_async(GetParameterTypes.Request()).done, REPEAT_S):
                return
        raise AskError(
            f"{self._name} is there, but has not answered within {self._wait_s:g} s; "
            "is it still loading its networks? Give it longer: --wait 120"
        )

    def _wait(self, done: Callable[[], bool], limit_s: float | None = None) -> bool:
        """Whether it came true in time."""
        end_s = time.monotonic() + (self._wait_s if limit_s is None else limit_s)
        while not done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=SLICE_S)
        return done()
