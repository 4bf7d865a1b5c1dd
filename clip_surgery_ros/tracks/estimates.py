"""Running estimates over a track's life."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT = 0.8
"""Share of an appearance that a new sighting leaves, as in MASA's tracker (Li et al. 2024)."""


@dataclass
class RunningMean:
    """A mean that forgets with time.

    The first values count alike, later ones as much as the time that they stand for. The mean of
    calibrated probabilities is calibrated: objects with a mean of 0.7 are right in 70 % of the
    frames. A product of them, as of independent votes, would not be, as frames are alike.

    :param smooth_s: time constant, seconds.

    >>> mean = RunningMean(2.0)
    >>> for value in (1.0, 0.0):
    ...     mean.add(value, 10.0)
    >>> round(mean.value, 2)
    0.01
    """

    smooth_s: float
    value: float = 0.0
    _stamp_s: float = 0.0
    _count: int = 0

    def add(self, value: float, stamp_s: float) -> None:
        """Take a value at a time in seconds; times must not decrease."""
        self._count += 1
        passed = stamp_s - self._stamp_s
        share = max(1 / self._count, float(1 - np.exp(-passed / self.smooth_s)))
        self.value += share * (value - self.value)
        self._stamp_s = stamp_s


def mixed(
    old: NDArray[np.float32] | None, new: NDArray[np.float32] | None
) -> NDArray[np.float32] | None:
    """Return an appearance of length 1 after a new one, (C,) or None, was seen."""
    length = 0.0 if new is None else _length(new)
    if new is None or not 0 < length < math.inf:  # nor NaN
        return old
    unit = np.asarray(new / length, np.float32)
    if old is None or old.shape != unit.shape:
        return unit
    both = KEPT * old + (1 - KEPT) * unit
    return np.asarray(both / max(_length(both), 1e-6), np.float32)


def likeness(a: NDArray[np.float32] | None, b: NDArray[np.float32] | None) -> float | None:
    """Return the cosine of two appearances; None if one is not known."""
    if a is None or b is None or a.shape != b.shape:
        return None
    lengths = _length(a) * _length(b)
    return float(a @ b) / lengths if lengths > 0 else None


def _length(values: NDArray[np.float32]) -> float:
    return math.sqrt(float(values @ values))
