"""Textures: base colours that vary over a surface, computed at each point.

A texture is a function of the material, the points' base colours (P, 3) linear, the points (P, 3)
and the faces' normals (P, 3), both in the object's frame; it returns colours (P, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.colours import COLOURS, linear
from clip_surgery_ros.world.materials import Material
from clip_surgery_ros.world.noise import noise_sheet, sample

Floats = NDArray[np.float32]
Texture = Callable[[Material, Floats, Floats, Floats], NDArray[np.floating]]

TEXTURES: dict[str, Texture] = {}
"""By name; ``surfaces.py`` adds those of tables, floors and walls."""


def texture(name: str) -> Callable[[Texture], Texture]:
    """Return a decorator that enters a texture into the table."""

    def enter(function: Texture) -> Texture:
        TEXTURES[name] = function
        return function

    return enter


def apply_textures(
    materials: Sequence[Material],
    index: NDArray[np.integer],
    points: Floats,
    normals: Floats,
    uv: Floats,
) -> Floats:
    """Return the base colour of points on surfaces.

    :param materials: M of them.
    :param index: (P,) which material each point has.
    :param points: (P, 3) in the object's frame, metres.
    :param normals: (P, 3) of the faces, in the object's frame.
    :param uv: (P, 2) places in images; (P, 0) if no material has one.
    :returns: (P, 3) float32, linear.
    """
    colours = np.array([material.rgb for material in materials], np.float32)[index]
    for k in np.unique(index):
        material = materials[k]
        if material.image is None and material.texture == "none":
            continue
        i = np.flatnonzero(index == k)
        if material.image is not None:
            colours[i] = linear(sample(material.image, uv[i, 0], 1 - uv[i, 1]))
        else:
            colours[i] = TEXTURES[material.texture](material, colours[i], points[i], normals[i])
    return np.maximum(colours, 0)


def _height(material: Material, points: Floats) -> Floats:
    """Return how high points are on the object, 0 to 1, (P,)."""
    return (points[:, 2] - material.low[2]) / max(material.high[2] - material.low[2], 1e-6)


@texture("plain")
def _plain(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    x = p[:, 0] * 4 + p[:, 2] * 3 + m.phase[0]
    y = p[:, 1] * 4 + p[:, 2] * 2 + m.phase[1]
    return colour * (0.95 + 0.1 * sample(noise_sheet(), x, y)[:, :1])


@texture("wood")
def _wood(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    x = p[:, 0] * 1.2 + m.phase[0]
    grain = sample(noise_sheet(), x, (p[:, 1] + 0.35 * p[:, 2]) * 14 + m.phase[1])
    return colour * (0.72 + 0.42 * grain[:, :1] + 0.12 * (grain[:, 1:2] - 0.5))


@texture("crust")
def _crust(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    spots = sample(
        noise_sheet(), p[:, 0] * 5 + m.phase[0], (p[:, 1] + p[:, 2] * 0.7) * 5 + m.phase[1]
    )
    baked = np.clip(1.3 - 0.45 * _height(m, p)[:, None], 0.6, 1.4)
    return colour * (0.75 + 0.5 * spots[:, :1]) * (1 + 0.25 * (spots[:, 1:2] - 0.5)) * baked


@texture("fruit")
def _fruit(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    turn = np.arctan2(p[:, 1], p[:, 0]) / (2 * np.pi)
    streaks = sample(noise_sheet(), turn * 3 + m.phase[0], p[:, 2] * 6 + m.phase[1])
    return colour * (0.84 + 0.32 * streaks[:, :1]) * (1 + 0.2 * (streaks[:, 1:2] - 0.5))


@texture("weave")
def _weave(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    turn = np.arctan2(p[:, 1], p[:, 0])
    strands = np.sin(turn * 26) * np.sign(np.sin(p[:, 2] * 520))
    return colour * (0.8 + 0.28 * strands[:, None])


@texture("pores")
def _pores(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    x = p[:, 0] * 9 + p[:, 2] * 7 + m.phase[0]
    holes = sample(noise_sheet(), x, p[:, 1] * 9 + p[:, 2] * 5 + m.phase[1])[:, 1:2]
    return colour * np.where(holes < 0.3, 0.55, 0.9 + 0.2 * holes)


@texture("screen")
def _screen(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    if m.phase[2] < 0.4:  # switched off
        return colour
    x, y = p[:, 0] * 30 + m.phase[0] * 9, p[:, 1] * 30 + m.phase[1] * 9
    lit = (np.floor(x) * 7 + np.floor(y) * 13) % 5 == 0
    return colour + (0.02 + 0.05 * lit)[:, None] * np.array([0.3, 0.6, 1.0], np.float32)


@texture("bristle")
def _bristle(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    hairs = sample(noise_sheet(), p[:, 0] * 0.8 + m.phase[0], p[:, 1] * 30 + m.phase[1])
    return colour * (0.6 + 0.8 * hairs[:, 1:2])


def _graphic(
    colour: NDArray[np.floating], x: Floats, y: Floats, phase: Floats
) -> NDArray[np.floating]:
    """Return colours with a plain printed picture over the unit square of (x, y)."""
    palette = list(COLOURS.values())
    first, second = (linear(palette[int(phase[k] * 997) % len(palette)]) for k in (0, 1))
    radius, turn = np.hypot(x - 0.5, y - 0.5), np.arctan2(y - 0.5, x - 0.5)
    design = int(phase[2] * 991) % 4
    if design == 0:  # rings
        shape, inner = radius < 0.46, (radius * 8).astype(np.int64) % 2 == 0
    elif design == 1:  # sun
        shape, inner = radius < 0.32 + 0.12 * np.sign(np.sin(turn * 9)), radius < 0.22
    elif design == 2:  # hills
        hill = 0.6 - 0.22 * np.sin(x * 7 + phase[0] * 6)
        shape, inner = radius < 0.47, y > hill
    else:  # diamond
        distance = np.abs(x - 0.5) + np.abs(y - 0.5)
        shape, inner = distance < 0.48, distance < 0.26
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1) & shape
    picture = np.where(inner[:, None], second, first)
    return np.where(inside[:, None], picture, colour)


@texture("label")
def _label(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    """Paper round a bottle: a picture between two bars of the object's colour."""
    turn = np.arctan2(p[:, 1], p[:, 0]) / (2 * np.pi) + m.phase[0]
    radius = float(np.hypot(p[:, 0], p[:, 1]).max())
    up = _height(m, p)
    side = float(m.high[2] - m.low[2])
    x = ((turn * 2) % 1 - 0.5) * np.pi * radius / side + 0.5
    bars = (up < 0.08) | (up > 0.85)
    return _graphic(np.where(bars[:, None], m.second, colour), x, 1 - up, m.phase)


