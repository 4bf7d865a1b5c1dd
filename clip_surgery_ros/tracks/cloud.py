"""Points of a track: how they accumulate, and how far others are from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64)

VOXEL = 0.005
"""Edge of the cubes of which each keeps one point, metres."""
MOST = 2000
"""Points that are kept of a track."""
ADDED = 400
"""Points that one view adds at most: the others are like them, and later views add others."""
SAMPLE = 128
"""Points that distances are computed with: of an object of 10 cm they are 1 cm apart."""
SPREAD = 0.618034
"""Steps of the golden ratio take other points each time."""
SIDE = 2**21
"""Cubes along an axis that have a key of their own: 10 km."""


@dataclass(frozen=True)
class Cloud:
    """Points, one of each cube of :data:`VOXEL`.

    :param points: (P, 3) metres.
    :param cubes: (P,) keys of their cubes, ascending, so that those of new points are found fast.
    """

    points: Points
    cubes: NDArray[np.int64]

    @classmethod
    def of(cls, points: Points) -> Cloud:
        """Return the first of the points (P, 3) of each cube."""
        cubes, first = np.unique(_cubes(points), return_index=True)
        return cls(points[first], cubes)

    @cached_property
    def low(self) -> Points:
        """(3,) least coordinates; 0 without points."""
        return self._extremes[0]

    @cached_property
    def high(self) -> Points:
        """(3,) greatest coordinates; 0 without points."""
        return self._extremes[1]

    @cached_property
    def _extremes(self) -> tuple[Points, Points]:
        if not len(self.points):
            return np.zeros(3, np.float32), np.zeros(3, np.float32)
        axes = np.ascontiguousarray(self.points.T)  # several times as fast as along the points
        return axes.min(1), axes.max(1)

    def only(self, keep: NDArray[np.bool_]) -> Cloud:
        """Return some of the points."""
        return self if keep.all() else Cloud(self.points[keep], self.cubes[keep])

    def moved(self, by: Points) -> Cloud:
        """Return the points, moved by (3,) metres."""
        return Cloud.of(self.points + by) if by.any() else self

    def joined(self, new: Points, turn: int = 0) -> Cloud:
        """Return these points and those of the new ones (P, 3) that lie in other cubes,
        :data:`MOST` at most.

        :param turn: another number leaves out others.
        """
        both = self._with(new)
        if len(both.points) <= MOST:
            return both
        chosen = taken(len(both.points), MOST, turn)
        return Cloud(both.points.take(chosen, axis=0), both.cubes[chosen])

    def _with(self, new: Points) -> Cloud:
        if not len(self.points):
            return Cloud.of(new)
        cubes = _cubes(new)
        at = np.searchsorted(self.cubes, cubes)
        is_new = self.cubes.take(at, mode="clip") != cubes
        if not is_new.any():
            return self
        added = Cloud.of(new[is_new])
        merged = np.concatenate([self.cubes, added.cubes])
        order = merged.argsort(kind="stable")  # of two sorted parts, which takes one pass
        points = np.concatenate([self.points, added.points]).take(order, axis=0)
        return Cloud(points, merged[order])


NO_POINTS = Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))


def _cubes(points: Points) -> NDArray[np.int64]:
    """Return the key of each point's cube, (P,)."""
    x, y, z = np.floor(points.T / VOXEL).astype(np.int64)
    return np.asarray((x * SIDE + y) * SIDE + z)


def thinned(points: NDArray[np.floating], most: int, turn: int = 0) -> Points:
    """Return at most so many of the points (P, 3), evenly taken.

    :param turn: another number takes others.
    """
    if len(points) > most:
        points = points.take(taken(len(points), most, turn), axis=0)
    return np.asarray(points, np.float32)


def taken(count: int, most: int, turn: int = 0) -> NDArray[np.intp]:
    """Return which of more points than ``most`` :func:`thinned` takes."""
    index = (np.arange(most) + (turn * SPREAD) % 1) * (count / most)
    return index.astype(np.intp)


def middle(values: NDArray[Number]) -> NDArray[Number]:
    """Return the median along the first axis: as ``np.median``, which takes ten times as long
    for few numbers.
    """
    ordered, count = np.sort(values, axis=0), len(values)
    return np.asarray((ordered[(count - 1) // 2] + ordered[count // 2]) / 2, values.dtype)


def _ranks(points: Points, others: Points) -> Points:
    """Return a table (P, Q) of squared distances, each row less the square of its point's length,
    which changes no order within a row.
    """
    table = (-2 * points) @ others.T
    table += np.einsum("ij,ij->i", others, others)
    return table


def nearest(points: Points, others: Points) -> NDArray[np.intp]:
    """Return of each of points (P, 3) which of the others is nearest."""
    origin = others[0]  # near 0, single precision is exact enough
    return _ranks(points - origin, others - origin).argmin(1)


def distance(points: Points, others: Points) -> float:
    """Return how far points (P, 3) lie from others on average, metres.

    Of a part of an object it is 0, also where the part's middle is elsewhere.
    """
    origin = others[0]
    own = points - origin
    squares = _ranks(own, others - origin).min(1) + np.einsum("ij,ij->i", own, own)
    return float(np.sqrt(np.maximum(squares, 0)).mean())


def shift(visible: Points, seen: Points) -> Points:
    """Return by how much points moved, (3,) metres: from those that should be visible to what is
    seen of the same object now.
    """
    return middle(seen.take(nearest(visible, seen), axis=0) - visible)
