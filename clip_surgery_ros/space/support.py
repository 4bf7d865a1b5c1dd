"""The plane that an object stands on, found in the ring round its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.numbers import cross, median

Floats = NDArray[np.float64]

DRAWS = 40
"""Triples of points that are tried; at 40 % inliers one of them is clean with 92 %."""
SAMPLE = 400
"""Points of the ring that are used at most."""
LEAST = 60
"""Points of the ring that are needed."""
TILT = float(np.cos(np.radians(20)))
"""Cosine of the largest angle between a support's normal and up, if up is known."""
SHARE = 0.4
"""Least share of the ring's points on the plane."""


@dataclass(frozen=True)
class Plane:
    """The points p with ``normal @ p == offset``.

    :param normal: (3,) of length 1; points to the side that the object is on.
    :param noise: deviation of the points that it was found in from it, metres.
    """

    normal: Floats
    offset: float
    noise: float = 0.0

    def heights(self, points: NDArray[np.floating]) -> Floats:
        """Return the distances of points (P, 3), positive above the plane, metres."""
        return np.asarray(points @ self.normal - self.offset)

    def height_at(self, x: float, y: float) -> float:
        """Return the plane's z at (x, y), for planes that are not vertical."""
        nx, ny, nz = self.normal
        return float((self.offset - nx * x - ny * y) / nz)


def tolerance(depth: float) -> float:
    """Return how far points of a plane lie off it, metres, for stereo depth in metres."""
    return 0.002 + 0.004 * depth**2


def find_support(
    points: NDArray[np.floating], eye: Floats, up: Floats | None, allowed: float
) -> Plane | None:
    """Return the plane of most points (RANSAC, Fischler and Bolles 1981), or None.

    The draws are the same in every call, so that the same points give the same plane.

    :param points: (P, 3) round the object.
    :param eye: (3,) the camera's place, which is above every support.
    :param up: (3,) against gravity; None if it is not known.
    :param allowed: distance of a plane's points from it, metres.
    """
    if len(points) < LEAST:
        return None
    p = points[:: max(1, len(points) // SAMPLE)].astype(np.float64)
    rng = np.random.Generator(np.random.PCG64(0))
    a, b, c = p[rng.integers(len(p), size=(3, DRAWS))]
    normals = cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 1e-9
    normals = normals / np.where(usable, lengths, 1)[:, None]
    if up is not None:
        usable &= np.abs(normals @ up) >= TILT
    near = np.abs(p @ normals.T - np.einsum("ij,ij->i", normals, a)) < allowed
    counts = np.where(usable, near.sum(0), 0)
    best = int(counts.argmax())
    if counts[best] < SHARE * len(p):
        return None
    return _fitted(p[near[:, best]], eye)


def _fitted(points: Floats, eye: Floats) -> Plane:
    """Return the plane with the least squared distances to points, facing the eye."""
    centre = points.mean(0)
    normal = np.linalg.eigh((points - centre).T @ (points - centre))[1][:, 0]
    if normal @ (eye - centre) < 0:
        normal = -normal
    # Of a normal distribution, the median distance is 0.67 deviations.
    noise = 1.4826 * median(np.abs((points - centre) @ normal))
    return Plane(normal, float(normal @ centre), noise)
