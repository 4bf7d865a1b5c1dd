"""How much light surfaces send to the eye: diffuse, highlights and reflections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.geometry import Geometry
from clip_surgery_ros.world.light import Lamp, Light
from clip_surgery_ros.world.materials import SURFACE_FINISHES, Material
from clip_surgery_ros.world.noise import sample
from clip_surgery_ros.world.textures import apply_textures
from clip_surgery_ros.world.vectors import dot, lengths

Floats = NDArray[np.float32]

LIFT = 4e-4
"""Metres by which shadow rays begin above their surface, so that it does not shadow itself."""
CORNER_REACH = 0.22
"""Metres within which surfaces keep the sky's light from each other."""
DIFFUSE = 0.55
"""Share of a lamp's light in the diffuse part: balances it with the sky's."""
UNSEEN = 1e-30
"""Highlights below this are nothing: products of numbers that small are very slow."""
_STRATA = np.array([0, 10, 5, 15, 8, 2, 13, 7, 4, 14, 1, 11, 12, 6, 9, 3])
_SIDE = 4


def _disk_samples() -> Floats:
    """Return 16 points spread over the unit disk, (16, 2), so ordered that neighbours differ."""
    radius = np.sqrt((_STRATA % _SIDE + 0.5) / _SIDE)
    angle = 2 * np.pi * (_STRATA // _SIDE + 0.5) / _SIDE
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)


SAMPLES = _disk_samples()
"""A pixel and the 15 round it see one point of a light each: together they see all of it."""


@dataclass(frozen=True)
class Seen:
    """P points of surfaces that rays have met.

    :param triangle: (P,) index of the triangle.
    :param point: (P, 3) float32 in the world, metres.
    :param normal: (P, 3) float32 smooth unit normal, towards the eye.
    :param local: (P, 3) float32, the point in its object's frame.
    :param uv: (P, 2) float32, its place in its material's image; (P, 0) if none has one.
    :param view: (P, 3) float32 unit vector from the eye to the point.
    :param depth: (P,) float64, in lengths of the ray; 0 where nothing was met.
    """

    triangle: NDArray[np.int32]
    point: Floats
    normal: Floats
    local: Floats
    uv: Floats
    view: Floats
    depth: NDArray[np.float64]


