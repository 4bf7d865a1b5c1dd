"""The node's own process, and a program beside it that shows it a scene and reads its health."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from clip_surgery_ros.msg import SegmentArray
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros.footprint import Watched
from ros.harness import NODE, START_S, Inbox, call, spinning, wait_for_reader
from ros.known_scene import LEAST_IOU, known_scene, overlaps
from ros.rig import values_of
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.outputs import OUTPUTS

PATIENCE_S = 90.0
"""Until an answer is there, behind whatever work the node was given before."""
RESENDS = 6
"""A frame without an answer after ``PATIENCE_S / RESENDS`` was lost: images are best effort."""

Values = dict[str, str]
"""Of a diagnostic status, by key."""


class Target:
    """A running node, with everything that it publishes read by somebody.

    :param node: the program beside it.
    :param process: the node's own.
    """

    def __init__(self, node: Node, process: Watched) -> None:
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
        """Put a query in force; returns its sequence number."""
        answer = self.call(SetQuery, "set_query", SetQuery.Request(labels=list(labels)))
        assert answer.success, answer.message
        return answer.sequence

    def picture(self) -> Image:
        """The scene as a camera would send it now."""
        header = Header(frame_id=f"camera {next(self._numbers)}")
        header.stamp = self.node.get_clock().now().to_msg()
        return image_message(self.scene.image, "rgb8", header)

    def answer_to(self, make: Callable[[], Image]) -> SegmentArray:
        """Show an image until its own answer comes."""
        for _ in range(RESENDS):
            with suppress(AssertionError):
                return self._shown(make())
        raise AssertionError(f"no answer to an image within {PATIENCE_S} s")

    def _shown(self, image: Image) -> SegmentArray:
        before = len(self._segments.messages)
        self.images.publish(image)
        return self._segments.wait(
            lambda message: message.header == image.header,
            after=before,
            deadline_s=PATIENCE_S / RESENDS,
        )

    def check_well(self) -> None:
        """It answers a good frame and a good query with the right masks."""
        sequence = self.ask(*self.scene.names)
        message = self.answer_to(self.picture)
        assert message.query.sequence == sequence
        found = overlaps(message, self.scene)
        assert min(found.values()) > LEAST_IOU, found

    def health(
        self, accept: Callable[[Values, Values], bool] = lambda node, camera: True
    ) -> tuple[Values, Values]:
        """The next accepted values of the node and its camera on ``/diagnostics``."""

        def accepted(message: DiagnosticArray) -> bool:
            return len(message.status) == 2 and accept(*map(values_of, message.status))

        message = self._health.wait(
            accepted, after=len(self._health.messages), deadline_s=PATIENCE_S
        )
        node, camera = map(values_of, message.status)
        return node, camera

    def settled(self) -> tuple[dict[str, int], str]:
        """What became of all frames, once each was answered, failed or left out; the last error.

        One that is in none of the counts would never be: then this fails.
        """

        def is_settled(_: Values, camera: Values) -> bool:
            counts = frame_counts(camera)
            arrived = counts.pop("in")
            counts.pop("lost on the way")  # these never came in
            return arrived == sum(counts.values())

        _, camera = self.health(is_settled)
        return frame_counts(camera), camera["last error"]


def frame_counts(camera: Values) -> dict[str, int]:
    """What became of a camera's frames, by what it is called on ``/diagnostics``."""
    return {
        key.removeprefix("frames "): int(value)
        for key, value in camera.items()
        if key.startswith("frames ") and "[" not in key
    }


def read_all(node: Node) -> None:
    """Read everything that the node publishes of a frame, and keep nothing."""
    for output in OUTPUTS:
        topic = f"/clip_surgery/{output.name}"
        node.create_subscription(
            output.message_type, topic, lambda _: None, output.make_qos(), raw=True
        )


@contextmanager
def running_target(context: Context) -> Iterator[Target]:
    """Start the node, active, and the program beside it."""
    node = Node("target_listener", context=context)
    with (
        spinning(node, SingleThreadedExecutor(context=context)),
        Watched(*NODE) as process,
    ):
        process.wait_for_line("active on", START_S)
        yield Target(node, process)
    node.destroy_node()
