"""Arithmetic on arrays of vectors, faster than numpy's sums over an axis of three."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def dot(a: Array, b: Array) -> Array:
    """Return the dot products of vectors, (..., 3) each, as (...).

    The order of the additions is that of ``(a * b).sum(-1)``, so that the values are the same.
    """
    x, y, z = (a[..., k] * b[..., k] for k in range(3))
    return np.asarray(x + y + z)


def lengths(a: Array) -> Array:
    """Return the lengths of vectors, (..., 3), as (...)."""
    return np.asarray(np.sqrt(dot(a, a)))


def cross(a: Array, b: Array) -> Array:
    """Return the cross products of vectors, (P, 3) each, column after column in memory.

    Arrays in this order (Fortran's) are several times faster to scale row by row.
    """
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    result = np.empty((3, len(a)), np.result_type(a, b))
    np.subtract(ay * bz, az * by, out=result[0])
    np.subtract(az * bx, ax * bz, out=result[1])
    np.subtract(ax * by, ay * bx, out=result[2])
    return result.T
