"""A node process, and a test node that sends it images and reads its diagnostics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from clip_surgery_ros.msg import SegmentArray
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros.footprint import WatchedProcess
from ros.harness import NODE, START_S, Inbox, call, spinning, wait_for_reader
from ros.known_scene import MIN_IOU, known_scene, overlaps
from ros.rig import values_of
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.outputs import OUTPUTS, Output

PATIENCE_S = 90.0
"""Limit for an answer, with other work in the queue before it."""
RESENDS = 6
"""A frame without answer after ``PATIENCE_S / RESENDS`` is sent again: images are best effort."""

Values = dict[str, str]
"""Values of a diagnostic status by key."""


class Target:
    """A running node with subscribers for all of its outputs.

    :param node: the test node.
    :param process: the process of the node under test.
    """

    def __init__(self, node: Node, process: WatchedProcess) -> None:
        self.node, self.process = node, process
        self.scene = known_scene()
        self.images = node.create_publisher(Image, "image_raw", 10)
        self._segments = Inbox(node, SegmentArray, "/clip_surgery/segments")
        self._health = Inbox(node, DiagnosticArray, "/diagnostics")
        self._numbers = itertools.count(1)
        read_all(node)
        wait_for_reader(self.images)

    def call(self, kind: type, name: str, request: object) -> object:
        """Call a service of the node."""
        return call(self.node, kind, f"/clip_surgery/{name}", request, PATIENCE_S)

    def ask(self, *labels: str) -> int:
        """Set the query; return its sequence number."""
        answer = self.call(SetQuery, "set_query", SetQuery.Request(labels=list(labels)))
        assert answer.success, answer.message
        return answer.sequence

    def picture(self) -> Image:
        """Return the scene as a camera image with the current time."""
        header = Header(frame_id=f"camera {next(self._numbers)}")
        header.stamp = self.node.get_clock().now().to_msg()
        return image_message(self.scene.image, "rgb8", header)

    def answer_to(self, make: Callable[[], Image]) -> SegmentArray:
        """Send an image, again if necessary, until its answer comes."""
        for _ in range(RESENDS):
            with suppress(AssertionError):
                return self._answer_to_one(make())
        raise AssertionError(f"no answer to an image within {PATIENCE_S} s")

    def _answer_to_one(self, image: Image) -> SegmentArray:
        before = len(self._segments.messages)
        self.images.publish(image)
        return self._segments.wait(
            lambda message: message.header == image.header,
            after=before,
            deadline_s=PATIENCE_S / RESENDS,
        )

    def check_answers(self) -> None:
        """Check that the node answers a good frame and query with correct masks."""
        sequence = self.ask(*self.scene.names)
        message = self.answer_to(self.picture)
        assert message.query.sequence == sequence
        found = overlaps(message, self.scene)
        assert min(found.values()) > MIN_IOU, found

    def health(
        self, accept: Callable[[Values, Values], bool] = lambda node, camera: True
    ) -> tuple[Values, Values]:
        """Wait for accepted values of node and camera on ``/diagnostics``; return them."""

        def accepted(message: DiagnosticArray) -> bool:
            return len(message.status) == 2 and accept(*map(values_of, message.status))

        message = self._health.wait(
            accepted, after=len(self._health.messages), deadline_s=PATIENCE_S
        )
        node, camera = map(values_of, message.status)
        return node, camera

    def settled_counts(self) -> tuple[dict[str, int], str]:
        """Wait until all frames are counted as answered, failed or skipped.

        :returns: the frame counts, and the last error.
        """

        def is_settled(_: Values, camera: Values) -> bool:
            counts = frame_counts(camera)
            arrived = counts.pop("in")
            counts.pop("lost on the way")  # these frames never arrived
            return arrived == sum(counts.values())

        _, camera = self.health(is_settled)
        return frame_counts(camera), camera["last error"]


def frame_counts(camera: Values) -> dict[str, int]:
    """Return a camera's frame counts by their names on ``/diagnostics``."""
    return {
        key.removeprefix("frames "): int(value)
        for key, value in camera.items()
        if key.startswith("frames ") and "[" not in key
    }


def read_all(node: Node, outputs: Iterable[Output] = OUTPUTS) -> None:
    """Subscribe to outputs of a frame and discard the messages."""
    for output in outputs:
        topic = f"/clip_surgery/{output.name}"
        node.create_subscription(
            output.message_type, topic, lambda _: None, output.make_qos(), raw=True
        )


@contextmanager
def running_target(context: Context) -> Iterator[Target]:
    """Run an active node and a test node inside the ``with`` block."""
    node = Node("target_listener", context=context)
    with (
        spinning(node, SingleThreadedExecutor(context=context)),
        WatchedProcess(*NODE) as process,
    ):
        process.wait_for_line("active on", START_S)
        yield Target(node, process)
    node.destroy_node()
