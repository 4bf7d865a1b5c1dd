"""One camera of a node: its images in, its results out, and what became of its frames."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.parameters.cameras import CameraTopic
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.complaints import is_of_another_clock
from clip_surgery_ros.ros.endpoints import Publishers, publishers_of
from clip_surgery_ros.ros.outputs import OUTPUTS, Frame, Output
from clip_surgery_ros.ros.rate_limit import RateLimit
from clip_surgery_ros.ros.tally import Tally

CameraImage: TypeAlias = Image | CompressedImage


class Camera:
    """Topics of one camera on a node; its result topics are open as long as it is.

    :param node: makes the publishers and the subscription.
    :param topic: where images come from, and the name that results go below.
    """

    def __init__(self, node: Node, topic: CameraTopic) -> None:
        self._node = node
        self._images: Subscription | None = None
        below = f"~/{topic.name}/" if topic.name else "~/"
        self._publishers: dict[Output, Publisher] = {
            output: qos.open_publisher(node, output.kind, below + output.name, output.quality())
            for output in OUTPUTS
        }
        self.topic = topic
        self.image_topic = node.resolve_topic_name(topic.topic)
        self.rate = RateLimit()
        self.tally = Tally()
        self.newest: CameraImage | None = None
        """The image that arrived last since listening began."""
        self.last_error = ""
        """Why the last frame could not be answered; empty when it was."""
        self.age_s: float | None = None
        """Age of the newest image when it arrived, in seconds; None for one without a stamp."""

    def listen(self, transport: str, arrived: Callable[[Camera, CameraImage], None]) -> None:
        """Open the image topic.

        :param transport: ``raw`` or ``compressed``, which is below the image's name, whatever
            that was remapped to, as image_transport has it.
        :param arrived: called with every image.
        """
        self.tally.reset()
        self.rate = RateLimit()
        self.last_error = ""
        kind = CompressedImage if transport == "compressed" else Image
        self.image_topic = self._node.resolve_topic_name(self.topic.topic)
        if transport == "compressed":
            self.image_topic += "/compressed"

        def keep(message: CameraImage) -> None:
            self.newest = message
            self.tally.count("in")
            arrived(self, message)

        def lost(number: int) -> None:
            self.tally.count("lost on the way", number)

        self._images = qos.open_subscription(
            self._node, kind, self.image_topic, keep, qos.newest_image(), lost
        )
        self.tally.count("listening")

    def took(self, what: str, age_s: float | None) -> None:
        """Count an age in seconds, unless it is none."""
        if age_s is not None and not is_of_another_clock(age_s):
            self.tally.took(what, age_s)

    def publishers(self) -> Publishers:
        """Who publishes its images, while it is listened to."""
        return publishers_of(self._node, self._images) if self._images else Publishers()

    def ignore(self) -> None:
        """Close the image topic; does nothing when it is closed."""
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        self._images, self.newest, self.age_s = None, None, None

    def close(self) -> None:
        """Close all topics."""
        self.ignore()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def subscribed(self) -> tuple[Output, ...]:
        """Results that somebody reads; the others are not computed."""
        return tuple(
            output
            for output, publisher in self._publishers.items()
            if publisher.get_subscription_count()
        )

    def publish(
        self,
        outputs: Collection[Output],
        frame: Frame,
        in_force: Callable[[Callable[[], None]], bool],
    ) -> dict[str, float]:
        """Build all results, then publish them together.

        :param in_force: calls what it is given while the frame's query is in force, and tells
            whether it did. What it waits for waits for the publishing only.
        :return: seconds that each took, by name; empty when nothing was published.
        """
        clock = Stages()
        built: list[tuple[Output, Any]] = []
        for output in outputs:
            with clock.stage(output.name):
                built.append((output, output.build(frame)))

        def publish() -> None:
            for output, message in built:
                with clock.stage(output.name):
                    self._publishers[output].publish(message)

        return clock.seconds if in_force(publish) else {}
