"""What a view with depth shows of the place of a track: there, empty, hidden, outside."""

from __future__ import annotations

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
    :param inside: share of all points that is in the picture.
    :param beyond: by how much measured depth differs, metres: the median over empty points, or
        over hidden ones (then negative); 0 if there are none.
    """

    index: NDArray[np.intp]
    columns: NDArray[np.intp]
    rows: NDArray[np.intp]
    hidden: NDArray[np.bool_]
    empty: NDArray[np.bool_]
    known: NDArray[np.bool_]
    inside: float
    beyond: float

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
NOWHERE = Sight(_NONE, _NONE, _NONE, _NO, _NO, _NO, 0.0, 0.0)
"""Of a track that is far outside the picture."""


class DepthLook:
    """A depth image from a pose, prepared for :meth:`sight`.

    Of a point's 3 x 3 pixels all must be nearer for it to be hidden, and all farther for its
    place to be empty, so that neither a wrong pixel at an edge nor a small error of pose counts.
    """

    def __init__(self, depth: DepthImage, to_common: Rigid) -> None:
        self._intrinsics = depth.intrinsics
        self._to_camera = to_common.inverse()
        self.eye = to_common.translation
        kernel = np.ones((3, 3), np.uint8)
        metres = depth.metres
        self._farthest = cv2.dilate(metres, kernel)
        self._nearest = cv2.erode(np.where(metres > 0, metres, np.float32(np.inf)), kernel)

    def excludes(self, low: Points, high: Points) -> bool:
        """Return whether nothing of a box, (3,) metres each in the common frame, is in view.

        It is cheap, for the many tracks that a robot has left behind.
        """
        x, y, z = self._to_camera.apply(((low + high) / 2)[None])[0]
        radius = float(np.linalg.norm(high - low)) / 2
        if z + radius < NEAREST:
            return True
        camera, nearest = self._intrinsics, max(z - radius, NEAREST)
        column, row = camera.fx * x / nearest, camera.fy * y / nearest
        reach = max(camera.fx, camera.fy) * radius / nearest
        # Of both sides of the picture, as the far side of the box is nearer to the middle.
        wide, high_ = camera.fx * x / (z + radius), camera.fy * y / (z + radius)
        left, right = min(column, wide) - reach, max(column, wide) + reach
        top, bottom = min(row, high_) - reach, max(row, high_) + reach
        inside = left < camera.width - camera.cx and right > -camera.cx
        return not (inside and top < camera.height - camera.cy and bottom > -camera.cy)

    def sight(self, points: Points) -> Sight:
        """Return what is seen of points, (P, 3) metres in the common frame."""
        local = self._to_camera.apply(points)
        z = np.maximum(local[:, 2], NEAREST)
        local[:, 2] = z
        pixels = np.rint(self._intrinsics.pixels(local)).clip(-1e6, 1e6).astype(np.intp)
        columns, rows = pixels[:, 0], pixels[:, 1]
        inside = (columns >= 0) & (columns < self._intrinsics.width) & (z > NEAREST)
        inside &= (rows >= 0) & (rows < self._intrinsics.height)
        index = np.flatnonzero(inside)
        index = index[_front(columns[index], rows[index], z[index])]
        columns, rows, z = columns[index], rows[index], z[index]
        allowed = _allowed(z)
        far, near = self._farthest[rows, columns], self._nearest[rows, columns]
        known = far > 0
        hidden, empty = known & (far < z - allowed), known & (near > z + allowed)
        which = empty if empty.sum() > hidden.sum() else hidden
        beyond = float(np.median(far[which] - z[which])) if which.any() else 0.0
        share = float(inside.mean()) if len(points) else 0.0
        return Sight(index, columns, rows, hidden, empty, known, share, beyond)


def _allowed(z: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return by how much measured depth may differ from points at depths z, (K,) metres.

    Twice what ``space.support.tolerance`` allows for stereo depth, and the error of the pose.
    """
    return np.asarray(POSE_ERROR + 2 * (0.002 + 0.004 * z**2))


def _front(
    columns: NDArray[np.intp], rows: NDArray[np.intp], z: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return which points are not behind others of the same track, (K,)."""
    if not len(z):
        return np.zeros(0, np.bool_)
    x, y = columns - columns.min(), rows - rows.min()
    cell = max(1, int(max(x.max(), y.max())) // CELLS + 1)
    place = (y // cell) * (CELLS + 1) + x // cell
    nearest = np.full((CELLS + 1) ** 2, np.inf)
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
    return float(mask[y[inside], x[inside]].sum() / len(columns))


def near_mask(
    columns: NDArray[np.intp], rows: NDArray[np.intp], box: Box, mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which pixels, (K,) each, lie in a mask cropped to its box, or right beside it."""
    margin = max(2, round(BESIDE * np.hypot(box.width, box.height)))
    grown = np.pad(mask.astype(np.uint8), margin)
    grown = cv2.dilate(grown, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    x, y = columns - box.x + margin, rows - box.y + margin
    inside = (x >= 0) & (x < grown.shape[1]) & (y >= 0) & (y < grown.shape[0])
    result = np.zeros(len(columns), np.bool_)
    result[inside] = grown[y[inside], x[inside]] > 0
    return result
