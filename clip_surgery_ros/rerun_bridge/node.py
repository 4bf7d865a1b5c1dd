"""The bridge's ROS node: reads results and what they are about, and logs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.core.errors import ImageError, SpaceError
from clip_surgery_ros.msg import SegmentArray, TrackArray
from clip_surgery_ros.rerun_bridge.archetypes import (
    ON_IMAGE,
    Entities,
    camera_entity,
    camera_model_entities,
    depth_entities,
    image_entities,
    result_entities,
    track_entities,
    transform_entities,
)
from clip_surgery_ros.rerun_bridge.recording import Recording
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.depth_images import metres_of_message
from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb
from clip_surgery_ros.ros.sensor_topic import SensorTopic
from clip_surgery_ros.ros.space_inputs import beside
from clip_surgery_ros.ros.waiting_images import CameraImage, Pictures, stamp_text

NODE_NAME = "clip_surgery_rerun"
WARN_S = 10.0
"""Least time between two warnings about the same, seconds."""


@dataclass(frozen=True)
class Topics:
    """What is read.

    :param node: whose results are logged; a relative name is in the bridge's namespace.
    :param camera: name of the camera, where the node has several; else empty.
    :param image: topic of images; compressed ones end with ``/compressed``.
    :param depth: topic of depth; ``/compressedDepth`` at its end says that it is compressed. Empty
        for none.
    """

    node: str = "clip_surgery"
    camera: str = ""
    image: str = "image_raw"
    depth: str = ""


class BridgeNode(Node):
    """Logs each result with its image; what comes without a result is not logged.

    :param context: of ROS; the process's own by default.
    """

    def __init__(
        self, topics: Topics, recording: Recording, context: Context | None = None
    ) -> None:
        super().__init__(NODE_NAME, context=context)
        self._recording = recording
        self._camera = camera_entity(topics.camera)
        self._pictures = Pictures()
        self._size_hw: tuple[int, int] | None = None
        self._has_logged = False
        self._early: SegmentArray | None = None
        """A result that came before its image. A newer image shows that its own is lost."""
        results = f"{topics.node}/{topics.camera}".rstrip("/")
        self._read(SegmentArray, f"{results}/segments", self._on_result, qos.result)
        self._read(TrackArray, f"{topics.node}/tracks", self._on_tracks, qos.result)
        self._read(TFMessage, "/tf", self._on_transforms, qos.transforms)
        self._read(TFMessage, "/tf_static", self._on_static_transforms, qos.static_transforms)
        kind = CompressedImage if topics.image.endswith("/compressed") else Image
        self._sensor(kind, topics.image, self._on_image, qos.newest_image)
        self._model(topics.image.removesuffix("/compressed"), f"{self._camera}/image", ON_IMAGE)
        if topics.depth:
            kind = CompressedImage if topics.depth.endswith("/compressedDepth") else Image
            self._sensor(kind, topics.depth, self._on_depth, qos.measurements)
            self._model(topics.depth.removesuffix("/compressedDepth"), f"{self._camera}/depth")

    def _read(
        self, kind: type, topic: str, callback: Callable[[Any], None], profile: Callable[[], Any]
    ) -> None:
        qos.open_subscription(self, kind, topic, callback, profile())

    def _sensor(
        self, kind: type, topic: str, callback: Callable[[Any], None], profile: Callable[[], Any]
    ) -> None:
        SensorTopic(self, kind, topic, callback, profile)

    def _model(self, topic: str, entity: str, drawn: Sequence[str] = ()) -> None:
        """Read the camera model of an image topic.

        :param drawn: names of entities that are drawn on the image.
        """
        self._sensor(
            CameraInfo,
            beside(self.resolve_topic_name(topic)),
            lambda info: self._log(camera_model_entities(entity, info, drawn), info.header.stamp),
            qos.measurements,
        )

    def _log(self, entities: Entities, stamp: Time) -> None:
        self._recording.log(entities, self._ns(stamp))

    def _ns(self, stamp: Time) -> int:
        """Return a stamp, or the time of now for an image without a stamp."""
        return stamp.sec * 10**9 + stamp.nanosec or self.get_clock().now().nanoseconds

    def _on_image(self, message: CameraImage) -> None:
        self._pictures.keep(message)
        if self._early is None:
            return
        stamp, waited_for = self._ns(message.header.stamp), self._ns(self._early.header.stamp)
        if stamp < waited_for:
            return
        result, self._early = self._early, None
        self._log_result(result, message if stamp == waited_for else None)

    def _on_result(self, message: SegmentArray) -> None:
        if self._early is not None:
            early, self._early = self._early, None
            self._log_result(early, None)
        image = self._pictures.take(stamp_text(message.header.stamp))
        if image is None:
            self._early = message
        else:
            self._log_result(message, image)

    def _log_result(self, message: SegmentArray, image: CameraImage | None) -> None:
        stamp = message.header.stamp
        if image is not None:
            self._log_image(image)
        self._recording.log_labels(self._camera, tuple(message.query.labels), self._ns(stamp))
        try:
            self._log(result_entities(self._camera, message, self._size_hw), stamp)
        except ValueError as error:
            self._complain(f"a result is left out, it contradicts itself: {error}")
            return
        if not self._has_logged:
            self._has_logged = True
            how = "without" if image is None else "with"
            self.get_logger().info(f"the first result is logged, {how} its image")

    def _log_image(self, message: CameraImage) -> None:
        is_compressed = isinstance(message, CompressedImage)
        try:
            image_rgb = compressed_to_rgb(message) if is_compressed else image_to_rgb(message)
        except ImageError as error:
            self._complain(f"an image is left out: {error}")
            return
        self._size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        self._log(image_entities(self._camera, image_rgb), message.header.stamp)

    def _on_depth(self, message: CameraImage) -> None:
        try:
            metres = metres_of_message(message)
        except (ImageError, SpaceError) as error:
            self._complain(f"a depth image is left out: {error}")
            return
        self._log(depth_entities(self._camera, metres), message.header.stamp)

    def _on_tracks(self, message: TrackArray) -> None:
        self._log(track_entities(message), message.header.stamp)

    def _on_transforms(self, message: TFMessage) -> None:
        for each in message.transforms:
            self._log(transform_entities([each]), each.header.stamp)

    def _on_static_transforms(self, message: TFMessage) -> None:
        self._recording.log_static(transform_entities(message.transforms))

    def _complain(self, sentence: str) -> None:
        self.get_logger().warning(sentence, throttle_duration_sec=WARN_S)
