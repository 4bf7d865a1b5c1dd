"""A known scene for the node: a board in front of a wall, seen by a camera that moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from clip_surgery_ros.msg import SegmentArray
from numpy.typing import NDArray
from ros.fakes import FakeEngine, frame_result
from ros.harness import wait_for_reader
from ros.rig import Rig
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Query, Wanted
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.camera_messages import camera_info, depth_message, transform
from clip_surgery_ros.ros.images import image_message

S = 1_000_000_000
SIZE_HW = (48, 64)
FOCAL, CENTRE = 50.0, (31.5, 23.5)
BOARD = Box(x=22, y=16, width=20, height=16)
"""The board in the picture: in its middle."""
NEAR, FAR = 0.8, 1.2
"""Depth of board and wall, metres."""
WIDTH, HEIGHT = 20 / FOCAL * NEAR, 16 / FOCAL * NEAR
"""Of the board, metres: 0.32 x 0.256."""
FRAME = "camera"


def depth_image() -> NDArray[np.float32]:
    """(48, 64) metres."""
    depth = np.full(SIZE_HW, FAR, np.float32)
    depth[BOARD.y : BOARD.y + BOARD.height, BOARD.x : BOARD.x + BOARD.width] = NEAR
    return depth


class BoardEngine(FakeEngine):
    """Finds the board, by its true mask."""

    def run(self, image_rgb: np.ndarray, query: Query, wanted: Wanted) -> FrameResult:
        """Record the request and answer it."""
        super().run(image_rgb, query, wanted)
        result = frame_result(query, image_rgb.shape[:2])
        height, width = image_rgb.shape[:2]
        scale = width // SIZE_HW[1]
        box = Box(*(scale * n for n in (BOARD.x, BOARD.y, BOARD.width, BOARD.height)))
        found = replace(
            result.segments[0],
            box=box,
            mask=np.ones((box.height, box.width), np.bool_),
            points=PointPrompts(np.array([[width // 2, height // 2]], np.int32), np.array([True])),
        )
        return replace(result, segments=(found,))


def stamp(ns: int) -> Time:
    return Time(sec=ns // S, nanosec=ns % S)


def moved(x: float = 0.0) -> NDArray[np.float64]:
    """(4, 4) a camera that stands x to the side, and looks along z."""
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


class DepthScene:
    """Publishes what a depth camera and a robot do.

    :param rig: whose node listens; it is active and asked.
    """

    def __init__(self, rig: Rig, depth_frame: str = FRAME, compressed: bool = False) -> None:
        self.rig, self.depth_frame, self._compressed = rig, depth_frame, compressed
        node = rig.outside
        kind, end = (CompressedImage, "/compressedDepth") if compressed else (Image, "")
        self.depth = node.create_publisher(kind, f"depth/image_raw{end}", 10)
        self.infos = [
            node.create_publisher(CameraInfo, name, 10)
            for name in ("camera_info", "depth/camera_info")
        ]
        self.tf = node.create_publisher(TFMessage, "/tf", qos.transforms())
        self.tf_static = node.create_publisher(TFMessage, "/tf_static", qos.latched())
        for publisher in (self.depth, *self.infos, rig.images):
            wait_for_reader(publisher)
        self.now_ns = node.get_clock().now().nanoseconds

    def at(self, seconds: float) -> int:
        """A stamp so many seconds after the scene began, nanoseconds."""
        return self.now_ns + round(seconds * S)

    def send_depth(self, ns: int, metres: NDArray[np.float32] | None = None) -> None:
        header = Header(stamp=stamp(ns), frame_id=self.depth_frame)
        metres = depth_image() if metres is None else metres
        message = depth_message(metres, "16UC1", header)
        if self._compressed:
            pixels = np.frombuffer(message.data, np.uint16).reshape(metres.shape)
            data = bytes(12) + cv2.imencode(".png", pixels)[1].tobytes()
            message = CompressedImage(
                header=header, format="16UC1; compressedDepth png", data=data
            )
        self.depth.publish(message)

    def send_info(self, ns: int, focal: float = FOCAL) -> None:
        matrix = np.array([[focal, 0, CENTRE[0]], [0, focal, CENTRE[1]], [0, 0, 1]])
        for publisher, frame in zip(self.infos, (FRAME, self.depth_frame), strict=True):
            header = Header(stamp=stamp(ns), frame_id=frame)
            publisher.publish(camera_info(matrix, SIZE_HW[1], SIZE_HW[0], header))

    def send_pose(self, ns: int, x: float) -> None:
        """Where the camera is in the map."""
        wait_for_reader(self.tf)
        self.tf.publish(TFMessage(transforms=[transform(moved(x), "map", FRAME, stamp(ns))]))

    def send_image(self, ns: int) -> Header:
        header = Header(stamp=stamp(ns), frame_id=FRAME)
        pixels = np.zeros((*SIZE_HW, 3), np.uint8)
        pixels[..., 0] = 200
        self.rig.images.publish(image_message(pixels, "rgb8", header))
        return header

    def send(self, ns: int) -> Header:
        """Send depth, models and then the image, as cameras do."""
        self.send_info(ns)
        self.send_depth(ns)
        return self.send_image(ns)


def of(header: Header) -> Callable[[object], bool]:
    """Accepts messages about an image."""
    return lambda message: message.header.stamp == header.stamp


def centre_x(message: Detection3DArray) -> float:
    (detection,) = message.detections
    return detection.bbox.center.position.x


def reason_of(message: SegmentArray) -> tuple[str, str]:
    (segment,) = message.segments
    assert not segment.place.has_box
    return segment.place.reason, segment.place.message
