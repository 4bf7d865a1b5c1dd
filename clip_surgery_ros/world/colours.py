"""The colours that objects are offered in, and the colours of parts that keep their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (186, 36, 36),
    "orange": (226, 116, 30),
    "yellow": (232, 196, 44),
    "green": (46, 132, 62),
    "blue": (40, 78, 176),
    "purple": (110, 58, 146),
    "pink": (230, 136, 168),
    "brown": (112, 70, 42),
    "black": (30, 30, 32),
    "white": (232, 230, 225),
    "gray": (126, 127, 128),
    "turquoise": (46, 160, 160),
}
"""sRGB of the colours that a label may name, before jitter."""

NATURAL: dict[str, tuple[int, int, int]] = {
    "red": (176, 34, 38),
    "green": (122, 160, 56),
    "yellow": (232, 196, 66),
    "orange": (228, 122, 42),
    "brown": (142, 94, 54),
    "white": (232, 226, 214),
    "pink": (226, 140, 160),
}
"""sRGB of the same names on food, which has its own shades."""

FINISHES = ("matte", "glossy", "metallic")
"""How a surface reflects; a label may name it ("shiny", "metal")."""
NEVER_METALLIC = ("white",)
"""White metal looks gray, so it is painted instead (glossy)."""
FINISH_SHARES = (0.45, 0.35, 0.2)
"""How often each finish is drawn: metal is rare, as its colour is hard to see."""


def linear(srgb: ArrayLike) -> NDArray[np.float32]:
    """Return linear light, float32 in [0, 1], of sRGB values in [0, 255]."""
    return ((np.asarray(srgb, np.float32) / 255) ** np.float32(2.2)).astype(np.float32)
