"""Boxes round points: upright, oriented or along the axes of the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.numbers import cross, quantiles
from clip_surgery_ros.space.support import Plane
from clip_surgery_ros.space.transforms import Rigid

Floats = NDArray[np.float64]
BoxMode = Literal["upright", "oriented", "axis_aligned"]

TRIM = 0.005
"""Share of points left out at each end of an axis: those that fly between two surfaces."""
NOISY = 0.001
"""Deviation of depth, metres, from which this share is left out; of less noise less, in
proportion, as exact depth has no such points."""
TOP = 1.0
"""Deviations of depth by which noise raises the highest points of an object."""
MOST = 2000
"""Points that a box is computed from at most."""


@dataclass(frozen=True)
class SpaceBox:
    """A box in space.

    :param pose: the box's centre and axes in the frame of the points.
    :param size: (3,) along its own axes, metres.
    """

    pose: Rigid
    size: Floats

    @property
    def centre(self) -> Floats:
        """Its centre, (3,) metres."""
        return self.pose.translation

    def corners(self) -> Floats:
        """Return its corners, (8, 3) metres."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        return self.pose.apply(signs * self.size / 2)


def box_of(
    points: NDArray[np.floating],
    mode: BoxMode,
    up: Floats | None,
    support: Plane | None,
    noise: float | None = None,
) -> SpaceBox:
    """Return the box round points.

    An ``upright`` box has a vertical axis, its z, and stands on the support where there is one.
    An ``oriented`` box lies along the points' principal axes, an ``axis_aligned`` one along
    those of the frame.

    :param points: (P, 3) metres, P at least 3.
    :param up: (3,) against gravity; for None it is the support's normal, or else the frame's z.
    :param noise: deviation of depth, metres; None if it is not known.
    """
    some = np.asarray(points[:: max(1, len(points) // MOST)], np.float64)
    trim = TRIM if noise is None else TRIM * min(1.0, noise / NOISY)
    if mode == "axis_aligned":
        return _box_along(some, np.eye(3), trim)
    if mode == "oriented":
        return _box_along(some, _principal_axes(some), trim)
    if up is None:
        up = support.normal if support is not None else np.array([0.0, 0.0, 1.0])
    axes = _turned(some, _upright_axes(up), trim)
    if support is None or support.normal @ up <= 0.5:
        return _box_along(some, axes, trim)
    bottom = Plane(axes.T @ support.normal, support.offset)
    return _box_along(some, axes, trim, bottom, TOP * (noise or 0.0))


def _upright_axes(up: Floats) -> Floats:
    """Return axes, (3, 3) in columns, of which z is up."""
    x = cross(np.eye(3)[int(np.abs(up).argmin())], up)
    x /= np.linalg.norm(x)
    return np.stack([x, cross(up, x), up], axis=1)


def _turned(points: Floats, axes: Floats, trim: float) -> Floats:
    """Return axes turned about their z to the smallest rectangle round the points' footprint.

    A first rectangle trims the points, so that single ones do not turn the second.
    """
    for _ in range(2):
        flat = points @ axes[:, :2]
        low, high = quantiles(flat, trim, 1 - trim)
        x, y = flat.T
        inside = flat[(x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])]
        if len(inside) < 3:
            return axes
        angle = np.radians(cv2.minAreaRect(inside.astype(np.float32))[2])
        c, s = np.cos(angle), np.sin(angle)
        axes = axes @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return axes


def _box_along(
    points: Floats, axes: Floats, trim: float, bottom: Plane | None = None, raised: float = 0.0
) -> SpaceBox:
    """Return the box along axes, (3, 3) in columns.

    :param trim: share of the points left out at each end.
    :param bottom: in these axes; the box stands on it below its centre.
    :param raised: metres by which the highest points are too high.
    """
    low, high = quantiles(points @ axes, trim, 1 - trim)
    if bottom is not None:
        x, y, _ = (low + high) / 2
        high[2] = max(high[2] - raised, low[2])
        low[2] = min(bottom.height_at(x, y), high[2])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, axes @ ((low + high) / 2)
    return SpaceBox(Rigid.from_matrix(matrix), np.asarray(high - low))


def _principal_axes(points: Floats) -> Floats:
    """Return the principal axes of points, (3, 3) in columns, the longest first, right-handed."""
    centred = points - points.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].copy()
    axes[:, 2] = cross(axes[:, 0], axes[:, 1])
    return axes
