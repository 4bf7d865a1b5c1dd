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
from clip_surgery_ros.ros.camera_models import LARGEST_DISTORTION, distortion_of, is_rectified
from clip_surgery_ros.ros.depth_images import DepthMessage
from clip_surgery_ros.ros.endpoints import publishers_of
from clip_surgery_ros.ros.input_warnings import is_from_different_clock
from clip_surgery_ros.ros.pairing import FINAL, RETRY_S, Paired, Pairing, lookup, stamp_ns
from clip_surgery_ros.ros.sensor_topic import SensorTopic
from clip_surgery_ros.ros.transforms import Transforms
from clip_surgery_ros.space.pairing import KEEP_NS, StampRing
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.transforms import TransformUnavailable, shown


class DepthInput:
    """The depth topic of a camera, with both camera models.

    :param node: subscribes.
    :param topics: of the camera.
    :param transforms: of the node.
    """

    def __init__(self, node: Node, topics: SpaceTopics, transforms: Transforms) -> None:
        self._node, self._topics, self._transforms = node, topics, transforms
        self._inputs: list[SensorTopic] = []
        self._depth: StampRing[DepthMessage] = StampRing()
        self._camera_info: StampRing[CameraInfo] = StampRing()
        self._depth_info: StampRing[CameraInfo] = StampRing()
        self._rectified = (False, False)
        self._pending: list[Pairing] = []
        self._lock = Lock()
        self._newest_image_ns = 0
        self._failure: Finding | None = None
        self._warnings: tuple[str, ...] = ()
        self._info_topic = self._depth_info_topic = ""
        self.topic = ""
        """The depth topic, after remapping."""
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
        depth = resolve(topics.depth)
        info = resolve(topics.camera_info) if topics.camera_info else beside(image_topic)
        depth_info = resolve(topics.depth_info) if topics.depth_info else beside(depth)
        self._info_topic, self._depth_info_topic = info, depth_info
        self.topic = f"{depth}/compressedDepth" if topics.compressed else depth
        self._rectified = is_rectified(image_topic), is_rectified(depth)
        kind = CompressedImage if topics.compressed else Image
        rows: list[tuple[type, str, list[StampRing[Any]]]] = [
            (kind, self.topic, [self._depth]),
            (CameraInfo, info, [self._camera_info]),
        ]
        if depth_info == info:
            rows[1][2].append(self._depth_info)
        else:
            rows.append((CameraInfo, depth_info, [self._depth_info]))
        self._inputs = [self._subscribe(*row) for row in rows]

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
        for ring in (self._depth, self._camera_info, self._depth_info):
            ring.clear()
        self._failure, self._warnings, self._newest_image_ns = None, (), 0

    def close(self) -> None:
        """Unsubscribe for good."""
        self.stop()
        self._node.destroy_timer(self._timer)

    @property
    def is_pairing(self) -> bool:
        """Whether something that belongs to an image is still waited for."""
        with self._lock:
            return bool(self._pending)

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest depth image, nanoseconds; -1 before the first."""
        return self._depth.newest_ns

    def pair(self, header: Header, config: Config) -> Pairing:
        """Return what belongs to an image that has just arrived; never waits."""
        self._notice_set_back_clock(stamp_ns(header))
        pairing = Pairing(header, config, self._look)
        if not pairing.attempt():
            with self._lock:
                self._pending.append(pairing)
                self._timer.reset()
        return pairing

    def _notice_set_back_clock(self, image_ns: int) -> None:
        """Have transforms begin anew when images do, as with a bag that is played in a loop.

        The transforms of before would keep out the new ones, which are older. Simulated time
        tells it too, but bags are played without.
        """
        if 0 < image_ns < self._newest_image_ns - KEEP_NS:
            self._transforms.forget_moving()
        self._newest_image_ns = image_ns or self._newest_image_ns

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
        stamp, skew_s = stamp_ns(pairing.header), pairing.config.depth_max_skew
        # A later depth image may be nearer, until one is not older than the image.
        if not is_over and self._depth.newest_ns < stamp:
            return None
        depth = self._depth.within(stamp, round(skew_s * 1e9))
        camera_info = self._camera_info.nearest(stamp)
        found = Paired(
            pairing.header,
            pairing.config.target_frame or pairing.header.frame_id,
            depth=depth.value if depth else None,
            camera_info=camera_info.value if camera_info else None,
            rectified=self._rectified,
        )
        if depth is None:
            found = replace(found, failure=self._no_depth(stamp, skew_s))
        elif camera_info is None:
            text = f"no camera model has arrived on {self._info_topic}"
            found = replace(found, failure=Finding(Reason.NO_CAMERA_INFO, text))
        else:
            self._check(camera_info.value, found.header.frame_id)
            found = self._with_transforms(found, depth.value.header.frame_id)
        is_final = found.failure is None or found.failure.reason in FINAL
        return found if is_final or is_over else None

    def _with_transforms(self, found: Paired, depth_frame: str) -> Paired:
        """Return what was found with the depth camera's model and both transforms."""
        header, own = found.header, found.header.frame_id
        depth_info = self._depth_info.nearest(stamp_ns(header))
        if depth_info is not None:
            found = replace(found, depth_info=depth_info.value)
        elif depth_frame not in ("", own):
            text = (
                f"depth is of the frame {shown(depth_frame)}, not of the image's {shown(own)}, "
                f"and no camera model of it has arrived on {self._depth_info_topic}; name it in "
                "depth_info_topics, or have the driver align depth to colour "
                "(align_depth.enable:=true)"
            )
            return replace(found, depth=None, failure=Finding(Reason.NO_CAMERA_INFO, text))
        try:
            to_image = lookup(self._transforms, own, depth_frame or own, header)
        except TransformUnavailable as error:
            return replace(found, depth=None, failure=error.finding)
        found = replace(found, depth_to_image=to_image)
        try:
            return replace(found, to_target=lookup(self._transforms, found.frame, own, header))
        except TransformUnavailable as error:
            return replace(found, failure=error.finding)

    def _no_depth(self, stamp: int, skew_s: float) -> Finding:
        """Return why there is no depth for an image."""
        nearest = self._depth.nearest(stamp)
        if nearest is None:
            return Finding(Reason.NO_DEPTH, f"no depth image has arrived on {self.topic}")
        away_s = abs(nearest.stamp_ns - stamp) / 1e9
        if is_from_different_clock(away_s):
            text = (
                f"depth on {self.topic} is stamped {away_s:.0f} s away from the image, so by "
                "another clock; set the clocks of both machines, or have one driver stamp both"
            )
            return Finding(Reason.CLOCK, text)
        text = (
            f"the nearest depth image on {self.topic} is {away_s:.3f} s away from the image, and "
            f"{skew_s:g} s are allowed (depth_max_skew)"
        )
        return Finding(Reason.NO_DEPTH, text)

    def _check(self, info: CameraInfo, frame: str) -> None:
        """Keep warnings about a camera model that is used nevertheless."""
        topic, found = self._info_topic, []
        if info.header.frame_id not in ("", frame):
            found.append(
                f"{topic} is of the frame {shown(info.header.frame_id)}, and the images are of "
                f"{shown(frame)}: places in space are wrong if it is another camera's; name the "
                "right topic in camera_info_topics"
            )
        moved = 0.0 if self._rectified[0] else distortion_of(info)
        if moved > LARGEST_DISTORTION:
            found.append(
                f"the lens moves the picture's border by up to {moved:.0f} pixels ({topic}), "
                "which places in space leave out; use the rectified topic, such as image_rect"
            )
        self._warnings = tuple(found)


def beside(topic: str) -> str:
    """Return where image_transport has the camera model of an image topic.

    >>> beside("/camera/color/image_raw")
    '/camera/color/camera_info'
    """
    return f"{topic.rpartition('/')[0]}/camera_info"
