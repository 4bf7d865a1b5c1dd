"""The depth topic of a camera with its camera models, and what of them belongs to an image."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.parameters.cameras import SpaceTopics
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.camera_models import LARGEST_DISTORTION, distortion_of
from clip_surgery_ros.ros.endpoints import publishers_of
from clip_surgery_ros.ros.pairing import RETRY_S, Paired, Pairing, stamp_ns
from clip_surgery_ros.ros.sensor_topic import SensorTopic
from clip_surgery_ros.ros.space_inputs import SpaceInputs
from clip_surgery_ros.ros.transforms import Transforms
from clip_surgery_ros.space.pairing import StampRing
from clip_surgery_ros.space.reasons import Finding
from clip_surgery_ros.space.transforms import shown


class DepthInput:
    """The depth topic of a camera, with both camera models.

    :param node: subscribes.
    :param topics: of the camera.
    :param transforms: of the node.
    """

    def __init__(self, node: Node, topics: SpaceTopics, transforms: Transforms) -> None:
        self._node, self._topics, self._transforms = node, topics, transforms
        self._inputs: list[SensorTopic] = []
        self._found = SpaceInputs("", topics, transforms)
        self._pending: list[Pairing] = []
        self._lock = Lock()
        self._failure: Finding | None = None
        self._warnings: tuple[str, ...] = ()
        self._timer = node.create_timer(
            RETRY_S, self._retry, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._timer.cancel()

    def listen(self, image_topic: str) -> None:
        """Subscribe to depth and camera models.

        :param image_topic: after remapping, without the suffix of a transport.
        """
        self.stop()
        topics, resolve = self._topics, self._node.resolve_topic_name
        resolved = replace(
            topics,
            depth=resolve(topics.depth),
            camera_info=resolve(topics.camera_info) if topics.camera_info else "",
            depth_info=resolve(topics.depth_info) if topics.depth_info else "",
        )
        self._found = SpaceInputs(image_topic, resolved, self._transforms)
        kind = CompressedImage if topics.compressed else Image
        self._inputs = [
            self._subscribe(kind if topic == self.topic else CameraInfo, topic, rings)
            for topic, rings in self._found.topics.items()
        ]

    def _subscribe(self, kind: type, topic: str, rings: list[StampRing[Any]]) -> SensorTopic:
        def keep(message: Any) -> None:
            for ring in rings:
                ring.add(stamp_ns(message.header), message)

        return SensorTopic(self._node, kind, topic, keep, qos.measurements)

    def stop(self) -> None:
        """Unsubscribe and forget everything; does nothing when not subscribed."""
        with self._lock:
            self._timer.cancel()
            self._pending = []
        for each in self._inputs:
            each.close()
        self._inputs = []
        self._found.clear()
        self._failure, self._warnings = None, ()

    def close(self) -> None:
        """Unsubscribe for good."""
        self.stop()
        self._node.destroy_timer(self._timer)

    @property
    def topic(self) -> str:
        """The depth topic, after remapping."""
        return self._found.depth_topic

    @property
    def is_pairing(self) -> bool:
        """Whether something that belongs to an image is still waited for."""
        with self._lock:
            return bool(self._pending)

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest depth image, nanoseconds; -1 before the first."""
        return self._found.depth.newest_ns

    def pair(self, header: Header, config: Config) -> Pairing:
        """Return what belongs to an image that has just arrived; never waits."""
        self._found.begin(stamp_ns(header))
        pairing = Pairing(header, config, self._look)
        if not pairing.attempt():
            with self._lock:
                self._pending.append(pairing)
                self._timer.reset()
        return pairing

    def report(self, failure: Finding | None) -> None:
        """Keep why the last image could not be placed in space, for diagnostics.

        The words of a failure that goes on stay those of its beginning.
        """
        known = self._failure
        if failure is None or known is None or failure.reason != known.reason:
            self._failure = failure

    def warnings(self) -> list[str]:
        """Return what is wrong with depth, camera models and transforms, the worst first."""
        if not self._inputs:
            return []
        found = []
        for subscription in (each.subscription for each in self._inputs[:2]):
            publishers = publishers_of(self._node, subscription)
            nobody = f"nobody publishes {subscription.topic_name}: no object has a place in space"
            if not publishers.matched:
                found.append(publishers.mismatch or nobody)
        if self._failure is not None:
            found.append(f"no object has a place in space: {self._failure.text}")
        return [*found, *self._warnings]

    def _retry(self) -> None:
        """Look for what is still missing; the timer stops when nothing is."""
        with self._lock:
            self._pending = [pairing for pairing in self._pending if not pairing.attempt()]
            if not self._pending:
                self._timer.cancel()

    def _look(self, pairing: Pairing, is_over: bool) -> Paired | None:
        """Return what belongs to an image; None to look again later."""
        found = self._found.find(pairing.header, pairing.config, is_over)
        if found is not None and found.camera_info is not None:
            self._check(found.camera_info, found.header.frame_id)
        return found

    def _check(self, info: CameraInfo, frame: str) -> None:
        """Keep warnings about a camera model that is used nevertheless."""
        topic, found = self._found.info_topic, []
        if info.header.frame_id not in ("", frame):
            found.append(
                f"{topic} is of the frame {shown(info.header.frame_id)}, and the images are of "
                f"{shown(frame)}: places in space are wrong if it is another camera's; name the "
                "right topic in camera_info_topics"
            )
        moved = 0.0 if self._found.rectified[0] else distortion_of(info)
        if moved > LARGEST_DISTORTION:
            found.append(
                f"the lens moves the picture's border by up to {moved:.0f} pixels ({topic}), "
                "which places in space leave out; use the rectified topic, such as image_rect"
            )
        self._warnings = tuple(found)
