"""Patterns of tables, floors and walls: planks, tiles, marble and others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.world.colours import linear
from clip_surgery_ros.world.materials import Material
from clip_surgery_ros.world.noise import noise_sheet, sample
from clip_surgery_ros.world.textures import texture

Floats = NDArray[np.float32]
Pattern = Callable[[Material, Floats, Floats, Floats], NDArray[np.floating]]

PATTERNS: dict[str, Pattern] = {}
"""By name: a function of the material, colours (P, 3) and coordinates x, y (P,) in metres."""

WOODS = ((196, 150, 98), (150, 98, 58), (222, 190, 146), (96, 62, 42), (176, 120, 72))
"""sRGB of planks and cork."""


def _pattern(name: str) -> Callable[[Pattern], Pattern]:
    """Return a decorator that enters a pattern as the texture of flat surfaces."""

    def enter(function: Pattern) -> Pattern:
        PATTERNS[name] = function

        @texture(name if name != "plain" else "paint")
        def flat(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
            axis = np.abs(n).argmax(1)
            x = np.where(axis == 0, p[:, 1], p[:, 0]) * np.float32(m.scale)
            y = np.where(axis == 2, p[:, 1], p[:, 2]) * np.float32(m.scale)
            return function(m, colour, y, x) if m.turned else function(m, colour, x, y)

        return function

    return enter


def _noise(m: Material, x: Floats, y: Floats, fx: float, fy: float) -> Floats:
    """Return noise at points, (P, 3), with frequencies along x and y."""
    return sample(noise_sheet(), x * fx + m.phase[0], y * fy + m.phase[1])


@_pattern("planks")
def _planks(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    row = np.floor(y / 0.11)
    grain = _noise(m, x + row * 0.67, y + row * 0.14, 0.55, 4.5)
    tone = 0.8 + 0.24 * ((row * 12.9898 + m.phase[2] * 7) % 1)
    seam = np.where(np.abs((y / 0.11) % 1 - 0.5) > 0.487, 0.5, 1)
    return (
        colour * ((0.68 + 0.46 * grain[:, 0] + 0.1 * (grain[:, 1] - 0.5)) * tone * seam)[:, None]
    )


@_pattern("plain")
def _paint(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    return colour * (0.97 + 0.06 * _noise(m, x, y, 0.35, 0.35)[:, 2:3])


@_pattern("cloth")
def _cloth(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    threads = _noise(m, x, y, 9, 9)[:, 1]
    folds = _noise(m, x, y, 0.8, 0.8)[:, 2]
    return colour * ((0.9 + 0.2 * threads) * (0.95 + 0.1 * folds))[:, None]


@_pattern("checks")
def _checks(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    share = ((np.floor(x / 0.05) % 2) + (np.floor(y / 0.05) % 2))[:, None] / 2
    return colour * (1 - share) + m.second * share


@_pattern("marble")
def _marble(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    clouds = _noise(m, x, y, 0.6, 0.6)
    bent = sample(
        noise_sheet(), x * 0.9 + 0.15 * clouds[:, 0] + m.phase[2], y * 0.9 + 0.15 * clouds[:, 2]
    )
    vein = 0.5 * np.clip(1 - np.abs(bent[:, :1] - 0.5) * 14, 0, 1) ** 1.5
    return colour * (0.93 + 0.14 * clouds[:, :1]) * (1 - vein) + m.second * vein


@_pattern("stone")
def _stone(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    coarse, fine = _noise(m, x, y, 1.5, 1.5), _noise(m, x, y, 7, 7)
    return colour * (0.72 + 0.36 * coarse[:, :1] + 0.24 * (fine[:, 1:2] - 0.3))


@_pattern("stripes")
def _stripes(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    return np.where(((x / 0.045) % 1 > 0.6)[:, None], m.second, colour)


@_pattern("cork")
def _cork(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    return colour * (0.7 + 0.6 * _noise(m, x, y, 5, 5)[:, 1:2])


@_pattern("brushed")
def _brushed(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    return colour * (0.86 + 0.28 * _noise(m, x, y, 0.6, 25)[:, 1:2])


@_pattern("tiles")
def _tiles(m: Material, colour: Floats, x: Floats, y: Floats) -> NDArray[np.floating]:
    gap = ((x / 0.15) % 1 < 0.025) | ((y / 0.15) % 1 < 0.025)
    tone = sample(
        noise_sheet(),
        np.floor(x / 0.15) * 0.37 + m.phase[0],
        np.floor(y / 0.15) * 0.61 + m.phase[1],
    )
    return np.where(gap[:, None], m.second, colour * (0.9 + 0.2 * tone[:, :1]))


def flat_material(
    rng: np.random.Generator, patterns: tuple[str, ...] = (), srgb: ArrayLike | None = None
) -> Material:
    """Return a random material for a flat surface.

    :param patterns: keys of ``PATTERNS`` to choose from; all if empty.
    :param srgb: base colour; muted or of wood if None.
    """
    name = str(rng.choice(patterns or tuple(PATTERNS)))
    if srgb is None and name in ("planks", "cork"):
        srgb = WOODS[int(rng.integers(len(WOODS)))]
    elif srgb is None and name == "marble":
        srgb = rng.choice([222.0, 70.0]) + rng.normal(0, 6, 3)
    elif srgb is None:
        srgb = rng.uniform(70, 215) + rng.normal(0, 11, 3)
    base = np.clip(np.asarray(srgb, np.float64) + rng.normal(0, 5, 3), 20, 245)
    dark = base * rng.uniform(0.55, 0.8)
    second = dark if base.mean() > 120 else np.clip(base * 1.5 + 40, 10, 245)
    shiny = (name in ("marble", "tiles") and rng.random() < 0.8) or (
        name == "planks" and rng.random() < 0.35
    )
    return Material(
        linear(base),
        "satin" if shiny else "matte",
        name if name != "plain" else "paint",
        linear(second),
        rng.random(3).astype(np.float32),
        turned=bool(rng.integers(2)),
        scale=float(rng.uniform(0.7, 1.4)),
    )


def painted(srgb: ArrayLike) -> Material:
    """Return a plain matte material of a colour."""
    return Material(linear(srgb), "matte", "paint")
