"""Where objects touch: how far one can move until it meets others, and on what it rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.catalogue import Part
from clip_surgery_ros.world.rigid import rotation_to, transform
from clip_surgery_ros.world.visibility import EmbreeVisibility
from clip_surgery_ros.world.wheels import manifold3d
from clip_surgery_ros.world.world_object import WorldObject

Floats = NDArray[np.float64]

GRID = 0.002
"""Metres between rays that look for the first contact; vertices are looked at as well."""
MOST_LINES = 60
"""Rays along a side of the grid at most: coarser grids are enough for large objects."""
TOUCH = 6e-4
"""Metres within which points count as touching."""
STEADY = 0.001
"""Metres by which a centre of mass must be inside what it rests on."""
FLAT = np.cos(np.radians(0.5))
"""Facets of a hull within this cosine are one facet."""


@lru_cache(maxsize=512)
def _rays_of(parts: tuple[Part, ...]) -> EmbreeVisibility:
    """Return ray queries about an object in its own frame."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = [part.faces + offset for part, offset in zip(parts, offsets, strict=False)]
    return EmbreeVisibility(vertices, np.concatenate(faces).astype(np.int32))


def distances(item: WorldObject, origins: Floats, directions: Floats) -> Floats:
    """Return how far points, (P, 3), are from an object along vectors; inf if it misses.

    :param directions: (3,) for all points, or (P, 3).
    :returns: (P,) in lengths of the vectors.
    """
    turn, at = item.pose[:3, :3], item.pose[:3, 3]
    local = (origins - at) @ turn
    rays = np.broadcast_to(directions @ turn, local.shape)
    hits = _rays_of(item.parts).first_hits(local, rays)
    return np.where(hits.triangle >= 0, hits.distance, np.inf)


def centre_of_mass(parts: tuple[Part, ...]) -> Floats:
    """Return the centre of mass of solid parts of equal density, (3,), in the object's frame."""
    total, moment = 0.0, np.zeros(3)
    for part in parts:
        a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
        volume = (np.cross(a, b) * c).sum(1) / 6
        total += volume.sum()
        moment += (volume[:, None] * (a + b + c) / 4).sum(0)
    return np.asarray(moment / total)


@dataclass(frozen=True)
class Contact:
    """Where a moving object first meets others.

    :param distance: how far it can move, metres; inf if it meets nothing.
    :param points: (K, 3) where it touches then, in the world, before it has moved.
    """

    distance: float
    points: Floats


def first_contact(
    item: WorldObject, others: Sequence[WorldObject], direction: Floats, floor: float | None = None
) -> Contact:
    """Return how far an object can move along a unit vector until it meets others.

    The object must be apart from the others before. Rays on a grid and from all vertices, both
    ways, find the contact; it is exact for vertices on faces, and good to a tenth of a millimetre
    for edges on edges of smooth objects.

    :param floor: height of a floor that it may also meet, metres.
    """
    side = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
    side /= np.linalg.norm(side)
    basis = np.stack([side, np.cross(direction, side)], 1)
    vertices = item.vertices()
    flat = vertices @ basis
    low, high = flat.min(0), flat.max(0)
    step = max(GRID, float((high - low).max()) / MOST_LINES)
    lines = [np.arange(low[k] + step / 2, high[k], step) for k in (0, 1)]
    grid = np.stack(np.meshgrid(*lines), -1).reshape(-1, 2) @ basis.T
    # The leading surface is met by rays from ahead of the object.
    ahead = (vertices @ direction).max() + 0.01
    back = distances(item, grid + direction * ahead, -direction)
    met = np.isfinite(back)
    front = grid[met] + direction * (ahead - back[met])[:, None]
    points = np.concatenate([front, vertices])
    free = np.full(len(points), np.inf)
    if floor is not None and direction[2] < 0:
        free = (points[:, 2] - floor) / -direction[2]
    extra_points, extra_free = [], []
    for other in others:
        free = np.minimum(free, distances(other, points, direction))
        theirs = other.vertices()
        seen = theirs @ basis
        theirs = theirs[((seen >= low) & (seen <= high)).all(1)]
        to = distances(item, theirs, -direction)
        met = np.isfinite(to)
        extra_points.append(theirs[met] - direction * to[met][:, None])
        extra_free.append(to[met])
    points = np.concatenate([points, *extra_points])
    free = np.concatenate([free, *extra_free])
    distance = float(free.min())
    return Contact(distance, points[free < distance + TOUCH])


def is_inside(point: Floats, outline: Floats, margin: float) -> bool:
    """Return whether a point (2,) is inside the hull of others, (K, 2), by a margin in metres."""
    hull = cv2.convexHull(outline.astype(np.float32))
    inside = cv2.pointPolygonTest(hull, (float(point[0]), float(point[1])), True)
    return bool(inside >= margin)


@lru_cache(maxsize=4096)
def resting_rotations(parts: tuple[Part, ...]) -> tuple[tuple[Floats, float], ...]:
    """Return the ways an object can lie on a table: rotations (3, 3) and how wide each rests.

    Each facet of the convex hull is tried; it is steady where the centre of mass is above it.
    """
    vertices = np.concatenate([part.vertices for part in parts])
    hull = manifold3d().Manifold.hull_points(vertices).to_mesh64()
    corners = np.asarray(hull.vert_properties[:, :3])
    faces = np.asarray(hull.tri_verts, np.int64)
    a, b, c = (corners[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1) / 2
    normal /= np.maximum(2 * area, 1e-15)[:, None]
    centre = centre_of_mass(parts)
    free = area > 1e-9
    result = []
    for k in np.argsort(-area):
        if not free[k]:
            continue
        same = free & (normal @ normal[k] > FLAT)
        free &= ~same
        turn = rotation_to(normal[k], (0, 0, -1))
        outline = transform(_turning(turn), corners[np.unique(faces[same])])
        if is_inside((turn @ centre)[:2], outline[:, :2], STEADY):
            result.append((turn, float(area[same].sum())))
    return tuple(result)


def _turning(turn: Floats) -> Floats:
    """Return the (4, 4) transform of a rotation."""
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return matrix
