"""A table with cuboids, ray-cast here, and what lifting says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import Lifted, LiftSettings, lift
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid

CAMERA = Intrinsics(560.0, 560.0, 319.5, 239.5, 640, 480)
UP = np.array([0.0, 0.0, 1.0])
SIZE = (0.06, 0.10, 0.08)
PLACE = (0.01, -0.02, 0.04)
UPRIGHT = LiftSettings(up=UP)


@dataclass(frozen=True)
class Cuboid:
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0


BLOCK = Cuboid(PLACE, SIZE, 0.4)


def looking(eye: tuple[float, float, float], target: tuple[float, float, float]) -> Rigid:
    """Return camera to world."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, UP) / np.linalg.norm(np.cross(forward, UP))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    matrix[:3, 3] = eye
    return Rigid.from_matrix(matrix)


VIEW = looking((0.45, -0.35, 0.5), (0.0, 0.0, 0.03))


def cast(
    *cuboids: Cuboid, pose: Rigid = VIEW, table: bool = True
) -> tuple[DepthImage, np.ndarray]:
    """Return depth and ids (from 1, 0 for the table) of cuboids on the table z = 0."""
    y, x = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width].reshape(2, -1).astype(float)
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy, np.ones_like(x)], 1)
    rays, eye = rays @ pose.rotation.T, pose.translation
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[:, 2] < 0, -eye[2] / rays[:, 2], np.inf) if table else None
        depth = np.full(len(rays), np.inf) if depth is None else depth
        ids = np.zeros(len(rays), np.uint16)
        for k, cuboid in enumerate(cuboids, 1):
            c, s = np.cos(cuboid.yaw), np.sin(cuboid.yaw)
            turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
            origin, local = turn @ (eye - cuboid.centre), rays @ turn.T
            half = np.array(cuboid.size) / 2
            ends = np.stack([(-half - origin) / local, (half - origin) / local])
            near, far = ends.min(0).max(1), ends.max(0).min(1)
            hit = (near < far) & (near > 0) & (near < depth)
            depth, ids = np.where(hit, near, depth), np.where(hit, k, ids).astype(np.uint16)
    depth = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    shape = (CAMERA.height, CAMERA.width)
    return DepthImage(depth.reshape(shape), CAMERA), ids.reshape(shape)


def middle_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    near = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return np.array([[columns[near], rows[near]]])


def lifted(
    depth: DepthImage, ids: np.ndarray, k: int = 1, settings: LiftSettings = UPRIGHT
) -> Lifted:
    mask = ids == k
    return lift(depth, mask, middle_of(mask), VIEW, (ids > 0) & ~mask, settings)


def box_in(result: Lifted) -> SpaceBox:
    assert result.box is not None, result.findings
    return result.box


def reasons(result: Lifted) -> dict[Reason, str]:
    return {finding.reason: finding.text for finding in result.findings}
