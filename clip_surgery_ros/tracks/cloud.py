"""Points of a track: how they accumulate, and how far others are from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

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


def thinned(points: NDArray[np.floating], most: int, turn: int = 0) -> Points:
    """Return at most so many of the points (P, 3), evenly taken.

    :param turn: another number takes others.
    """
    return np.asarray(points[taken(len(points), most, turn)], np.float32)


def taken(count: int, most: int, turn: int = 0) -> NDArray[np.intp]:
    """Return which of so many points :func:`thinned` takes."""
    if count <= most:
        return np.arange(count)
    index = (np.arange(most) + (turn * SPREAD) % 1) * (count / most)
    return index.astype(np.intp)


def merged(old: Points, new: Points, turn: int = 0) -> Points:
    """Return the points of both, one of each cube, :data:`MOST` at most."""
    points = np.concatenate([old, new])
    cells = np.floor(points / VOXEL).astype(np.int64)
    keys = (cells[:, 0] * 2097152 + cells[:, 1]) * 2097152 + cells[:, 2]
    _, first = np.unique(keys, return_index=True)
    return thinned(points[first], MOST, turn)


def nearest(points: Points, others: Points) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return of each of points (P, 3) which of the others is nearest, and how far it is."""
    centre = others.mean(0)  # near 0, single precision is exact enough
    a, b = points - centre, others - centre
    squares = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)
    index = squares.argmin(1)
    least = squares[np.arange(len(a)), index]
    return index, np.sqrt(np.maximum(least, 0))


def distance(points: Points, others: Points) -> float:
    """Return how far points (P, 3) lie from others on average, metres.

    Of a part of an object it is 0, also where the part's middle is elsewhere.
    """
    return float(nearest(points, others)[1].mean())


def shift(visible: Points, seen: Points) -> Points:
    """Return by how much points moved, (3,) metres: from those that should be visible to what is
    seen of the same object now.
    """
    index, _ = nearest(visible, seen)
    return np.asarray(np.median(seen[index] - visible, axis=0), np.float32)
