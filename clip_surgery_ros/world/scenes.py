"""Scenes of everyday objects with exact masks: the demo's world, for training and for showing.

A scene is drawn directly at the size asked for. Everything about it follows from one integer
seed; the seeds of the splits never meet (:data:`SPLITS`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.sprites import CELL, NAMES, load_sprites

SPLITS: dict[str, range] = {
    "train": range(0, 2**40),
    "development": range(2**40, 2**41),
    "held_out": range(2**41, 2**42),
}
"""Seeds of each split. Constants are chosen on ``development``, figures quoted on ``held_out``."""

_MIP_SIZES = (CELL, CELL // 2, CELL // 4)


@dataclass(frozen=True)
class SceneStyle:
    """What scenes look like.

    :param size_hw: height and width in pixels.
    :param count: least and most objects.
    :param scale: least and most object side, as a share of the scene's shorter side.
    :param max_hidden: largest share of an object that others may cover.
    :param tilt_degrees: rotation is uniform in plus or minus this.
    """

    size_hw: tuple[int, int] = (240, 320)
    count: tuple[int, int] = (1, 5)
    scale: tuple[float, float] = (0.32, 0.6)
    max_hidden: float = 0.3
    tilt_degrees: float = 40.0


@dataclass(frozen=True)
class Scene:
    """One picture and the truth about it.

    :param image: (H, W, 3) uint8 RGB.
    :param objects: index into ``NAMES`` of each object, back to front.
    :param masks: (K, H, W) bool, the visible pixels of each object.
    :param seed: the seed that makes it again.
    """

    image: NDArray[np.uint8]
    objects: tuple[int, ...]
    masks: NDArray[np.bool_]
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each object."""
        return tuple(NAMES[index] for index in self.objects)

    def label_mask(self, name: str) -> NDArray[np.bool_]:
        """(H, W) union of the objects of this name; all False when there is none."""
        chosen = [
            mask for mask, other in zip(self.masks, self.names, strict=True) if other == name
        ]
        return np.any(chosen, axis=0) if chosen else np.zeros(self.image.shape[:2], np.bool_)


class SceneGenerator:
    """Draws scenes of one style.

    :param style: what they look like.
    :param objects: indices into ``NAMES`` to draw from; all of them by default.
    """

    def __init__(
        self, style: SceneStyle = SceneStyle(), objects: Sequence[int] | None = None
    ) -> None:
        self.style = style
        self.objects = tuple(range(len(NAMES)) if objects is None else objects)

    def scene(self, seed: int) -> Scene:
        """Draw the scene of this seed."""
        rng = np.random.Generator(np.random.PCG64(seed))
        low, high = self.style.count
        count = int(rng.integers(low, high + 1))
        chosen = rng.choice(self.objects, size=min(count, len(self.objects)), replace=False)
        return self.compose([int(index) for index in chosen], rng, seed)

    def scenes(self, split: str, count: int, first: int = 0) -> Iterator[Scene]:
        """Draw ``count`` scenes of a split, in order of seed."""
        start = SPLITS[split].start + first
        return (self.scene(seed) for seed in range(start, start + count))

    def compose(self, objects: Sequence[int], rng: np.random.Generator, seed: int = -1) -> Scene:
        """Draw these objects, back to front, on a random background.

        An object that finds no place where it and those behind it stay visible is left out, but
        never the first.
        """
        canvas = _background(rng, self.style.size_hw)
        placed: list[int] = []
        masks: list[NDArray[np.bool_]] = []
        areas: list[int] = []
        for index in objects:
            # More objects, smaller ones: five at half the side would hide each other.
            crowd = 1.0 if len(objects) < 4 else 0.8
            sprite = _place(index, rng, self.style, crowd, masks, areas)
            if sprite is None:
                continue
            _blend(canvas, sprite, rng)
            for mask in masks:
                mask[sprite.rows, sprite.columns] &= ~sprite.solid
            own = np.zeros(self.style.size_hw, np.bool_)
            own[sprite.rows, sprite.columns] = sprite.solid
            masks.append(own)
            areas.append(int(own.sum()))
            placed.append(index)
        image = _camera(canvas, rng)
        return Scene(image, tuple(placed), np.stack(masks), seed)


@dataclass(frozen=True)
class _Placed:
    """A sprite at its place: canvas rows and columns, premultiplied colour, alpha, solid part."""

    rows: slice
    columns: slice
    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]
    solid: NDArray[np.bool_]


@lru_cache(maxsize=1)
def _mips() -> dict[int, NDArray[np.float32]]:
    """Sprites at each size, so that shrinking them far does not alias."""
    full = load_sprites()
    return {
        size: np.stack(
            [cv2.resize(sprite, (size, size), interpolation=cv2.INTER_AREA) for sprite in full]
        )
        for size in _MIP_SIZES
    }


