"""The light of a scene: two round area lights, the sky's light, and what reflections show."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.world.noise import noise_sheet, sample

Floats = NDArray[np.float32]

ENVIRONMENT = (48, 96)
"""Rows and columns of the surroundings seen in reflections (latitude and longitude)."""
BLURS = (0.7, 2.5, 9.0)
"""Blur of the surroundings for sharp, metallic and dull reflections, in its pixels."""
SUN_LIMIT = 14.0
"""Brightest that a light's reflection gets, times its irradiance: real ones would be white."""


@dataclass(frozen=True)
class Lamp:
    """A round area light that faces the scene.

    :param centre: (3,) metres.
    :param radius: metres; a greater one makes softer shadows.
    :param power: (3,) light at a distance of one metre.
    """

    centre: Floats
    radius: float
    power: Floats


@dataclass(frozen=True)
class Light:
    """All light of a scene; values are linear and relative, the exposure fits them to 8 bits.

    :param lamps: the key light, then the fill light.
    :param sky: (3,) light from above.
    :param ground: (3,) light from below.
    :param environment: three blurs, (48, 96, 3) each, of what reflections show.
    """

    lamps: tuple[Lamp, Lamp]
    sky: Floats
    ground: Floats
    environment: tuple[Floats, Floats, Floats]


def _directions() -> Floats:
    """Return the unit vector of each pixel of the surroundings, (48, 96, 3)."""
    rows, columns = ENVIRONMENT
    up = (0.5 - (np.arange(rows) + 0.5) / rows) * np.pi
    turn = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    flat = np.cos(up)[:, None]
    z = np.repeat(np.sin(up)[:, None], columns, 1)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], -1).astype(np.float32)


def _blurred(image: Floats, sigma: float) -> Floats:
    """Return the surroundings blurred, seamless in longitude."""
    half = image.shape[1] // 2
    wide = np.concatenate([image[:, -half:], image, image[:, :half]], 1)
    blurred = cv2.GaussianBlur(wide, (0, 0), sigma)
    return np.asarray(blurred[:, half : half + image.shape[1]])


def surroundings(
    lamps: tuple[Lamp, Lamp], sky: Floats, ground: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return what reflections show: sky, ground, lamps and up to three windows, in three blurs."""
    d = _directions()
    above = np.clip(d[..., 2:] * 3 + 0.5, 0, 1)
    image = sky * (0.35 + 0.65 * np.clip(d[..., 2:], 0, 1)) * above + ground * 0.5 * (1 - above)
    rows, columns = ENVIRONMENT
    y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1) / np.array([[columns], [columns]])
    clouds = sample(noise_sheet(), x.astype(np.float32), y.astype(np.float32))[:, 2]
    image = image * (0.8 + 0.4 * clouds.reshape(rows, columns, 1))
    for lamp in lamps:
        distance = float(np.linalg.norm(lamp.centre))
        angle = np.arctan2(lamp.radius, distance)
        outer, inner = np.cos(angle * 1.15), np.cos(angle * 0.85)
        disk = np.clip((d @ (lamp.centre / distance) - outer) / (inner - outer), 0, 1)
        strength = lamp.power / distance**2 * min(0.9 / angle**2, SUN_LIMIT)
        image = image + disk[..., None] * strength
    for _ in range(int(rng.integers(1, 4))):
        turn, up = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.6)
        azimuth, height = np.arctan2(d[..., 1], d[..., 0]), np.arcsin(np.clip(d[..., 2], -1, 1))
        window = np.abs((azimuth - turn + np.pi) % (2 * np.pi) - np.pi) < rng.uniform(0.15, 0.4)
        window &= np.abs(height - up) < rng.uniform(0.12, 0.3)
        image = image + window[..., None] * rng.uniform(0.8, 2.2) * _tint(rng, 0.08)
    sharp, metallic, dull = (_blurred(image.astype(np.float32), sigma) for sigma in BLURS)
    return sharp, metallic, dull


def _tint(rng: np.random.Generator, spread: float) -> Floats:
    """Return a white that is a little warm or cold, (3,)."""
    warm = np.clip(rng.normal(0, spread), -2 * spread, 2 * spread)
    return np.array([1 + warm, 1, 1 - warm], np.float32)


def _on_dome(
    rng: np.random.Generator, low: float, high: float, distance: float
) -> NDArray[np.float64]:
    """Return a point at an elevation between two, in degrees, (3,)."""
    turn, up = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(low, high))
    flat = np.cos(up)
    return distance * np.array([np.cos(turn) * flat, np.sin(turn) * flat, np.sin(up)])


def _lamp(centre: NDArray[np.float64], radius: float, light: ArrayLike) -> Lamp:
    """Return a lamp that gives a light, (3,), at the origin."""
    power = np.asarray(light, np.float32) * np.float32(centre @ centre)
    return Lamp(centre.astype(np.float32), radius, power.astype(np.float32))


def random_light(rng: np.random.Generator, ground: ArrayLike) -> Light:
    """Return a light as rooms have it: a key light, a softer one, and the sky.

    :param ground: (3,) linear colour of the table, which shines from below.
    """
    key = _lamp(
        _on_dome(rng, 35, 80, rng.uniform(1.6, 3)),
        rng.uniform(0.1, 0.45),
        _tint(rng, 0.07) * rng.uniform(1.4, 2.6),
    )
    fill = _lamp(
        _on_dome(rng, 25, 70, rng.uniform(1.8, 3)),
        rng.uniform(0.4, 0.9),
        _tint(rng, 0.08) * rng.uniform(0.4, 1.0),
    )
    sky = (_tint(rng, 0.05) * rng.uniform(0.28, 0.7)).astype(np.float32)
    below = np.asarray(ground, np.float32)
    return Light((key, fill), sky, below, surroundings((key, fill), sky, below, rng))


def neutral_light() -> Light:
    """Return a white light, the same each time, for catalogues and tests of colour."""
    key = _lamp(np.array([1.1, -1.2, 2.0]), 0.4, (1.6, 1.6, 1.6))
    fill = _lamp(np.array([-1.5, -1.0, 1.4]), 0.8, (0.8, 0.8, 0.8))
    sky = np.full(3, 0.55, np.float32)
    ground = np.full(3, 0.4, np.float32)
    rng = np.random.default_rng(5)
    blurs = surroundings((key, fill), sky, ground, rng)
    sharp, metallic, dull = (np.repeat(blur.mean(2, keepdims=True), 3, 2) for blur in blurs)
    return Light((key, fill), sky, ground, (sharp, metallic, dull))
