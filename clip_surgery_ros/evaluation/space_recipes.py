"""Recipes from a mask and depth to a place: that of this package, and those common elsewhere.

The others are written anew after what their sources say, to compare with; each docstring names
where it is used. None of them cuts the support off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.space.boxes import SpaceBox, box_of
from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.lifting import LiftSettings, lift
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

UP = np.array([0.0, 0.0, 1.0])
LEAST = 10
"""Points that a box of a common recipe needs."""
GRID = 0.005
"""Metres of the grid that thins points before outliers and clusters are looked for."""
MOST = 800
"""Points in which outliers and clusters are looked for at most, as all pairs are compared."""
NEIGHBOURS, SPREAD = 40, 0.5
"""Points whose mean distance is looked at for outliers, and the deviations that are allowed."""
GAP = 0.1
"""Metres between depths that divide a mask, where the recipe erodes it."""
APART = 0.03
"""Metres between clusters."""
BIN = 0.01
"""Metres of a bin of the histogram of depth."""
REACH = (0.08, 0.60)
"""Least and greatest metres round the histogram's mode that are kept."""


@dataclass(frozen=True)
class Sight:
    """An object as recipes get it.

    :param mask: (H, W) as a network would find it, more or less.
    :param clicks: (K, 2) x, y of pixels on the object.
    :param others: (H, W) pixels of other objects.
    :param to_world: takes points of the camera's frame to the world's, whose z is up.
    """

    depth: DepthImage
    mask: Mask
    clicks: NDArray[np.intp]
    others: Mask
    to_world: Rigid

    def points(self, pixels: Mask) -> Floats:
        """Return the points (P, 3) in the world of pixels (H, W) that have depth."""
        rows, columns = np.nonzero(pixels & (self.depth.metres > 0))
        return self.to_world.apply(self.depth.points_at(columns, rows))


@dataclass(frozen=True)
class Place:
    """Where a recipe says that an object is.

    :param centre: (3,) in the world, metres.
    :param size: (3,) shorter and longer side of the footprint, and height; None if the recipe
        gives a point alone.
    :param covariance: (3, 3) of the centre, square metres, if the recipe gives one.
    :param reasons: why the box may be wrong.
    """

    centre: Floats
    size: Floats | None = None
    covariance: Floats | None = None
    reasons: tuple[Reason, ...] = ()


def place_of(box: SpaceBox) -> Place:
    """Return the place of an upright box."""
    return Place(box.centre, np.array([*sorted(box.size[:2]), box.size[2]]))


def lifted(sight: Sight) -> Place | None:
    """``space.lifting``, the recipe of this package, in a frame whose z is up."""
    found = lift(
        sight.depth,
        sight.mask,
        sight.clicks,
        sight.to_world,
        sight.others,
        LiftSettings(up=UP),
    )
    if found.box is None:
        return None
    place = place_of(found.box)
    reasons = tuple(finding.reason for finding in found.findings)
    return Place(place.centre, place.size, found.covariance, reasons)