def _place(
    index: int,
    rng: np.random.Generator,
    style: SceneStyle,
    crowd: float,
    masks: Sequence[NDArray[np.bool_]],
    areas: Sequence[int],
) -> _Placed | None:
    """Try a few places; None when each would hide too much of what is there."""
    for attempt in range(12):
        shrink = crowd * (1.0 if attempt < 6 else 0.8)
        sprite = _warp(index, rng, style, shrink)
        visible = (
            (mask[sprite.rows, sprite.columns] & sprite.solid).sum() + area - mask.sum()
            for mask, area in zip(masks, areas, strict=True)
        )
        hidden = [lost / area for lost, area in zip(visible, areas, strict=True)]
        if sprite.solid.sum() >= 12 and all(share <= style.max_hidden for share in hidden):
            return sprite
        if not masks and attempt == 11:
            return sprite
    return None


def _warp(index: int, rng: np.random.Generator, style: SceneStyle, shrink: float) -> _Placed:
    """Draw one sprite at a random scale, tilt and place, inside the canvas."""
    height, width = style.size_hw
    aspect = width / height
    # One scene unit is the shorter side.
    unit_y = height / (1.0 if aspect >= 1 else 1 / aspect)
    unit_x = width / (aspect if aspect >= 1 else 1.0)
    side = rng.uniform(*style.scale) * shrink
    angle = np.deg2rad(rng.uniform(-style.tilt_degrees, style.tilt_degrees))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    mip = next((s for s in reversed(_MIP_SIZES) if s >= side * max(unit_x, unit_y)), CELL)
    sprite = _mips()[mip][index]

    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag([unit_x, unit_y]) @ turn @ np.diag([flip, 1.0]) * (side / mip)
    reach = np.abs(linear).sum(axis=1) * mip / 2 * 0.92  # glyphs seldom fill their corners
    centre = [
        rng.uniform(min(r, size / 2), max(size - r, size / 2))
        for r, size in zip(reach, (width, height), strict=True)
    ]
    low = np.maximum(np.floor(np.array(centre) - reach / 0.92), 0).astype(int)
    high = np.minimum(np.ceil(np.array(centre) + reach / 0.92), (width, height)).astype(int)
    offset = np.array(centre) - low - linear @ np.array([mip / 2, mip / 2])
    drawn = cv2.warpAffine(
        sprite,
        np.column_stack([linear, offset]),
        (int(high[0] - low[0]), int(high[1] - low[1])),
        flags=cv2.INTER_LINEAR,
    )
    alpha = drawn[..., 3]
    return _Placed(
        slice(int(low[1]), int(high[1])),
        slice(int(low[0]), int(high[0])),
        drawn[..., :3],
        alpha,
        alpha > 0.5,
    )


def _blend(canvas: NDArray[np.float32], sprite: _Placed, rng: np.random.Generator) -> None:
    """Draw the sprite over the canvas, brightened or darkened a little, with a soft shadow."""
    part = canvas[sprite.rows, sprite.columns]
    if rng.random() < 0.5:
        part *= 1 - 0.35 * cv2.GaussianBlur(sprite.alpha, (0, 0), 2.0)[..., None]
    gain = rng.uniform(0.75, 1.15)
    part *= 1 - sprite.alpha[..., None]
    part += np.minimum(sprite.rgb * np.float32(gain), sprite.alpha[..., None])


def _background(rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 3) float32 in [0, 1]: plain, gradient, blobs, stripes, checks or grain."""
    height, width = size_hw
    base = np.clip(rng.uniform(0.15, 0.95) + rng.normal(0, 0.12, 3), 0, 1)  # muted colours
    other = np.clip(base + rng.normal(0, 0.12) + rng.normal(0, 0.08, 3), 0, 1)
    kind = rng.integers(6)
    share: NDArray[Any]
    if kind == 0:
        share = np.zeros((height, width))
    elif kind == 1:
        share = _ramp(rng, size_hw) / 2 + 0.5
    elif kind == 2:
        coarse = rng.random((int(rng.integers(3, 9)), int(rng.integers(3, 9)))).astype(np.float32)
        share = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    elif kind == 3:
        share = np.sin(_ramp(rng, size_hw) * rng.uniform(5, 30)) > rng.uniform(-0.5, 0.5)
    elif kind == 4:
        cells = rng.uniform(3, 12)
        y, x = np.mgrid[0:height, 0:width] * (cells / height)
        share = (np.floor(y) + np.floor(x)) % 2
    else:
        coarse = rng.random((height // 3 + 1, width // 3 + 1)).astype(np.float32)
        share = cv2.resize(coarse, (width, height))
    mixed = base + (other - base) * np.asarray(share, np.float32)[..., None]
    return np.clip(mixed, 0, 1).astype(np.float32)


def _ramp(rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(H, W) rising from about -1 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, size_hw[0])[:, None] * np.sin(angle)
    x = np.linspace(-1, 1, size_hw[1])[None, :] * np.cos(angle)
    return y + x


def _camera(canvas: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure and sensor noise, then 8 bits."""
    gain, sigma = rng.uniform(0.8, 1.1), rng.uniform(0, 0.02)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    return (np.clip(canvas * gain + sigma * noise, 0, 1) * 255 + 0.5).astype(np.uint8)
