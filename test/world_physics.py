"""Contact between objects of the rendered world, by exact booleans of closed surfaces."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from manifold3d import Manifold, Mesh64

from clip_surgery_ros.world.scene import Scene
from clip_surgery_ros.world.world_object import WorldObject


def solids(item: WorldObject) -> list[Manifold]:
    """Return an object's parts in the world as closed solids."""
    result = []
    for part in item.parts:
        vertices = part.vertices @ item.pose[:3, :3].T + item.pose[:3, 3]
        result.append(Manifold(Mesh64(vertices, part.faces.astype(np.uint64))))
    return result


def near(a: WorldObject, b: WorldObject, by: float) -> bool:
    """Return whether the boxes of two objects are closer than this distance."""
    va, vb = a.vertices(), b.vertices()
    low, high = va.min(0) - by, va.max(0) + by
    return bool((low < vb.max(0)).all() and (high > vb.min(0)).all())


def overlap(a: Iterable[Manifold], b: Iterable[Manifold]) -> float:
    """Return how deep two objects are in each other: the thinnest extent of what they share."""
    deepest = 0.0
    others = list(b)
    for first in a:
        for second in others:
            for piece in (first ^ second).decompose():
                x0, y0, z0, x1, y1, z1 = piece.bounding_box()
                deepest = max(deepest, min(x1 - x0, y1 - y0, z1 - z0))
    return deepest


def gap(a: Iterable[Manifold], b: Iterable[Manifold], search: float) -> float:
    """Return the distance between two objects, at most ``search``."""
    others = list(b)
    return min(first.min_gap(second, search) for first in a for second in others)


def faults(scene: Scene, deep: float = 0.001, high: float = 0.001) -> list[str]:
    """Return what is wrong: objects in each other, and objects that rest on nothing."""
    found = []
    items = {i: (item, solids(item)) for i, item in scene.objects.items()}
    levels = [float(ground.centre[2]) for ground in scene.room.grounds]
    for i, (item, parts) in items.items():
        bottom = item.vertices()[:, 2].min()
        level = max((z for z in levels if z < bottom + 0.01), default=None)
        if level is None or bottom < level - 1e-6:
            found.append(f"{i} {item.name} is in the ground")
            continue
        rests = bottom < level + high
        for j, (other, other_parts) in items.items():
            if i == j or not near(item, other, high):
                continue
            depth = overlap(parts, other_parts) if i < j else 0.0
            if depth > deep:
                found.append(f"{i} {item.name} and {j} {other.name} overlap by {depth:.4f} m")
            rests = rests or gap(parts, other_parts, 2 * high) < high
        if not rests:
            found.append(f"{i} {item.name} floats")
    return found
