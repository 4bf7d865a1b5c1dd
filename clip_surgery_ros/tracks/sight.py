"""What a view with depth shows of the place of a track: there, empty, hidden, outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import Box
from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.transforms import Rigid

Points = NDArray[np.float32]

POSE_ERROR = 0.02
"""Metres by which depth may differ from a point that is there, besides the depth's own error:
pose, stamps and slanted surfaces."""
NEAREST = 0.05
"""Metres before the camera below which points are not projected."""
CELLS = 8
"""Cells along a track's longer side in the image, in each of which its front is looked for."""
OUTSIDE = 0.3
"""A track with less of its points inside the picture is out of view."""
HIDDEN = 0.5
"""A track with more of its front hidden is hidden: detectors find few objects of which less than
half is visible."""
BESIDE = 0.05
"""Share of a mask's diagonal by which its edge may be off."""
MEASURED = 0.3
"""Share of the front that must have depth, for depth to tell something."""


@dataclass(frozen=True)
class Sight:
    """What a view shows of a track's points.

    :param index: (K,) which points are at its front, as far as they are in the picture.
    :param columns: (K,) pixels of these; ``rows`` likewise.
    :param hidden: (K,) bool, something nearer is measured there.
    :param empty: (K,) bool, what is measured there is farther.
    :param known: (K,) bool, something is measured there.
    :param farther: (K,) by how much measured depth is beyond the point, metres.
    :param inside: share of all points that is in the picture.
    """

    index: NDArray[np.intp]
    columns: NDArray[np.intp]
    rows: NDArray[np.intp]
    hidden: NDArray[np.bool_]
    empty: NDArray[np.bool_]
    known: NDArray[np.bool_]
    farther: NDArray[np.float32]
    inside: float

    @cached_property
    def beyond(self) -> float:
        """By how much measured depth differs, metres: the median over empty points, or over
        hidden ones (then negative); 0 if there are none.
        """
        more_empty = np.count_nonzero(self.empty) > np.count_nonzero(self.hidden)
        which = self.empty if more_empty else self.hidden
        return float(np.median(self.farther[which])) if which.any() else 0.0

    @cached_property
    def standing(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Columns and rows of the pixels of points that nothing hides and depth does not deny."""
        chosen = ~self.hidden & ~self.empty
        return self.columns[chosen], self.rows[chosen]

    @cached_property
    def standing_box(self) -> Box | None:
        """The box of :attr:`standing`; None if that is empty."""
        columns, rows = self.standing
        if not len(columns):
            return None
        x, y = int(columns.min()), int(rows.min())
        return Box(x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)

    @property
    def is_outside(self) -> bool:
        """Whether most of the track is outside the picture."""
        return self.inside < OUTSIDE

    @cached_property
    def is_measured(self) -> bool:
        """Whether enough depth is measured at the track's front to tell something."""
        count = len(self.known)
        return bool(count and np.count_nonzero(self.known) / count >= MEASURED)

    @cached_property
    def is_hidden(self) -> bool:
        """Whether something in front hides most of the track."""
        hidden, known = np.count_nonzero(self.hidden), np.count_nonzero(self.known)
        return bool(self.is_measured and hidden / known > HIDDEN)

    @cached_property
    def stays(self) -> bool:
        """Whether most of what can be seen of the place still has the track's surface."""
        visible = self.known & ~self.hidden
        there = np.count_nonzero(visible & ~self.empty)
        count = np.count_nonzero(visible)
        return bool(self.is_measured and count > 0 and 2 * there >= count)

    @property
    def is_empty(self) -> bool:
        """Whether most of what can be seen of the place is farther than the track."""
        return self.is_measured and not self.is_hidden and not self.stays


_NONE = np.zeros(0, np.intp)
_NO = np.zeros(0, np.bool_)
NOWHERE = Sight(_NONE, _NONE, _NONE, _NO, _NO, _NO, np.zeros(0, np.float32), 0.0)
"""Of a track that is far outside the picture."""


class DepthLook:
    """A depth image from a pose, prepared for :meth:`sights`.

    Of a point's 3 x 3 pixels all must be nearer for it to be hidden, and all farther for its
    place to be empty, so that neither a wrong pixel at an edge nor a small error of pose counts.
    """

    def __init__(self, depth: DepthImage, to_common: Rigid) -> None:
        self._intrinsics = depth.intrinsics
        self._eye = to_common.translation.astype(np.float32)
        self._from_common = to_common.rotation.T.astype(np.float32)
        kernel = np.ones((3, 3), np.uint8)
        metres = depth.metres
        self._farthest = cv2.dilate(metres, kernel).ravel()
        measured = np.where(metres > 0, metres, np.float32(np.inf))
        self._nearest = cv2.erode(measured, kernel).ravel()

    def may_show(self, low: Points, high: Points) -> NDArray[np.bool_]:
        """Return of which boxes, (T, 3) metres each in the common frame, something may be in
        view, (T,).

        It is cheap, for the many tracks that a robot has left behind.
        """
        x, y, z = self._local((low + high) / 2)
        radius = np.linalg.norm(high - low, axis=1) / 2
        camera, nearest = self._intrinsics, np.maximum(z - radius, NEAREST)
        reach = max(camera.fx, camera.fy) * radius / nearest
        # Of both sides of the picture, as the far side of the box is nearer to the middle.
        farthest = np.maximum(z + radius, NEAREST)
        across = camera.fx * x / np.stack([nearest, farthest])
        down = camera.fy * y / np.stack([nearest, farthest])
        in_view = (z + radius >= NEAREST) & (across.min(0) - reach < camera.width - camera.cx)
        in_view &= (across.max(0) + reach > -camera.cx) & (down.max(0) + reach > -camera.cy)
        return np.asarray(in_view & (down.min(0) - reach < camera.height - camera.cy))

    def sights(self, clouds: Sequence[Points]) -> list[Sight]:
        """Return what is seen of each of several clouds of points, (P, 3) metres in the common
        frame. All are projected together: for small clouds, calls take longer than numbers.
        """
        if not clouds:
            return []
        sizes = np.array([len(cloud) for cloud in clouds])
        owner = np.repeat(np.arange(len(clouds)), sizes)
        index, columns, rows, z = self._in_picture(np.concatenate(clouds))
        owner = owner[index]
        inside = np.bincount(owner, minlength=len(clouds)) / np.maximum(sizes, 1)
        front = _front(owner, columns, rows, z)
        index, owner, z = index[front], owner[front], z[front]
        columns, rows = columns[front], rows[front]
        pixel, allowed = rows * self._intrinsics.width + columns, _allowed(z)
        farthest = self._farthest[pixel]
        known, farther = farthest > 0, farthest - z
        hidden, empty = known & (farther < -allowed), known & (self._nearest[pixel] - z > allowed)
        index -= (np.cumsum(sizes) - sizes)[owner]
        ends = np.searchsorted(owner, np.arange(len(clouds) + 1)).tolist()
        return [
            Sight(
                index[part],
                columns[part],
                rows[part],
                hidden[part],
                empty[part],
                known[part],
                farther[part],
                share,
            )
            for part, share in zip(map(slice, ends[:-1], ends[1:]), inside.tolist(), strict=True)
        ]

    def _local(self, points: NDArray[np.floating]) -> Points:
        """Return points, (P, 3) of the common frame, in the camera's, (3, P): an axis at a time
        is computed in one piece.
        """
        return np.asarray(self._from_common @ (points - self._eye).T)

    def _in_picture(
        self, points: Points
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], Points]:
        """Return which points are in the picture, (K,), their columns, rows and depths."""
        x, y, z = self._local(points)
        camera, z = self._intrinsics, np.maximum(z, np.float32(NEAREST))
        columns = np.rint(x / z * np.float32(camera.fx) + np.float32(camera.cx))
        rows = np.rint(y / z * np.float32(camera.fy) + np.float32(camera.cy))
        inside = (columns >= 0) & (columns < camera.width) & (z > NEAREST)
        inside &= (rows >= 0) & (rows < camera.height)
        index = np.flatnonzero(inside)
        return index, columns[index].astype(np.intp), rows[index].astype(np.intp), z[index]


