"""What surfaces are made of: base colour, finish and texture."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.world.catalogue import name_number
from clip_surgery_ros.world.colours import COLOURS, NATURAL, linear

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Finish:
    """How a surface reflects.

    :param reflectance: share reflected straight back, 0 to 1 (0.04: plastic, 0.85: metal).
    :param diffuse: share of the base colour that is scattered.
    :param exponent: of the highlight; greater is sharper.
    :param blur: which of the light's three blurred surroundings is seen in it, 0 is the sharpest.
    :param surroundings: weight of that reflection.
    """

    reflectance: float
    diffuse: float
    exponent: float
    blur: int
    surroundings: float

    @property
    def is_metal(self) -> bool:
        """Its reflections take the surface's colour."""
        return self.reflectance > 0.5


SURFACE_FINISHES = {
    "matte": Finish(0.02, 1.0, 12.0, 2, 0.35),
    "glossy": Finish(0.045, 1.0, 350.0, 0, 1.0),
    "metallic": Finish(0.8, 0.22, 90.0, 1, 1.0),
    "satin": Finish(0.04, 1.0, 60.0, 1, 0.8),
    "glow": Finish(0.02, 1.0, 10.0, 2, 0.0),
}

OWN: dict[str, tuple[tuple[int, int, int], str, str]] = {
    "steel": ((186, 188, 192), "metallic", "none"),
    "brass": ((206, 170, 84), "metallic", "none"),
    "black": ((30, 30, 31), "matte", "none"),
    "keys": ((52, 53, 55), "matte", "none"),
    "white": ((232, 231, 227), "glossy", "none"),
    "cap": ((230, 230, 228), "glossy", "none"),
    "wood": ((188, 140, 88), "matte", "wood"),
    "paper": ((236, 228, 208), "matte", "plain"),
    "cardboard": ((176, 132, 88), "matte", "none"),
    "tape": ((196, 164, 110), "glossy", "none"),
    "brown": ((92, 62, 36), "matte", "none"),
    "green": ((62, 124, 50), "matte", "none"),
    "pink": ((216, 130, 138), "matte", "none"),
    "screen": ((16, 18, 22), "glossy", "screen"),
    "glow": ((255, 244, 214), "glow", "none"),
    "flame": ((255, 190, 70), "glow", "none"),
    "bristle": ((196, 170, 120), "matte", "bristle"),
    "crust": ((174, 118, 64), "matte", "crust"),
}
"""Materials of parts that keep their own colour: sRGB, finish, texture."""

PAINTED = {
    "main": "plain",
    "contrast": "none",
    "cover": "cover",
    "print": "print",
    "label": "label",
    "weave": "weave",
    "pores": "pores",
    "fruit": "fruit",
}
"""Materials that follow the object's colour, and their textures."""

BRIGHTNESS_JITTER, TINT_JITTER = 7.0, 3.0
"""Standard deviations in sRGB steps of an object's colour: small, so that it stays the colour that
is named; tint is left out of black, gray and white, which it would give a hue."""
NEUTRAL = ("black", "gray", "white")


@dataclass(frozen=True)
class Material:
    """A surface of one object or of the room.

    :param rgb: (3,) base colour, linear.
    :param finish: key of ``SURFACE_FINISHES``.
    :param texture: key of ``textures.TEXTURES``.
    :param second: (3,) a second colour for patterns, linear.
    :param phase: (3,) in [0, 1): where patterns begin.
    :param low: (3,) least corner of the object in its own frame, metres.
    :param high: (3,) greatest corner.
    :param turned: swap the two axes of a pattern.
    :param scale: of a pattern, about 1.
    :param image: (H, W, 3) uint8 RGB of a texture from a file, instead of ``texture``.
    """

    rgb: Floats
    finish: str
    texture: str = "none"
    second: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    phase: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    low: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    high: Floats = field(default_factory=lambda: np.ones(3, np.float32))
    turned: bool = False
    scale: float = 1.0
    image: NDArray[np.uint8] | None = None


def _jittered(rng: np.random.Generator, srgb: ArrayLike, neutral: bool) -> Floats:
    """Return a colour near one, linear."""
    tint = 0.0 if neutral else TINT_JITTER
    colour = np.asarray(srgb, np.float64) + rng.normal(0, BRIGHTNESS_JITTER)
    return linear(np.clip(colour + rng.normal(0, tint, 3), 4, 250))


def image_material(image: NDArray[np.uint8]) -> Material:
    """Return a matte material with the texture of a file; its base colour is the mean."""
    return Material(linear(image.reshape(-1, 3).mean(0)), "matte", image=image)


def object_material(
    material: str,
    colour: str,
    finish: str,
    natural: bool,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    seed: int,
) -> Material:
    """Return the material of a part of an object.

    :param material: the part's, key of ``OWN`` or ``PAINTED``.
    :param colour: the object's, or empty.
    :param finish: the object's; empty where none is named.
    :param natural: its colours are those of food.
    :param bounds: least and greatest corner of the object, metres.
    :param seed: of its small differences to others alike.
    """
    rng = np.random.default_rng([seed, name_number(material)])
    phase = rng.random(3).astype(np.float32)
    low, high = (np.asarray(corner, np.float32) for corner in bounds)
    if material in OWN:
        srgb, own_finish, texture = OWN[material]
        rgb = _jittered(rng, srgb, True)
        return Material(rgb, own_finish, texture, rgb, phase, low, high)
    named = (NATURAL if natural else COLOURS).get(colour, COLOURS["gray"])
    if (colour, finish) == ("gray", "metallic"):  # painted gray would look black
        named = OWN["steel"][0]
    rgb = _jittered(rng, named, colour in NEUTRAL)
    second = rgb
    finish = finish or "glossy"
    if material == "contrast":
        rgb = linear((30, 30, 32) if np.mean(named) > 110 else (230, 230, 226))
    elif material == "label":
        rgb = linear((238, 234, 222))
    if material in ("contrast", "label", "weave", "pores"):
        finish = "matte"
    elif material in ("cover", "print") and finish == "metallic":
        finish = "glossy"
    elif material == "fruit":
        finish = "satin"
    return Material(rgb, finish, PAINTED[material], second, phase, low, high)
