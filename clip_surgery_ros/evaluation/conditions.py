"""What cameras and light do to a picture, to measure how much a pair of networks loses by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

CAST = (1.15, 1.0, 0.85)
"""Factors of red, green and blue: lamps of 2,700 K seen by a camera that is set to 3,000 K."""
DARK = 0.25
"""Share of the light: two stops too few."""
BLUR = 1 / 320
"""Standard deviation of the blur as a share of the picture's width: 2 pixels of 640."""
QUALITY = 20
"""Of JPEG, in OpenCV's scale to 100: blocks are seen."""
NOISE = 20.0
"""Standard deviation in grey levels of 255: a small sensor at night."""


def cast(picture: Picture) -> Picture:
    """Return a picture with a warm colour cast."""
    return _limited(np.multiply(picture, CAST))


def dark(picture: Picture) -> Picture:
    """Return a picture of a quarter of the light, with the 2.2 of sRGB's transfer curve."""
    return _limited(np.multiply(picture, DARK ** (1 / 2.2)))


def grey(picture: Picture) -> Picture:
    """Return a picture without colours, as an infrared camera's."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def blur(picture: Picture) -> Picture:
    """Return a picture out of focus."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), BLUR * picture.shape[1]))


def jpeg(picture: Picture) -> Picture:
    """Return a picture after strong JPEG compression."""
    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(
        cv2.cvtColor(cv2.imdecode(file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8
    )


def noise(picture: Picture) -> Picture:
    """Return a picture with noise, the same for pictures of one size."""
    generator = np.random.Generator(np.random.PCG64(0))
    return _limited(picture + generator.normal(0, NOISE, picture.shape))


def _limited(values: NDArray[np.float64]) -> Picture:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


CONDITIONS: Mapping[str, Callable[[Picture], Picture]] = {
    "cast": cast,
    "dark": dark,
    "grey": grey,
    "blur": blur,
    "jpeg": jpeg,
    "noise": noise,
}
"""Condition by name."""
