"""From light to 8 bits: exposure, lens, noise of the sensor and a tone curve."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_BRIGHT = 0.8
"""What the brightest twentieth of a picture's light is brought to at most."""
_MIDDLE = (0.26, 0.42)
"""What the median of a picture's light is brought to, about a third of full."""


@dataclass(frozen=True)
class Exposure:
    """How a camera turns light into a picture.

    :param gain: factor of the light; None measures it on the picture.
    :param middle: what the median light becomes where ``gain`` is None.
    :param vignette: share of light lost in the corners.
    :param blur: standard deviation of the lens's blur, pixels at 480 columns.
    :param shot: variance of noise over light.
    :param read: variance of noise without light.
    """

    gain: float | None = None
    middle: float = 0.33
    vignette: float = 0.0
    blur: float = 0.0
    shot: float = 0.0
    read: float = 0.0

    def fixed(self, light: Floats) -> Exposure:
        """Return the same exposure with the gain measured on a picture, (H, W, 3).

        The median becomes ``middle``, unless this would burn the brightest twentieth.
        """
        mean = light.mean(2)
        median, bright = (max(float(value), 0.02) for value in np.percentile(mean, (50, 95)))
        gain = self.gain if self.gain is not None else min(self.middle / median, _BRIGHT / bright)
        return Exposure(gain, self.middle, self.vignette, self.blur, self.shot, self.read)


NEUTRAL = Exposure(gain=0.62)
"""For catalogues and tests of colour, under ``light.neutral_light``."""


def random_exposure(rng: np.random.Generator) -> Exposure:
    """Return an exposure as an ordinary camera has it."""
    return Exposure(
        None,
        float(rng.uniform(*_MIDDLE)),
        float(rng.uniform(0, 0.22)),
        float(rng.uniform(0.25, 0.6)),
        float(rng.uniform(1e-5, 2e-4)),
        float(rng.uniform(1e-6, 1e-5)),
    )


def tone_curve(light: Floats) -> Floats:
    """Return light in [0, 1] of light from 0 on: brightest parts are compressed, not cut.

    The fit of the ACES curve by K. Narkowicz (2015).
    """
    x = light * np.float32(0.8)
    return np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)


def expose(light: Floats, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture, (H, W, 3) uint8 RGB, of linear light, (H, W, 3) float32."""
    height, width = light.shape[:2]
    gain = exposure.fixed(light).gain or 1.0
    x = np.minimum(light, 30) * np.float32(gain)
    if exposure.vignette:
        row = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        column = np.linspace(-1, 1, width, dtype=np.float32)[None]
        x *= (1 - np.float32(exposure.vignette) * (row**2 + column**2) / 2)[..., None]
    if exposure.blur:
        x = cv2.GaussianBlur(x, (0, 0), exposure.blur * max(1, width / 480))
    if exposure.shot or exposure.read:
        deviation = np.sqrt(
            np.float32(exposure.shot) * np.maximum(x, 0) + np.float32(exposure.read)
        )
        x += deviation * rng.standard_normal(x.shape, dtype=np.float32)
    developed = tone_curve(np.maximum(x, 0)) ** np.float32(1 / 2.2)
    return np.asarray(developed * 255 + 0.5).astype(np.uint8)