def across(normal: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors across each normal, (P, 3) each."""
    x, y, z = normal.T
    sign = np.where(z >= 0, 1, -1).astype(np.float32)
    a = -1 / (sign + z)
    b = x * y * a
    first = np.stack([1 + sign * x**2 * a, sign * b, -sign * x], dtype=np.float32)
    second = np.stack([b, sign + y**2 * a, -y], dtype=np.float32)
    return first.T, second.T


def visible_light(
    geometry: Geometry, light: Light, seen: Seen, pick: NDArray[np.integer]
) -> Floats:
    """Return whether key, fill and sky are seen from points, (P, 3) of 0 or 1, one ray each.

    :param pick: (P,) which of the 16 samples each point takes.
    """
    origin = np.ascontiguousarray(seen.point + seen.normal * np.float32(LIFT))
    result = np.zeros((len(origin), 3), np.float32, order="F")
    for k, lamp in enumerate(light.lamps):
        distance = np.float32(np.linalg.norm(lamp.centre))
        a, b = across((lamp.centre / distance)[None])
        spots = SAMPLES * np.float32(lamp.radius)
        to = (lamp.centre + spots[:, :1] * a + spots[:, 1:] * b)[pick] - origin
        facing = np.flatnonzero(dot(to, seen.normal) > 0)
        # Not quite to the lamp, which is no surface but may be behind a wall.
        hidden = geometry.visibility.occluded(origin[facing], to[facing] * np.float32(0.995))
        result[facing, k] = ~hidden
    a, b = across(seen.normal)
    up = np.sqrt(np.maximum(1 - (SAMPLES**2).sum(1), 0))
    x, y, z = (side[pick, None] for side in (*SAMPLES.T, up))
    to = x * a + y * b + z * seen.normal
    result[:, 2] = ~geometry.visibility.occluded(origin, to * np.float32(CORNER_REACH))
    return result


def _finish_table(materials: tuple[Material, ...]) -> Floats:
    """Return reflectance, diffuse share, exponent, blur and surroundings of each, (M, 5)."""
    finishes = [SURFACE_FINISHES[material.finish] for material in materials]
    return np.array(
        [(f.reflectance, f.diffuse, f.exponent, f.blur, f.surroundings) for f in finishes],
        np.float32,
    )


def _lamp_light(lamp: Lamp, seen: Seen, exponent: Floats) -> tuple[Floats, Floats]:
    """Return a lamp's diffuse light, (P, 3), and the strength of its highlight, (P, 1)."""
    to = lamp.centre - seen.point
    squared = dot(to, to)
    to /= np.sqrt(squared)[:, None]
    facing = np.clip(dot(seen.normal, to), 0, 1)
    half = to - seen.view
    half /= np.maximum(lengths(half), 1e-6)[:, None]
    aligned = np.clip(dot(seen.normal, half), 0, 1)
    highlight = np.asarray((exponent + 8) / 96 * aligned**exponent, np.float32)
    highlight[highlight < UNSEEN] = 0
    received = _coloured(lamp.power, facing) / squared[:, None]
    return np.asarray(received, np.float32), highlight[:, None]


def _coloured(colour: Floats, amount: Floats) -> Floats:
    """Return a colour, (3,), in amounts, (P,), as (P, 3), column after column in memory."""
    return np.asarray((colour[:, None] * amount).T)


def shade(geometry: Geometry, light: Light, seen: Seen, visible: Floats) -> Floats:
    """Return the light that points send to the eye, (P, 3) float32 linear.

    :param visible: (P, 3) in [0, 1], how much of key, fill and sky each point sees.
    """
    index = geometry.material[seen.triangle]
    face_normals = geometry.face_normals[seen.triangle]
    base = np.asfortranarray(
        apply_textures(geometry.materials, index, seen.local, face_normals, seen.uv)
    )
    reflectance, diffuse, exponent, blur, weight = _finish_table(geometry.materials)[index].T
    straight = np.where(
        (reflectance > 0.5)[:, None], base * reflectance[:, None], reflectance[:, None]
    )
    facing = np.clip(-dot(seen.normal, seen.view), 0.02, 1)
    edge = (1 - facing) ** 5 * np.where(weight > 0.5, 0.9, 0.25)
    mirror = straight + (1 - straight) * edge[:, None]
    up = seen.normal[:, 2] * 0.5 + 0.5
    open_sky = visible[:, 2:3] * 0.85 + 0.15
    scattered = base * diffuse[:, None]
    dome = _coloured(light.sky, up) + _coloured(light.ground * 0.45, 1 - up)
    result = scattered * dome * open_sky
    for k, lamp in enumerate(light.lamps):
        received, highlight = _lamp_light(lamp, seen, exponent)
        gloss = highlight * mirror * (weight > 0)[:, None]
        result += visible[:, k : k + 1] * received * (scattered * DIFFUSE + gloss)
    reflected = seen.view + 2 * facing[:, None] * seen.normal
    down = 0.5 - np.arcsin(np.clip(reflected[:, 2], -1, 1)) / np.pi
    turn = np.arctan2(reflected[:, 1], reflected[:, 0]) / (2 * np.pi) + 0.5
    for k, image in enumerate(light.environment):
        i = np.flatnonzero((blur == k) & (weight > 0))
        around = sample(image, turn[i], np.clip(down[i], 0.01, 0.99))
        result[i] += around * mirror[i] * weight[i, None] * (0.35 + 0.65 * visible[i, 2:3])
    glowing = np.array([m.finish == "glow" for m in geometry.materials])[index]
    result[glowing] = base[glowing] * 2.2
    return result.astype(np.float32)
