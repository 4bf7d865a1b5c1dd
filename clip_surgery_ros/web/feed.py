"""What is read of one camera: its images and the node's results about them, joined by stamp."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.msg import HeatmapArray, SegmentArray
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.input_warnings import is_from_different_clock
from clip_surgery_ros.ros.sensor_topic import SensorTopic
from clip_surgery_ros.ros.waiting_images import CameraImage, Pictures, stamp_text
from clip_surgery_ros.web.content import (
    framed,
    heatmaps_content,
    jpeg_of,
    result_content,
)

LIVE_HZ = 10.0
"""Pictures without results are sent so often at most."""
SILENT_S = 2.0
"""Pictures without results are sent when no result came for so long, seconds, or for three times
the time between the last results, if that is more."""
LONGEST_SILENT_S = 20.0


class CameraFeed:
    """The topics of one camera, open while somebody looks at them. All on the executor's thread.

    :param node: makes the subscriptions.
    :param results: the prefix of the result topics, such as ``/clip_surgery/front``.
    :param image_topic: which the node reads.
    :param send: takes a channel and its new message.
    """

    def __init__(
        self, node: Node, results: str, image_topic: str, send: Callable[[str, bytes], None]
    ) -> None:
        self._node, self._results, self._send = node, results, send
        self.image_topic = image_topic
        self.has_query = False
        """Whether results can be expected."""
        self._images: SensorTopic | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._pictures = Pictures()
        self._early: dict[str, Any] | None = None
        """A result that came before its image, which may be on its way or lost."""
        self._result_s, self._interval_s, self._live_s = -1e9, 0.0, -1e9

    def show(self, channels: Collection[str]) -> None:
        """Open what is looked at, and close everything else."""
        wanted: dict[str, tuple[type, Callable[[Any], None]]] = {
            "frame": (SegmentArray, self._on_result),
            "heatmaps": (HeatmapArray, self._on_heatmaps),
        }
        for channel in [*self._subscriptions]:
            if channel not in channels:
                self._node.destroy_subscription(self._subscriptions.pop(channel))
        for channel in channels:
            if channel not in self._subscriptions:
                kind, callback = wanted[channel]
                topic = f"{self._results}/{'segments' if channel == 'frame' else channel}"
                self._subscriptions[channel] = self._node.create_subscription(
                    kind, topic, callback, qos.result()
                )
        self._show_images("frame" in channels)

    def _show_images(self, is_wanted: bool) -> None:
        if is_wanted and self._images is None:
            kind, topic = self._image_source()
            self._images = SensorTopic(self._node, kind, topic, self._on_image, qos.newest_image)
            self._result_s = time.monotonic()
        elif not is_wanted and self._images is not None:
            self._images.close()
            self._images, self._pictures, self._early = None, Pictures(), None

    def _image_source(self) -> tuple[type, str]:
        """Return type and topic of the images; compressed ones where there are any."""
        topic = self.image_topic
        for name in (topic, f"{topic}/compressed"):
            for endpoint in self._node.get_publishers_info_by_topic(name):
                if endpoint.topic_type == "sensor_msgs/msg/CompressedImage":
                    return CompressedImage, name
        return Image, topic

    def _on_image(self, message: CameraImage) -> None:
        self._pictures.keep(message)
        self._send_early(message)
        now_s = time.monotonic()
        if self._expects_result(now_s) or now_s - self._live_s < 1 / LIVE_HZ:
            return
        self._live_s = now_s
        content = {
            "stamp": stamp_text(message.header.stamp),
            "frame_id": message.header.frame_id,
            "query": None,
        }
        self._send_frame(content, message)

    def _send_early(self, image: CameraImage) -> None:
        """Send the result that waits, with its image, or without if that was lost."""
        if self._early is not None:
            is_its_own = stamp_text(image.header.stamp) == self._early["stamp"]
            content, self._early = self._early, None
            self._send_frame(content, image if is_its_own else None)

    def _expects_result(self, now_s: float) -> bool:
        patience_s = min(max(SILENT_S, 3 * self._interval_s), LONGEST_SILENT_S)
        return self.has_query and now_s - self._result_s < patience_s

    def _on_result(self, message: SegmentArray) -> None:
        now_s = time.monotonic()
        self._interval_s, self._result_s = now_s - self._result_s, now_s
        try:
            content = result_content(message)
        except ValueError as error:
            self._complain(error)
            return
        image = self._pictures.take(content["stamp"])
        self._early = content if image is None else None
        if image is not None:
            self._send_frame(content, image)

    def _send_frame(self, content: dict[str, Any], image: CameraImage | None) -> None:
        picture, content["width"], content["height"], content["picture_error"] = b"", 0, 0, ""
        try:
            if image is not None:
                picture, content["width"], content["height"] = jpeg_of(image)
        except ImageError as error:
            content["picture_error"] = str(error)
        content["type"] = "frame"
        content["age"] = self._age_s(content["stamp"])
        self._send("frame", framed(content, picture))

    def _age_s(self, stamp: str) -> float | None:
        """Return the age of an image, seconds; None for one of another clock."""
        age_s = self._node.get_clock().now().nanoseconds / 1e9 - float(stamp)
        return None if is_from_different_clock(age_s) else round(age_s, 3)

    def _on_heatmaps(self, message: HeatmapArray) -> None:
        try:
            content = heatmaps_content(message)
        except ValueError as error:
            self._complain(error)
            return
        self._send("heatmaps", framed({"type": "heatmaps", **content}))

    def _complain(self, error: ValueError) -> None:
        """Log that a message contradicts itself, as of another program with the node's name."""
        self._node.get_logger().warning(
            f"a message below {self._results} is left out, it contradicts itself: {error}",
            throttle_duration_sec=10.0,
        )
