"""A camera of the node: its image topic, its result topics and the counts of its frames."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.msg import TrackArray
from clip_surgery_ros.parameters.cameras import CameraTopic
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.depth_input import DepthInput
from clip_surgery_ros.ros.endpoints import Publishers, publishers_of
from clip_surgery_ros.ros.input_warnings import is_from_different_clock
from clip_surgery_ros.ros.outputs import TRACKS, Frame, Output, outputs_of
from clip_surgery_ros.ros.rate_limit import RateLimit
from clip_surgery_ros.ros.sensor_topic import SensorTopic
from clip_surgery_ros.ros.tally import Tally
from clip_surgery_ros.ros.transforms import Transforms

CameraImage: TypeAlias = Image | CompressedImage


class Camera:
    """The topics of one camera. Its result topics are open until :meth:`close`.

    :param node: makes the publishers and the subscription.
    :param transforms: of the node.
    :param topic: the image topic, and the name of the camera, which is part of its result topics.
    """

    def __init__(self, node: Node, transforms: Transforms, topic: CameraTopic) -> None:
        self._node = node
        self._images: SensorTopic | None = None
        prefix = f"~/{topic.name}/" if topic.name else "~/"
        self._publishers: dict[Output, Publisher] = {
            output: qos.open_publisher(
                node,
                output.message_type,
                output.name if output.name.startswith(("/", "~/")) else prefix + output.name,
                output.make_qos(),
            )
            for output in outputs_of(topic)
        }
        self.depth = None if topic.space is None else DepthInput(node, topic.space, transforms)
        """What places its objects in space; None for a camera without depth."""
        self.topic = topic
        self.image_topic = node.resolve_topic_name(topic.topic)
        self.rate = RateLimit()
        self.tally = Tally()
        self.newest_image: CameraImage | None = None
        """The image that arrived last since :meth:`listen`."""
        self.told_ns = -1
        """Stamp of the last image without results at which remembered objects were published."""
        self.last_error = ""
        """Why the last frame could not be processed; empty when it was."""
        self.age_s: float | None = None
        """Age of the newest image when it arrived, in seconds; None for one without a stamp."""

    def listen(self, transport: str, on_image: Callable[[Camera, CameraImage], None]) -> None:
        """Subscribe to the image topic.

        :param transport: ``raw``, or ``compressed``: as in image_transport, that topic is below
            the name of the image topic, after remapping.
        :param on_image: called with every image.
        """
        self.tally.reset()
        self.rate = RateLimit()
        self.last_error = ""
        is_compressed = transport == "compressed"
        self.image_topic = self._node.resolve_topic_name(self.topic.topic)
        if self.depth is not None:
            self.depth.listen(self.image_topic)
        if is_compressed:
            self.image_topic += "/compressed"

        def on_message(message: CameraImage) -> None:
            self.newest_image = message
            self.tally.count("in")
            on_image(self, message)

        def on_lost(number: int) -> None:
            self.tally.count("lost on the way", number)

        self._images = SensorTopic(
            self._node,
            CompressedImage if is_compressed else Image,
            self.image_topic,
            on_message,
            qos.newest_image,
            on_lost,
        )
        self.tally.count("listening")

    def record_age(self, name: str, age_s: float | None) -> None:
        """Keep an age in seconds, unless it is unknown or measured with different clocks."""
        if age_s is not None and not is_from_different_clock(age_s):
            self.tally.record(name, age_s)

    def publishers(self) -> Publishers:
        """Return the publishers of its images; none while the image topic is closed."""
        if self._images is None:
            return Publishers()
        return publishers_of(self._node, self._images.subscription)

    def stop_listening(self) -> None:
        """Close the image topic; does nothing when it is closed."""
        if self._images is not None:
            self._images.close()
        if self.depth is not None:
            self.depth.stop()
        self._images, self.newest_image, self.age_s = None, None, None

    def close(self) -> None:
        """Close all topics."""
        self.stop_listening()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}
        if self.depth is not None:
            self.depth.close()
            self.depth = None

    def subscribed_outputs(self) -> tuple[Output, ...]:
        """Return the results that have a subscriber; the others are not computed."""
        return tuple(
            output
            for output, publisher in self._publishers.items()
            if publisher.get_subscription_count()
        )

    def publish_tracks(self, make_message: Callable[[], TrackArray]) -> None:
        """Publish all objects that are remembered, without a result, if that has a subscriber.

        :param make_message: called only if it has one.
        """
        publisher = self._publishers.get(TRACKS)
        if publisher is not None and publisher.get_subscription_count():
            publisher.publish(make_message())

    def publish(
        self,
        outputs: Collection[Output],
        frame: Frame,
        publish_if_current: Callable[[Callable[[], None]], bool],
    ) -> dict[str, float]:
        """Build all messages of a frame, then publish them together.

        :param publish_if_current: calls its argument, which publishes, if the frame's query is
            still in force, and returns whether it did. It may wait; the building does not.
        :return: seconds for each output, by name; empty when nothing was published.
        """
        stages = Stages()
        messages: list[tuple[Output, Any]] = []
        for output in outputs:
            with stages.stage(output.name):
                message = output.build(frame)
            if message is not None:
                messages.append((output, message))

        def publish() -> None:
            for output, message in messages:
                with stages.stage(output.name):
                    self._publishers[output].publish(message)

        return stages.seconds if publish_if_current(publish) else {}