def _printed(
    m: Material, colour: Floats, p: Floats, n: Floats, axes: tuple[int, int, int], side: float
) -> NDArray[np.floating]:
    """Return colours with a picture and a bar for a title on two opposite sides of a box.

    :param axes: along the picture's x, its y, and across.
    :param side: of the picture, as a share of the box's shorter side.
    """
    across, up, out = axes
    centre, size = (m.low + m.high) / 2, m.high - m.low
    face = np.abs(n[:, out]) > 0.7
    length = min(size[across], size[up]) * side
    x = (p[:, across] - centre[across]) / length + 0.5
    y = 0.42 - (p[:, up] - centre[up]) / length
    title = np.abs((p[:, up] - m.low[up]) / size[up] - 0.85) < 0.04
    title &= face & (np.abs(x - 0.5) < 0.5)
    ink = linear((240, 238, 228)) if np.mean(m.rgb) < 0.4 else linear((30, 30, 36))
    titled = np.where(title[:, None], ink, colour)
    return np.where(face[:, None], _graphic(titled, x, y, m.phase), titled)


@texture("cover")
def _cover(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    return _printed(m, colour, p, n, (0, 1, 2), 0.5)


@texture("print")
def _print(m: Material, colour: Floats, p: Floats, n: Floats) -> NDArray[np.floating]:
    return _printed(m, colour, p, n, (0, 2, 1), 0.62)
