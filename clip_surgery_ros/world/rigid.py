"""Poses: rotations and 4 x 4 transforms, float64, lengths in metres, angles in radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pose = NDArray[np.float64]
"""(4, 4): maps points of a frame to the frame it is in."""


def rotation(axis: str, angle: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about ``x``, ``y`` or ``z`` by an angle in radians."""
    x, y, z = np.eye(3)["xyz".index(axis)]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def rotation_to(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Return the shortest (3, 3) rotation that turns one unit vector to another."""
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    v, c = np.cross(a, b), float(a @ b)
    if c < -1 + 1e-9:  # opposite: half a turn about any axis across
        axis = np.cross(a, np.eye(3)[np.abs(a).argmin()])
        axis /= np.linalg.norm(axis)
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + c))


def pose(rotation: ArrayLike | None = None, translation: ArrayLike = (0, 0, 0)) -> Pose:
    """Return the transform of a (3, 3) rotation and a (3,) translation."""
    result = np.eye(4)
    if rotation is not None:
        result[:3, :3] = rotation
    result[:3, 3] = translation
    return result


def transform(matrix: Pose, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points, (P, 3), mapped by a pose."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