def _allowed(z: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return by how much measured depth may differ from points at depths z, (K,) metres.

    Twice what ``space.support.tolerance`` allows for stereo depth, and the error of the pose.
    """
    return np.asarray(POSE_ERROR + 2 * (0.002 + 0.004 * z**2))


def _front(
    owner: NDArray[np.intp], columns: NDArray[np.intp], rows: NDArray[np.intp], z: Points
) -> NDArray[np.bool_]:
    """Return which points are not behind others of the same track, (K,).

    :param owner: (K,) the track of each point, ascending.
    """
    if not len(z):
        return np.zeros(0, np.bool_)
    is_first = np.diff(owner, prepend=-1) > 0
    starts, track = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    x = columns - np.minimum.reduceat(columns, starts)[track]
    y = rows - np.minimum.reduceat(rows, starts)[track]
    cell = (np.maximum.reduceat(np.maximum(x, y), starts) // CELLS + 1)[track]
    place = (track * (CELLS + 1) + y // cell) * (CELLS + 1) + x // cell
    nearest = np.full(len(starts) * (CELLS + 1) ** 2, np.inf, z.dtype)
    np.minimum.at(nearest, place, z)
    return np.asarray(z <= nearest[place] + _allowed(z))


def share_inside(
    columns: NDArray[np.intp], rows: NDArray[np.intp], box: Box, mask: NDArray[np.bool_]
) -> float:
    """Return the share of pixels, (K,) each, that lie in a mask cropped to its box; 0 of none."""
    if not len(columns):
        return 0.0
    x, y = columns - box.x, rows - box.y
    inside = (x >= 0) & (x < box.width) & (y >= 0) & (y < box.height)
    return np.count_nonzero(mask[y[inside], x[inside]]) / len(columns)


def near_mask(
    columns: NDArray[np.intp], rows: NDArray[np.intp], box: Box, mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which pixels, (K,) each, lie in a mask cropped to its box, or right beside it."""
    margin = max(2, round(BESIDE * math.hypot(box.width, box.height)))
    sides = (margin,) * 4
    grown = cv2.copyMakeBorder(mask.view(np.uint8), *sides, cv2.BORDER_CONSTANT, value=0)
    grown = cv2.dilate(grown, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    x, y = columns - box.x + margin, rows - box.y + margin
    inside = (x >= 0) & (x < grown.shape[1]) & (y >= 0) & (y < grown.shape[0])
    result = np.zeros(len(columns), np.bool_)
    result[inside] = grown[y[inside], x[inside]] > 0
    return result
