"""Noise that repeats without a seam, and look-ups in it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SIDE = 256
_BANDS = ((1.4, 2, 128), (0.4, 12, 128), (2.2, 1, 24))
"""Of each channel: how fast amplitude falls with frequency, least and greatest frequency."""
_LARGEST = 32000
"""``cv2.remap`` takes rows of fewer than 32768 points."""


@lru_cache(maxsize=1)
def noise_sheet() -> Floats:
    """Return (256, 256, 3) noise in [0, 1] with mean 0.5: clouds, fine grain, blotches."""
    rng = np.random.default_rng(7)
    frequency = np.fft.fftfreq(_SIDE) * _SIDE
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    radius[0, 0] = 1
    channels = []
    for slope, low, high in _BANDS:
        spectrum = np.fft.fft2(rng.normal(size=(_SIDE, _SIDE)))
        spectrum *= radius**-slope * ((radius >= low) & (radius <= high))
        values = np.fft.ifft2(spectrum).real
        channels.append(np.clip(0.5 + 0.22 * values / values.std(), 0, 1))
    return np.dstack(channels).astype(np.float32)


def sample(
    image: Floats | NDArray[np.uint8], x: NDArray[np.floating], y: NDArray[np.floating]
) -> Floats:
    """Return bilinear samples of an image that repeats.

    :param image: (H, W, C).
    :param x: (P,) in periods of the image.
    :param y: (P,) the same.
    :returns: (P, C).
    """
    height, width = image.shape[:2]
    columns = np.asarray((x % 1) * width - 0.5, np.float32)[None]
    rows = np.asarray((y % 1) * height - 0.5, np.float32)[None]
    pieces = [
        cv2.remap(
            image,
            np.ascontiguousarray(columns[:, i : i + _LARGEST]),
            np.ascontiguousarray(rows[:, i : i + _LARGEST]),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )[0]
        for i in range(0, columns.shape[1], _LARGEST)
    ]
    return np.concatenate(pieces) if pieces else np.zeros((0, *image.shape[2:]), np.float32)
