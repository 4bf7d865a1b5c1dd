"""Vectors of three and quantiles of few numbers, as numpy has them and to the bit.

An object needs a dozen of them, and numpy's functions take 20 to 130 us to begin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def cross(a: Floats, b: Floats) -> Floats:
    """Return the cross products of vectors, (..., 3), as ``np.cross``.

    >>> cross(np.array([1.0, 0, 0]), np.array([0.0, 1, 0])).tolist()
    [0.0, 0.0, 1.0]
    """
    result = np.empty(a.shape)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        result[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return result


def quantiles(values: Floats, *shares: float) -> list[Any]:
    """Return quantiles along the first axis, as ``np.quantile`` with its linear interpolation.

    :param values: (N,) or (N, C), N at least 1.
    :param shares: 0 to 1.
    :return: a number or (C,) for each share.

    >>> [float(q) for q in quantiles(np.array([4.0, 0, 1]), 0.0, 0.75)]
    [0.0, 2.5]
    """
    ordered = np.sort(np.ascontiguousarray(values.T), axis=-1)
    last = ordered.shape[-1] - 1
    found = []
    for share in shares:
        at = last * share
        index = int(at)
        low, high, rest = ordered[..., index], ordered[..., min(index + 1, last)], at - index
        step = high - low
        found.append(low + step * rest if rest < 0.5 else high - step * (1 - rest))
    return found


def median(values: NDArray[np.floating]) -> float:
    """Return the median of numbers, (N,), as ``np.median``.

    >>> median(np.array([4.0, 0, 1, 2]))
    1.5
    """
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    low, high = np.partition(values, [half - 1, half])[half - 1 : half + 1]
    return float((low + high) / 2)
