"""Listens to the camera in the rendered world, and finds points in space by what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from ros.harness import wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.ros import qos

Stamp = tuple[int, int]


def stamp_of(message: object) -> Stamp:
    return (message.header.stamp.sec, message.header.stamp.nanosec)


def matrix_of(transform: TransformStamped) -> NDArray[np.float64]:
    """(4, 4) of a message, by the textbook's formula for a unit quaternion."""
    q, t = transform.transform.rotation, transform.transform.translation
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), t.x],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), t.y],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), t.z],
            [0, 0, 0, 1],
        ]
    )


def pose_of(values: dict[str, list[float]]) -> NDArray[np.float64]:
    """(4, 4) of a position and an orientation in the truth."""
    message = TransformStamped()
    places = (message.transform.translation, message.transform.rotation)
    for place, keys in zip(places, (("position", "xyz"), ("orientation", "xyzw")), strict=True):
        for name, value in zip(keys[1], values[keys[0]], strict=True):
            setattr(place, name, value)
    return matrix_of(message)


def depth_of(message: Image) -> NDArray[np.float64]:
    """(H, W) metres; 0 where there is none."""
    kind, unit = {"16UC1": (np.uint16, 1000), "32FC1": (np.float32, 1)}[message.encoding]
    values = np.frombuffer(message.data, kind).reshape(message.height, message.width)
    return np.nan_to_num(values.astype(np.float64) / unit)


@dataclass
class Scene:
    """What the messages of one stamp say."""

    image: Image
    info: CameraInfo
    depth_info: CameraInfo
    depth: NDArray[np.float64]
    instances: NDArray[np.uint16]
    truth: dict
    camera: NDArray[np.float64] = field(repr=False)

    def points(self) -> NDArray[np.float64]:
        """(H, W, 3) points of the world, from depth, camera model and transforms alone."""
        fx, _, cx, _, fy, cy, *_ = self.depth_info.k
        v, u = np.mgrid[0 : self.depth.shape[0], 0 : self.depth.shape[1]]
        local = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(u.shape)], 2)
        local *= self.depth[..., None]
        return local @ self.camera[:3, :3].T + self.camera[:3, 3]


class WorldListener:
    """Everything that the camera publishes beside compressed colour, by stamp."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.images = self._listen(Image, "image_raw", qos.newest_image())
        self._infos = self._listen(CameraInfo, "camera_info", qos.newest_image())
        self._depths = self._listen(Image, "depth/image_raw", qos.newest_image())
        self._depth_infos = self._listen(CameraInfo, "depth/camera_info", qos.newest_image())
        self._instances = self._listen(Image, "truth/instances", qos.newest_image())
        self._moving = self._listen(TFMessage, "/tf", qos.transforms())
        self.fixed = self._listen(TFMessage, "/tf_static", qos.latched())
        self.truths: dict[Stamp, dict] = {}
        node.create_subscription(String, "truth", self._keep_truth, qos.latched())

    def _listen(self, kind: type, topic: str, quality: QoSProfile) -> dict[Stamp, object]:
        kept: dict[Stamp, object] = {}

        def keep(message: object) -> None:
            of_header = message.transforms[0] if kind is TFMessage else message
            kept[stamp_of(of_header)] = message

        self._node.create_subscription(kind, topic, keep, quality)
        return kept

    def _keep_truth(self, message: String) -> None:
        truth = json.loads(message.data)
        self.truths[(*truth["header"]["stamp"].values(),)] = truth

    def scene(self, accept: Callable[[dict], bool] = lambda truth: True) -> Scene:
        """Wait for an accepted truth of which every message of the same stamp is there."""
        kept = (self.images, self._infos, self._depth_infos, self._depths, self._instances)

        def found() -> list[Stamp]:
            return [
                stamp
                for stamp, truth in list(self.truths.items())
                if accept(truth) and all(stamp in one for one in (*kept, self._moving))
            ]

        wait_until(lambda: bool(found() and self.fixed))
        stamp = found()[0]
        image, info, depth_info, depth, instances = (one[stamp] for one in kept)
        ids = np.frombuffer(instances.data, np.uint16).reshape(instances.height, instances.width)
        camera = self._camera(stamp, image.header.frame_id)
        return Scene(image, info, depth_info, depth_of(depth), ids, self.truths[stamp], camera)

    def _camera(self, stamp: Stamp, frame_id: str) -> NDArray[np.float64]:
        """(4, 4) frame to world, by the chain of transforms at a stamp."""
        (moving,), ((fixed,),) = (
            self._moving[stamp].transforms,
            [one.transforms for one in self.fixed.values()],
        )
        assert moving.header.frame_id == "world"
        assert fixed.header.frame_id == moving.child_frame_id
        assert fixed.child_frame_id == frame_id
        return matrix_of(moving) @ matrix_of(fixed)
