"""Depth images and camera models by stamp, and what of them belongs to an image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from clip_surgery_ros.parameters.cameras import COMPRESSED_DEPTH, SpaceTopics
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.camera_models import is_rectified
from clip_surgery_ros.ros.depth_images import DepthMessage
from clip_surgery_ros.ros.input_warnings import is_from_different_clock
from clip_surgery_ros.ros.pairing import FINAL, Paired, lookup, stamp_ns
from clip_surgery_ros.ros.transforms import Transforms
from clip_surgery_ros.space.pairing import KEEP_NS, StampRing
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.transforms import TransformUnavailable, shown


class SpaceInputs:
    """The newest depth images and camera models of a camera.

    :param image_topic: without the suffix of a transport.
    :param topics: of the camera, as they are called in the end.
    :param transforms: of all frames.
    """

    def __init__(self, image_topic: str, topics: SpaceTopics, transforms: Transforms) -> None:
        depth = topics.depth
        self._transforms = transforms
        self.depth_topic = depth_topic(topics)
        self.info_topic = topics.camera_info or beside(image_topic)
        self.depth_info_topic = topics.depth_info or beside(depth)
        self.rectified = is_rectified(image_topic), is_rectified(depth)
        self.depth: StampRing[DepthMessage] = StampRing()
        self.camera_info: StampRing[CameraInfo] = StampRing()
        self.depth_info: StampRing[CameraInfo] = StampRing()
        self._newest_image_ns = 0

    @property
    def topics(self) -> dict[str, list[StampRing[Any]]]:
        """The rings that the messages of each topic belong to, depth first."""
        found: dict[str, list[StampRing[Any]]] = {self.depth_topic: [self.depth]}
        found.setdefault(self.info_topic, []).append(self.camera_info)
        found.setdefault(self.depth_info_topic, []).append(self.depth_info)
        return found

    def clear(self) -> None:
        """Forget all messages."""
        for ring in (self.depth, self.camera_info, self.depth_info):
            ring.clear()
        self._newest_image_ns = 0

    def begin(self, image_ns: int) -> None:
        """Take note of the stamp of a new image, nanoseconds.

        Transforms begin anew when images do, as with a bag that is played in a loop: those of
        before would keep out the new ones, which are older. Simulated time tells it too, but bags
        are played without.
        """
        if 0 < image_ns < self._newest_image_ns - KEEP_NS:
            self._transforms.forget_moving()
        self._newest_image_ns = image_ns or self._newest_image_ns

    def find(self, header: Header, config: Config, is_over: bool) -> Paired | None:
        """Return what belongs to an image.

        :param header: of the image.
        :param is_over: whether nothing more will come.
        :return: None to look again when more has come.
        """
        stamp, skew_s = stamp_ns(header), config.depth_max_skew
        # A later depth image may be nearer, until one is not older than the image.
        if not is_over and self.depth.newest_ns < stamp:
            return None
        depth = self.depth.within(stamp, round(skew_s * 1e9))
        camera_info = self.camera_info.nearest(stamp)
        found = Paired(
            header,
            config.target_frame or header.frame_id,
            depth=depth.value if depth else None,
            camera_info=camera_info.value if camera_info else None,
            rectified=self.rectified,
        )
        if depth is None:
            found = replace(found, failure=self._no_depth(stamp, skew_s))
        elif camera_info is None:
            text = f"no camera model has arrived on {self.info_topic}"
            found = replace(found, failure=Finding(Reason.NO_CAMERA_INFO, text))
        else:
            found = self._with_transforms(found, depth.value.header.frame_id)
        is_final = found.failure is None or found.failure.reason in FINAL
        return found if is_final or is_over else None

    def _with_transforms(self, found: Paired, depth_frame: str) -> Paired:
        """Return what was found with the depth camera's model and both transforms."""
        header, own = found.header, found.header.frame_id
        depth_info = self.depth_info.nearest(stamp_ns(header))
        if depth_info is not None:
            found = replace(found, depth_info=depth_info.value)
        elif depth_frame not in ("", own):
            text = (
                f"depth is of the frame {shown(depth_frame)}, not of the image's {shown(own)}, "
                f"and no camera model of it has arrived on {self.depth_info_topic}; name it in "
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
        nearest = self.depth.nearest(stamp)
        if nearest is None:
            text = f"no depth image has arrived on {self.depth_topic}"
            return Finding(Reason.NO_DEPTH, text)
        away_s = abs(nearest.stamp_ns - stamp) / 1e9
        if is_from_different_clock(away_s):
            text = (
                f"depth on {self.depth_topic} is stamped {away_s:.0f} s away from the image, so "
                "by another clock; set the clocks of both machines, or have one driver stamp both"
            )
            return Finding(Reason.CLOCK, text)
        text = (
            f"the nearest depth image on {self.depth_topic} is {away_s:.3f} s away from the "
            f"image, and {skew_s:g} s are allowed (depth_max_skew)"
        )
        return Finding(Reason.NO_DEPTH, text)


def depth_topic(topics: SpaceTopics) -> str:
    """Return the topic that has the depth images.

    >>> depth_topic(SpaceTopics("/camera/depth/image_raw", compressed=True))
    '/camera/depth/image_raw/compressedDepth'
    """
    return f"{topics.depth}/{COMPRESSED_DEPTH}" if topics.compressed else topics.depth


def beside(topic: str) -> str:
    """Return where image_transport has the camera model of an image topic.

    >>> beside("/camera/color/image_raw")
    '/camera/color/camera_info'
    """
    return f"{topic.rpartition('/')[0]}/camera_info"
