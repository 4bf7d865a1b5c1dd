"""The room round the objects: a table or shelves, floor, walls and furniture, all boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.world.materials import Material
from clip_surgery_ros.world.surfaces import WOODS, flat_material

WALLS = ("plain", "plain", "plain", "plain", "stripes", "tiles", "stone")
FLOORS = ("planks", "plain", "tiles", "stone", "checks")
FURNITURE = ("plain", "planks", "plain")
CEILING, FAR = 2.6, 6.0
"""Height of walls above the table and half the length of the floor, metres."""


@dataclass(frozen=True)
class Slab:
    """A box along the world's axes.

    :param low: (3,) least corner, metres.
    :param high: (3,) greatest corner.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    material: Material

    def triangles(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float32]]:
        """Return vertices (36, 3), faces (12, 3) and corner normals (12, 3, 3)."""
        ends = (self.low, self.high)
        corners = np.array(
            [[ends[i][0], ends[j][1], ends[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        )
        quads = np.array(
            [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        )
        vertices = corners[quads[:, [0, 1, 2, 0, 2, 3]].ravel()]
        faces = np.arange(36, dtype=np.int32).reshape(-1, 3)
        a, b, c = vertices[0::3], vertices[1::3], vertices[2::3]
        normals = np.cross(b - a, c - a)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return vertices, faces, np.repeat(normals[:, None], 3, 1).astype(np.float32)


def slab(low: ArrayLike, high: ArrayLike, material: Material) -> Slab:
    """Return a box between two corners, (3,) each, metres."""
    return Slab(np.asarray(low, np.float64), np.asarray(high, np.float64), material)


@dataclass(frozen=True)
class Ground:
    """A horizontal rectangle that objects can stand on.

    :param centre: (3,) of its upper side, metres.
    :param half: half its length along x and y, metres.
    """

    centre: NDArray[np.float64]
    half: tuple[float, float]


@dataclass(frozen=True)
class Room:
    """Everything that is not an object.

    :param grounds: what objects may stand on.
    :param slabs: all boxes of the room; the first is the table or lowest shelf.
    """

    grounds: tuple[Ground, ...]
    slabs: tuple[Slab, ...]

    def sees(self, start: ArrayLike, end: ArrayLike) -> bool:
        """Return whether no box of the room is between two points, (3,) each."""
        a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
        step = np.where(np.abs(b - a) < 1e-9, 1e-9, b - a)
        for piece in self.slabs:
            near, far = (piece.low - a) / step, (piece.high - a) / step
            enter, leave = np.minimum(near, far).max(), np.maximum(near, far).min()
            if enter < leave and leave > 0 and enter < 1:
                return False
        return True


def _walls(
    rng: np.random.Generator, half: tuple[float, float], floor: float, clear: float
) -> list[Slab]:
    """Return the floor and four walls round a table, each at a random distance."""
    x, y = half
    gap = clear + rng.uniform(0.2, 2.2, 4)
    srgb = np.clip(rng.uniform(120, 228) + rng.normal(0, 9, 3), 40, 240)
    paint = flat_material(rng, WALLS, srgb)
    plain = flat_material(rng, ("plain",), srgb)
    left, right = -x - gap[0], x + 1.2 + gap[2]
    front, back = -y - 1.2 - gap[3], y + gap[1]
    return [
        slab((-FAR, -FAR, floor - 0.1), (FAR, FAR, floor), flat_material(rng, FLOORS)),
        slab((left - 0.2, -FAR, floor), (left, FAR, CEILING), plain),
        slab((-FAR, back, floor), (FAR, back + 0.2, CEILING), paint),
        slab((right, -FAR, floor), (right + 0.2, FAR, CEILING), plain),
        slab((-FAR, front - 0.2, floor), (FAR, front, CEILING), plain),
        *_pictures(rng, back),
    ]


def _pictures(rng: np.random.Generator, wall: float) -> list[Slab]:
    """Return up to two framed pictures on the wall behind the table."""
    frames = []
    for _ in range(int(rng.integers(0, 3))):
        x, z = rng.uniform(-1, 1), rng.uniform(0.1, 0.9)
        w, h = rng.uniform(0.15, 0.5), rng.uniform(0.12, 0.4)
        paint = flat_material(rng, ("plain", "marble", "cloth"))
        frames.append(slab((x - w, wall - 0.02, z), (x + w, wall, z + h), paint))
    return frames


def _furniture(
    rng: np.random.Generator, half: tuple[float, float], floor: float, clear: float
) -> list[Slab]:
    """Return up to four boxes like furniture beyond the table."""
    boxes = []
    for _ in range(int(rng.integers(0, 5))):
        angle, distance = rng.uniform(0, 2 * np.pi), clear + rng.uniform(0.9, 1.9)
        size = rng.uniform(0.12, 0.5, 3)
        x, y = np.cos(angle) * distance * 1.2, np.sin(angle) * distance
        if abs(x) < half[0] + size[0] and abs(y) < half[1] + size[1]:
            continue
        top = floor + 0.3 + 2.2 * size[2]
        paint = flat_material(rng, FURNITURE)
        boxes.append(
            slab((x - size[0], y - size[1], floor), (x + size[0], y + size[1], top), paint)
        )
    return boxes


def table_room(rng: np.random.Generator, clear: float = 0.0) -> Room:
    """Return a room with a table whose top is at z = 0, centred at the origin.

    :param clear: metres added between the table and what is round it.
    """
    x, y = rng.uniform(0.45, 0.8), rng.uniform(0.38, 0.6)
    thick, floor = rng.uniform(0.02, 0.045), -rng.uniform(0.6, 0.78)
    top = slab((-x, -y, -thick), (x, y, 0), flat_material(rng))
    wood = flat_material(rng, ("planks", "plain"))
    legs = [
        slab((a - 0.03, b - 0.03, floor), (a + 0.03, b + 0.03, -thick), wood)
        for a in (0.06 - x, x - 0.06)
        for b in (0.06 - y, y - 0.06)
    ]
    walls = _walls(rng, (x, y), floor, clear)
    ground = Ground(np.zeros(3), (x, y))
    return Room((ground,), (top, *legs, *walls, *_furniture(rng, (x, y), floor, clear)))


def shelf_room(rng: np.random.Generator) -> Room:
    """Return a room with shelves along y = 0.2 at several heights; z = 0 is the floor."""
    length, depth, boards = rng.uniform(0.6, 0.85), rng.uniform(0.17, 0.2), 3
    pitch = rng.uniform(0.34, 0.4)
    wood = flat_material(rng, ("planks",), WOODS[int(rng.integers(len(WOODS)))])
    lowest = rng.uniform(0.3, 0.5)
    slabs, grounds = [], []
    for k in range(boards):
        z = lowest + k * pitch
        slabs.append(slab((-length, 0.2 - depth, z - 0.02), (length, 0.2 + depth, z), wood))
        grounds.append(Ground(np.array([0, 0.2, z]), (length - 0.03, depth - 0.01)))
    top = lowest + boards * pitch
    sides = [
        slab((x, 0.2 - depth, 0), (x + 0.02, 0.2 + depth, top), wood)
        for x in (-length - 0.02, length)
    ]
    sides.append(slab((-length, 0.2 + depth, 0), (length, 0.22 + depth, top), wood))
    floor = slab((-FAR, -FAR, -0.1), (FAR, FAR, 0), flat_material(rng, FLOORS))
    wall = slab((-FAR, 0.25 + depth, 0), (FAR, 0.4 + depth, CEILING), flat_material(rng, WALLS))
    return Room(tuple(grounds), (*slabs, *sides, floor, wall))
