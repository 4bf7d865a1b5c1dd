"""A pinhole camera: intrinsics, pose and rays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.rigid import Pose, pose, rotation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A camera without distortion; its frame has x to the right, y down and z forward.

    >>> camera = Camera(640, 480, 500.0)
    >>> camera.matrix[0].tolist()
    [500.0, 0.0, 319.5]

    :param width: pixels.
    :param height: pixels.
    :param focal: focal length, pixels, the same in x and y.
    :param pose: (4, 4) camera to world, metres.
    """

    width: int
    height: int
    focal: float
    pose: Pose = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        """Check sizes."""
        if self.width < 1 or self.height < 1 or not self.focal > 0:
            raise WorldError(
                f"a camera needs positive sizes: {self.width} x {self.height}, f {self.focal}"
            )

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point (x, y): the middle of the picture; pixel centres are integers."""
        return (self.width - 1) / 2, (self.height - 1) / 2

    @property
    def matrix(self) -> Floats:
        """Return K, (3, 3): pixels of points of the camera's frame."""
        cx, cy = self.centre
        return np.array([[self.focal, 0, cx], [0, self.focal, cy], [0, 0, 1]])

    def at(self, new_pose: Pose) -> Camera:
        """Return the same camera elsewhere."""
        return replace(self, pose=new_pose)

    def resized(self, width: int, height: int) -> Camera:
        """Return a camera of another size with the same horizontal field of view."""
        return Camera(width, height, self.focal * width / self.width, self.pose)

    def rays(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """Return origins and directions, (P, 3) each, of rays through pixels (x, y), (P,).

        A direction is as long as its depth is one metre: a point at distance t along it has the
        depth t.
        """
        cx, cy = self.centre
        across = (np.asarray(x, np.float64) - cx) / self.focal
        down = (np.asarray(y, np.float64) - cy) / self.focal
        local = np.stack([across, down, np.ones_like(across)], 1)
        directions = local @ self.pose[:3, :3].T
        return np.broadcast_to(self.pose[:3, 3], directions.shape), directions

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Return pixels (P, 2) and depths (P,) of points (P, 3) of the world."""
        local = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
        depth = local[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = local[:, :2] / depth[:, None] * self.focal + self.centre
        return pixels, depth

    def points(self, depth: NDArray[np.floating]) -> Floats:
        """Return the points of the world, (H, W, 3), of a depth image (H, W), metres."""
        y, x = np.mgrid[0 : self.height, 0 : self.width].reshape(2, -1)
        origins, directions = self.rays(x, y)
        return (origins + directions * depth.reshape(-1, 1)).reshape(self.height, self.width, 3)


def look_at(eye: ArrayLike, target: ArrayLike, roll: float = 0.0) -> Pose:
    """Return the pose of a camera that looks at a point, upright but for a roll in radians.

    :raises WorldError: it looks straight up or down, or at itself.
    """
    position = np.asarray(eye, np.float64)
    forward = np.asarray(target, np.float64) - position
    right = np.cross(forward, [0, 0, 1])
    if np.linalg.norm(right) < 1e-9:
        raise WorldError(f"a camera at {position} that looks along {forward} has no upright pose")
    forward = forward / np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    turned = np.stack([right, np.cross(forward, right), forward], 1) @ rotation("z", roll)
    return pose(turned, position)


def on_sphere(
    target: ArrayLike, distance: float, azimuth: float, elevation: float, roll: float = 0.0
) -> Pose:
    """Return the pose of a camera on a sphere round a point, which it looks at; radians."""
    flat = np.cos(elevation)
    offset = [np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)]
    centre = np.asarray(target, np.float64)
    return look_at(centre + distance * np.array(offset), centre, roll)


def focal_length(width: int, field_of_view: float) -> float:
    """Return a focal length in pixels for a horizontal field of view in degrees."""
    return float(width / 2 / np.tan(np.radians(field_of_view) / 2))