def box_centre(sight: Sight) -> Place | None:
    """Depth at the centre of the 2D box, or the median of the 5 x 5 pixels round it where there
    is none (RAI's detection publisher).
    """
    box = mask_box(sight.mask)
    if box is None:
        return None
    x, y = box.x + box.width // 2, box.y + box.height // 2
    around = sight.depth.metres[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
    depth = sight.depth.metres[y, x] or (np.median(around[around > 0]) if around.any() else 0)
    if not depth:
        return None
    point = sight.depth.intrinsics.points(np.array([x]), np.array([y]), np.array([depth]))
    return Place(sight.to_world.apply(point)[0])


def median(sight: Sight) -> Place | None:
    """The median of each coordinate of the points in the mask (LASR's lang_sam service)."""
    points = sight.points(sight.mask)
    return Place(np.median(points, axis=0)) if len(points) else None


def histogram_mode(sight: Sight) -> Place | None:
    """Depth round the mode of its histogram, weighted towards the box's centre; the box from 3 to
    97 % across and 1 to 99 % upwards (yolo_ros).
    """
    box = mask_box(sight.mask)
    rows, columns = np.nonzero(sight.mask & (sight.depth.metres > 0))
    if box is None or len(rows) < LEAST:
        return None
    depth = sight.depth.metres[rows, columns]
    across = (columns - box.x - box.width / 2) / (box.width / 2)
    down = (rows - box.y - box.height / 2) / (box.height / 2)
    weight = np.maximum(0.3, np.exp(-(across**2 + down**2) / (2 * 0.8**2)))
    bins = ((depth - depth.min()) / BIN).astype(np.intp)
    mode = depth.min() + (np.bincount(bins, weight).argmax() + 0.5) * BIN
    spread = 4 * 1.4826 * np.median(np.abs(depth - np.median(depth)))
    near = np.abs(depth - mode) <= np.clip(spread, *REACH)
    points = sight.to_world.apply(sight.depth.points_at(columns[near], rows[near]))
    if len(points) < LEAST:
        return None
    return _trimmed(points, 0.03, 0.01)


def nearest_cluster(sight: Sight) -> Place | None:
    """The cluster of points that is nearest to the camera, of those with enough points (the
    frustum recipes, ultralytics_ros and detic_ros).
    """
    points = thinned(sight.points(sight.mask), GRID)
    if not len(points):
        return None
    labels = clusters(points, APART)
    ranges = np.linalg.norm(points - sight.to_world.translation, axis=1)
    sizable = [k for k in range(labels.max() + 1) if (labels == k).sum() >= LEAST]
    if not sizable:
        return None
    nearest = min(sizable, key=lambda k: float(np.median(ranges[labels == k])))
    return place_of(box_of(points[labels == nearest], "upright", UP, None))


def eroded(sight: Sight) -> Place | None:
    """The eroded mask, of which the part at the median depth counts; its box from 2 to 98 %
    (dimos, without its last step).
    """
    points = sight.points(_core(sight))
    return _trimmed(points, 0.02, 0.02) if len(points) >= LEAST else None


def without_outliers(sight: Sight) -> Place | None:
    """The same part, thinned to a grid, without points whose neighbours are far: statistical
    outlier removal (dimos).
    """
    points = thinned(sight.points(_core(sight)), GRID)
    if len(points) < LEAST:
        return None
    count = min(NEIGHBOURS + 1, len(points))
    between = distances(points, points)
    mean = np.partition(between, count - 1, axis=1)[:, :count].sum(1) / max(1, count - 1)
    kept = points[mean <= mean.mean() + SPREAD * mean.std()]
    return _trimmed(kept, 0.0, 0.0) if len(kept) >= LEAST else None


RECIPES: Mapping[str, Callable[[Sight], Place | None]] = {
    "clip_surgery_ros": lifted,
    "depth at the box's centre": box_centre,
    "median in the mask": median,
    "erosion, percentiles": eroded,
    "outlier removal": without_outliers,
    "histogram's mode": histogram_mode,
    "nearest cluster": nearest_cluster,
}
"""By name; the first is that of this package."""


def floor(sight: Sight) -> Place | None:
    """The box round all points of the mask: with exact depth and mask, what one view allows."""
    points = sight.points(sight.mask)
    return _trimmed(points, 0.0, 0.0) if len(points) >= LEAST else None


def _core(sight: Sight) -> Mask:
    """Return the eroded mask's pixels at the median depth, as far as no gap divides them."""
    pixels = round(0.1 * float(np.sqrt(sight.mask.sum() / np.pi)))
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    measured = sight.mask & (sight.depth.metres > 0)
    inner = (cv2.erode(sight.mask.astype(np.uint8), kernel) > 0) & measured
    core = inner if inner.any() else measured
    depths = np.sort(sight.depth.metres[core])
    if not len(depths):
        return core
    gaps = np.flatnonzero(np.diff(depths) > GAP)
    middle = len(depths) // 2
    first = int(gaps[gaps < middle].max(initial=-1)) + 1
    last = int(gaps[gaps >= middle].min(initial=len(depths) - 1))
    return core & (sight.depth.metres >= depths[first]) & (sight.depth.metres <= depths[last])


def _trimmed(points: Floats, across: float, upwards: float) -> Place:
    """Return the smallest upright box without a share of the points at each end of its axes."""
    angle = np.radians(cv2.minAreaRect(points[:, :2].astype(np.float32))[2])
    c, s = np.cos(angle), np.sin(angle)
    axes = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    local = points @ axes
    low, high = np.quantile(local[:, :2], [across, 1 - across], axis=0)
    bottom, top = np.quantile(local[:, 2], [upwards, 1 - upwards])
    low, high = np.array([*low, bottom]), np.array([*high, top])
    width, depth, height = high - low
    return Place(axes @ ((low + high) / 2), np.array([*sorted((width, depth)), height]))


def thinned(points: Floats, grid: float) -> Floats:
    """Return one point of each cell of a grid, (Q, 3), and of those :data:`MOST` at most."""
    cells = np.floor(points / grid).astype(np.intp)
    cells -= cells.min(0, initial=0)
    _, width, depth = cells.max(0, initial=0) + 1
    numbers = (cells[:, 0] * width + cells[:, 1]) * depth + cells[:, 2]
    first = points[np.sort(np.unique(numbers, return_index=True)[1])]
    return first[:: -(-len(first) // MOST) or 1]


def clusters(points: Floats, apart: float) -> NDArray[np.intp]:
    """Return the cluster of each point, (P,) from 0: those that chains of steps join.

    :param apart: longest step, metres.
    """
    labels = np.full(len(points), -1, np.intp)
    for label in range(len(points)):
        if (labels >= 0).all():
            break
        front = np.flatnonzero(labels < 0)[:1]
        while len(front):
            labels[front] = label
            rest = np.flatnonzero(labels < 0)
            front = rest[(distances(points[rest], points[front]) <= apart).any(1)]
    return labels


def distances(first: Floats, second: Floats) -> NDArray[np.float32]:
    """Return the distances between points (P, 3) and (Q, 3), (P, Q) float32."""
    middle = second.mean(0)
    a, b = (first - middle).astype(np.float32), (second - middle).astype(np.float32)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
