"""Bags with pictures of the recorded orbit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.ros.camera_messages import (
    camera_info,
    colour_message,
    depth_message,
    transform,
)
from clip_surgery_ros.ros.endpoints import type_name
from clip_surgery_ros.world.recorded import read_orbit

IMAGE = "sensor_msgs/msg/Image"
STORE = get_typestore(Stores.ROS2_JAZZY)
SECOND = 10**9
EYE = "eye_optical_frame"
PAN_XY = (8, 4)
"""By how many pixels a camera that pans moves its picture to the left and up, from image to image;
so the objects in it move by them to the left and up."""


def panned(picture: np.ndarray, step: int) -> np.ndarray:
    """Return what a camera sees that pans over a picture."""
    x, y = step * PAN_XY[0], step * PAN_XY[1]
    return np.ascontiguousarray(picture[y : y + 420, x : x + 560])


def record_images(path: Path, pictures: Iterable[np.ndarray], cut_from: int) -> Path:
    """Record a picture a second, stamped 100 s and 5 ns later; those from a number on are cut
    short.
    """
    time_type, header_type = (
        STORE.types[name] for name in ("builtin_interfaces/msg/Time", "std_msgs/msg/Header")
    )
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/camera", IMAGE, typestore=STORE)
        for n, pixels in enumerate(pictures):
            header = header_type(stamp=time_type(100 + n, 5), frame_id=f"eye_{n}")
            height, width = pixels.shape[:2]
            message = STORE.types[IMAGE](
                header, height, width, "rgb8", 0, 3 * width, pixels.reshape(-1)
            )
            data = bytes(STORE.serialize_cdr(message, IMAGE))
            writer.write(connection, n * SECOND, data[: len(data) if n < cut_from else 500])
    return path


def record_orbit(
    path: Path, count: int, leave_out: tuple[str, ...] = (), compressed: bool = False
) -> Path:
    """Record the first images of the orbit, two a second from 100 s on, with what places objects
    in space: depth, camera model and transforms from ``world`` to ``eye_optical_frame``.

    Depth is recorded 40 ms later than its image, transforms 10 ms before.

    :param leave_out: topics.
    :param compressed: depth comes as ``compressedDepth``.
    """
    orbit = read_orbit()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Connection] = {}

        def write(topic: str, message: object, log_time: int) -> None:
            if topic in leave_out:
                return
            if topic not in connections:
                kind = type_name(type(message))
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], log_time, serialize_message(message))

        for n in range(count):
            frame, stamp = orbit.frame(n), Time(sec=100 + n // 2, nanosec=n % 2 * SECOND // 2)
            log_time = 200 * SECOND + n * SECOND // 2
            header = Header(stamp=stamp, frame_id=EYE)
            if n == 0:
                fixed = transform(np.diag([-1.0, -1.0, 1.0, 1.0]), "eye", EYE, stamp)
                write("/tf_static", TFMessage(transforms=[fixed]), log_time - 10**7)
            turned = frame.camera.pose @ np.diag([-1.0, -1.0, 1.0, 1.0])
            moving = transform(turned, "world", "eye", stamp)
            write("/tf", TFMessage(transforms=[moving]), log_time - 10**7)
            info = camera_info(
                frame.camera.matrix, frame.camera.width, frame.camera.height, header
            )
            write("/eye/color/camera_info", info, log_time)
            write("/eye/color/image_raw", colour_message(frame.rgb, "rgb8", header), log_time)
            depth = depth_message(frame.sensor_depth, "16UC1", header)
            if compressed:
                pixels = np.frombuffer(bytes(depth.data), np.uint16).reshape(480, 640)
                data = bytes(12) + encode_image(".png", pixels)
                packed = CompressedImage(
                    header=header, format="16UC1; compressedDepth png", data=data
                )
                write("/eye/depth/image_raw/compressedDepth", packed, log_time + 4 * 10**7)
            else:
                write("/eye/depth/image_raw", depth, log_time + 4 * 10**7)
    return path
