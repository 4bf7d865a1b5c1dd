"""Depth images in metres, the camera models they need, and depth seen by another camera.

Frames of cameras are optical frames (REP 103): x to the right, y down, z forward. The centre of
the first pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.core.errors import SpaceError

Floats = NDArray[np.float64]

UNITS = {"16UC1": 0.001, "mono16": 0.001, "32FC1": 1.0}
"""Metres of one unit by encoding, after REP 118."""
FOCAL_LENGTHS = (1.0, 1e6)
"""Pixels; shorter and longer ones are no camera's. The principal point is as near."""
FARTHEST = 1e6
"""Metres; what is farther is damage."""
WIDEST_SPLAT = 16
"""Pixels of the other camera, along one axis, that one pixel of depth may cover."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion.

    :param fx: focal length along x, pixels; ``fy`` along y.
    :param cx: column of the principal point, pixels; ``cy`` its row.
    :param width: of the picture, pixels; ``height`` likewise.
    :raises SpaceError: a focal length or the centre is no camera's, or a size is not positive.

    >>> Intrinsics(600.0, 600.0, 319.5, 239.5, 640, 480).scaled(320, 240).cx
    159.5
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        shortest, longest = FOCAL_LENGTHS
        is_focal = shortest <= self.fx <= longest and shortest <= self.fy <= longest
        if not (is_focal and abs(self.cx) <= longest and abs(self.cy) <= longest):
            raise SpaceError(
                f"camera model with focal lengths {self.fx:g}, {self.fy:g} and centre "
                f"{self.cx:g}, {self.cy:g}: focal lengths must be above {shortest:g} pixel, and "
                f"all numbers at most {longest:g}; is the camera calibrated?"
            )
        if min(self.width, self.height) < 1:
            raise SpaceError(f"camera model of a picture of {self.width} x {self.height} pixels")

    @classmethod
    def from_matrix(cls, matrix: ArrayLike, width: int, height: int) -> Intrinsics:
        """Return the intrinsics of K, 3 x 3 or its 9 numbers row by row.

        :raises SpaceError: K has another size or impossible numbers.
        """
        k = _numbers(matrix, (3, 3), "K")
        return cls(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)

    @classmethod
    def from_projection(cls, matrix: ArrayLike, width: int, height: int) -> Intrinsics:
        """Return the intrinsics of a rectified picture's P, 3 x 4 or its 12 numbers row by row.

        :raises SpaceError: P has another size or impossible numbers, or its last column is not 0,
            as it is of the second camera of a stereo pair, which is not in its own frame.
        """
        p = _numbers(matrix, (3, 4), "P")
        if np.abs(p[:, 3]).max() > 1e-9:
            raise SpaceError(
                f"P has {p[0, 3]:g} in its last column: it is of the second camera of a stereo "
                "pair; use the first camera's"
            )
        return cls.from_matrix(p[:, :3], width, height)

    def scaled(self, width: int, height: int) -> Intrinsics:
        """Return the model of the same picture enlarged or reduced to another size."""
        x, y = width / self.width, height / self.height
        return Intrinsics(
            self.fx * x,
            self.fy * y,
            (self.cx + 0.5) * x - 0.5,
            (self.cy + 0.5) * y - 0.5,
            width,
            height,
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> Intrinsics:
        """Return the model of a part of the picture, as CameraInfo's region of interest.

        :param x: first column; ``y`` first row.
        """
        return replace(self, cx=self.cx - x, cy=self.cy - y, width=width, height=height)

    def binned(self, x: int, y: int) -> Intrinsics:
        """Return the model after ``x`` times ``y`` neighbouring pixels became one.

        The new pixel's centre is the middle of its old pixels. (``image_geometry`` divides
        the principal point instead, which is off by a quarter of a pixel for 2 x 2.)
        """
        return self.scaled(max(1, self.width // x), max(1, self.height // y))

    @property
    def matrix(self) -> Floats:
        """K, (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def points(
        self, columns: NDArray[Any], rows: NDArray[Any], depth: NDArray[np.floating[Any]]
    ) -> NDArray[np.floating[Any]]:
        """Return the points, (P, 3) in the camera's frame, of pixels with depth, (P,) each."""
        x = (columns - np.float32(self.cx)) * np.float32(1 / self.fx) * depth
        y = (rows - np.float32(self.cy)) * np.float32(1 / self.fy) * depth
        return np.stack([x, y, depth], axis=1)

    def pixels(self, points: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return where points (P, 3) of the camera's frame are seen, (P, 2) x, y.

        :param points: with depths above 0.
        """
        centre, focal = np.array([self.cx, self.cy]), np.array([self.fx, self.fy])
        return np.asarray(points[:, :2] / points[:, 2:] * focal + centre)


def _numbers(matrix: ArrayLike, shape: tuple[int, int], name: str) -> Floats:
    """Return a matrix of a shape from nested or flat numbers."""
    numbers = np.asarray(matrix, np.float64)
    if numbers.size != shape[0] * shape[1]:
        raise SpaceError(f"{name} has {numbers.size} numbers instead of {shape[0]} x {shape[1]}")
    return numbers.reshape(shape)


@dataclass(frozen=True)
class DepthImage:
    """Depth of each pixel along the optical axis.

    :param metres: (H, W) float32; 0 where nothing was measured, else finite and above 0.
    :param intrinsics: of the camera.
    :raises SpaceError: sizes of picture and camera model differ.

    >>> camera = Intrinsics(100.0, 100.0, 0.0, 0.0, 2, 1)
    >>> DepthImage(np.array([[0.0, 2.0]], np.float32), camera).organised()[0, 1].tolist()
    [0.019999999552965164, 0.0, 2.0]
    """

    metres: NDArray[np.float32]
    intrinsics: Intrinsics

    def __post_init__(self) -> None:
        wanted = (self.intrinsics.height, self.intrinsics.width)
        if self.metres.shape != wanted:
            raise SpaceError(
                f"depth image of {_size(self.metres.shape)} pixels with a camera model of "
                f"{_size(wanted)}"
            )

    def points_at(
        self, columns: NDArray[np.intp], rows: NDArray[np.intp]
    ) -> NDArray[np.floating[Any]]:
        """Return the points, (P, 3) float32 metres in the camera's frame, of pixels (P,)."""
        depth = self.metres[rows, columns]
        return self.intrinsics.points(columns.astype(np.float32), rows.astype(np.float32), depth)

    def organised(self) -> NDArray[np.float32]:
        """Return the points of all pixels, (H, W, 3) metres, NaN where nothing was measured."""
        camera, depth = self.intrinsics, np.where(self.metres > 0, self.metres, np.nan)
        x = (np.arange(camera.width, dtype=np.float32) - np.float32(camera.cx)) / camera.fx
        y = (np.arange(camera.height, dtype=np.float32) - np.float32(camera.cy)) / camera.fy
        result = np.empty((*depth.shape, 3), np.float32)
        np.multiply(depth, x, out=result[..., 0], casting="same_kind")
        np.multiply(depth, y[:, None], out=result[..., 1], casting="same_kind")
        result[..., 2] = depth
        return result


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in reversed(shape))


def metres_of(raw: NDArray[Any], encoding: str, unit: float = 0.0) -> NDArray[np.float32]:
    """Return depth in metres, (H, W) float32, 0 where nothing was measured.

    :param raw: (H, W), as the message has it. 0, negative numbers, NaN, infinity and more than
        :data:`FARTHEST` mean that nothing was measured.
    :param encoding: key of :data:`UNITS`.
    :param unit: metres of one unit; 0 takes that of the encoding.
    :raises SpaceError: the encoding is not one of depth, or the unit is negative.

    >>> metres_of(np.array([[1500, 0]], np.uint16), "16UC1").tolist()
    [[1.5, 0.0]]
    """
    if encoding not in UNITS:
        raise SpaceError(
            f"depth image with encoding {encoding!r}: expected one of {', '.join(UNITS)}; is it "
            "the topic of depth?"
        )
    if not (np.isfinite(unit) and unit >= 0):
        raise SpaceError(f"depth unit {unit}: it must be above 0 metres, or 0 for the encoding's")
    if raw.ndim != 2:
        raise SpaceError(f"depth image with {raw.ndim} dimensions instead of rows and columns")
    with np.errstate(invalid="ignore", over="ignore"):
        metres = raw.astype(np.float32) * np.float32(unit or UNITS[encoding])
        measured = (metres > 0) & (metres <= FARTHEST)
    return np.where(measured, metres, np.float32(0))


def registered(depth: DepthImage, colour: Intrinsics, depth_to_colour: Floats) -> DepthImage:
    """Return depth as the colour camera would measure it, for cameras that are not registered.

    Every pixel of depth is a small square that faces the camera. Its image covers the colour
    pixels whose centres are inside; where several do, the nearest counts.

    :param depth: in its own camera's frame.
    :param colour: the colour camera.
    :param depth_to_colour: (4, 4), takes points of the depth camera's frame to the colour
        camera's.
    """
    rows, columns = np.nonzero(depth.metres)
    points = depth.points_at(columns, rows)
    rotation = depth_to_colour[:3, :3].astype(np.float32)
    points = points @ rotation.T + depth_to_colour[:3, 3].astype(np.float32)
    before = points[:, 2] > 1e-3
    points, own = points[before], depth.metres[rows, columns][before]
    x, y = colour.pixels(points).T
    # A hair more than a pixel of depth covers, so that rounding leaves no line between two.
    share = np.float32(1.02) * own / points[:, 2]
    half_x = share * np.float32(colour.fx / depth.intrinsics.fx / 2)
    half_y = share * np.float32(colour.fy / depth.intrinsics.fy / 2)
    return DepthImage(_nearest(x, y, half_x, half_y, points[:, 2], colour), colour)


def _nearest(
    x: NDArray[np.floating[Any]],
    y: NDArray[np.floating[Any]],
    half_x: NDArray[np.floating[Any]],
    half_y: NDArray[np.floating[Any]],
    z: NDArray[np.floating[Any]],
    camera: Intrinsics,
) -> NDArray[np.float32]:
    """Return the least depth, (H, W) metres, of rectangles (P,) round (x, y); 0 without any."""
    left, right = np.ceil(x - half_x), np.ceil(x + half_x)
    top, bottom = np.ceil(y - half_y), np.ceil(y + half_y)
    seen = (right > 0) & (left < camera.width) & (bottom > 0) & (top < camera.height)
    # No integer holds how far outside the picture others are, and none of their pixels is seen.
    left, right = (_whole(a[seen], camera.width) for a in (left, right))
    top, bottom = (_whole(a[seen], camera.height) for a in (top, bottom))
    z = z[seen]
    result = np.full(camera.height * camera.width, np.inf, np.float32)
    widest = int(min((right - left).max(initial=0), WIDEST_SPLAT))
    highest = int(min((bottom - top).max(initial=0), WIDEST_SPLAT))
    for down in range(highest):
        for across in range(widest):
            row, column = top + down, left + across
            covered = (column < right) & (row < bottom) & (column >= 0) & (row >= 0)
            covered &= (column < camera.width) & (row < camera.height)
            pixel = row[covered] * camera.width + column[covered]
            np.minimum.at(result, pixel, z[covered])
    result[~np.isfinite(result)] = 0
    return result.reshape(camera.height, camera.width)


def _whole(edges: NDArray[np.floating[Any]], most: int) -> NDArray[np.int32]:
    """Return edges of rectangles as whole numbers, not far outside a picture."""
    return np.clip(edges, -WIDEST_SPLAT, most).astype(np.int32)
