"""Renders a scene: linear light, exact depth and instance ids of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.geometry import Geometry
from clip_surgery_ros.world.light import Light
from clip_surgery_ros.world.shading import Seen, shade, visible_light
from clip_surgery_ros.world.vectors import dot, lengths
from clip_surgery_ros.world.visibility import Hits

Floats = NDArray[np.float32]

SUBPIXELS = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))
"""Where pixels at edges are looked at again, in pixels from their centre (a rotated grid)."""
BRIGHTEST = 4.0
"""Light above this counts as this in the mean of a pixel at an edge, or highlights would burn."""


@dataclass(frozen=True)
class Rendering:
    """What a renderer knows of each pixel.

    :param light: (H, W, 3) float32 linear, before exposure.
    :param depth: (H, W) float32, metres along the optical axis, 0 where nothing is.
    :param ids: (H, W) uint16, instance, 0 for the room.
    :param material: (H, W) int32, index into the geometry's materials.
    :param facing: (H, W) float32, cosine between the surface's normal and the ray, 0 to 1.
    """

    light: Floats
    depth: Floats
    ids: NDArray[np.uint16]
    material: NDArray[np.int32]
    facing: Floats


def trace(geometry: Geometry, camera: Camera, x: Floats, y: Floats) -> Seen:
    """Return what rays through pixels (x, y), (P,) each, meet."""
    origins, rays = camera.rays(x, y)
    hits = geometry.visibility.first_hits(origins, rays)
    rays = np.asfortranarray(rays)
    met = hits.triangle >= 0
    triangle = np.where(met, hits.triangle, 0).astype(np.int32)
    depth = np.where(met, geometry.depth(triangle, origins, rays), 0.0)
    view = (rays / lengths(rays)[:, None]).astype(np.float32)
    normal = _between_corners(geometry.corner_normals, triangle, hits)
    normal /= np.maximum(lengths(normal), 1e-9)[:, None]
    normal *= np.where(dot(normal, view) > 0, np.float32(-1), np.float32(1))[:, None]
    local = _between_corners(geometry.corner_locals, triangle, hits)
    # Behind the world, where nothing is met, a point far away keeps all numbers finite.
    reach = np.where(met, depth, 5.0)[:, None]
    point = (rays * reach + origins).astype(np.float32)
    uv = _between_corners(geometry.corner_uvs, triangle, hits)
    return Seen(triangle, point, normal, local, uv, view, depth)


def _between_corners(table: Floats, triangle: NDArray[np.int32], hits: Hits) -> Floats:
    """Return what triangles have where rays meet them, (P, C) float32.

    :param table: (3, C, F) by corner, axis and triangle.
    """
    first, second, third = (corner[:, triangle] for corner in table)
    return np.asarray((first * (1 - hits.u - hits.v) + second * hits.u + third * hits.v).T)


def trace_pixels(geometry: Geometry, camera: Camera) -> Seen:
    """Return what the centre of each pixel sees, row by row."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width].reshape(2, -1).astype(np.float32)
    return trace(geometry, camera, x, y)


def render(geometry: Geometry, light: Light, camera: Camera, antialias: bool = True) -> Rendering:
    """Return the rendering of a camera's view.

    :param antialias: look at pixels on edges four times more. Depth and ids are always those of
        the pixel's centre.
    """
    height, width = camera.height, camera.width
    seen = trace_pixels(geometry, camera)
    met = seen.depth > 0
    ids = np.where(met, geometry.instance[seen.triangle], 0).astype(np.uint16)
    index = np.arange(height * width)
    pick = (index % width) % 4 + 4 * ((index // width) % 4)
    visible = visible_light(geometry, light, seen, pick)
    shape = (height, width)
    material = geometry.material[seen.triangle].reshape(shape)
    depth = seen.depth.astype(np.float32).reshape(shape)
    normal = seen.normal.reshape(height, width, 3)
    visible = _smoothed(visible.reshape(height, width, 3), material, normal, depth)
    picture = shade(geometry, light, seen, visible.reshape(-1, 3)).reshape(height, width, 3)
    if antialias:
        at = _edges(material, normal, depth, picture)
        _antialias(picture, at, (geometry, light, camera), seen, visible)
    facing = np.abs(dot(seen.normal, seen.view)).reshape(shape)
    return Rendering(picture, depth, ids.reshape(shape), material, facing)


def _smoothed(
    visible: Floats, material: NDArray[np.int32], normal: Floats, depth: Floats
) -> Floats:
    """Return visibility averaged over the 16 pixels round each that are of the same surface.

    :param visible: (H, W, 3).
    :param material: (H, W) index, of which each part of an object has its own.
    """
    height, width = material.shape
    margin = ((2, 2), (2, 2))
    materials, depths = np.pad(material, margin, constant_values=-1), np.pad(depth, margin)
    # Channels apart, (3, H, W): their rows follow each other in memory.
    normal, visible = (np.ascontiguousarray(a.transpose(2, 0, 1)) for a in (normal, visible))
    normals, values = (np.pad(a, ((0, 0), *margin)) for a in (normal, visible))
    total, count = np.zeros_like(visible), np.zeros((height, width), np.float32)
    near = 0.02 * depth
    for dy in range(4):
        for dx in range(4):
            at = (slice(dy, dy + height), slice(dx, dx + width))
            same = (materials[at] == material) & (np.abs(depths[at] - depth) < near)
            x, y, z = (there[at] * here for there, here in zip(normals, normal, strict=True))
            same &= x + y + z > 0.75
            count += same
            for sums, value in zip(total, values, strict=True):
                sums += value[at] * same
    smooth = np.where(count > 0, total / np.maximum(count, 1), visible)
    return np.asarray(smooth.transpose(1, 2, 0))


def _edges(
    material: NDArray[np.int32], normal: Floats, depth: Floats, picture: Floats
) -> NDArray[np.bool_]:
    """Return the pixels at edges of surfaces and of brightness, (H, W)."""
    result = np.zeros(material.shape, np.bool_)
    brightness = np.sqrt(np.clip(picture.mean(2), 0, 2))
    every, first, second = slice(None), slice(None, -1), slice(1, None)
    for a, b in (((every, second), (every, first)), ((second, every), (first, every))):
        edge = material[a] != material[b]
        edge |= dot(normal[a], normal[b]) < 0.8
        edge |= np.abs(depth[a] - depth[b]) > 0.03 * depth[a]
        edge |= np.abs(brightness[a] - brightness[b]) > 0.09
        result[a] |= edge
        result[b] |= edge
    return result


def _antialias(
    picture: Floats,
    at: NDArray[np.bool_],
    scene: tuple[Geometry, Light, Camera],
    seen: Seen,
    visible: Floats,
) -> None:
    """Average pixels at edges with four points round their centre, in place."""
    geometry, light, camera = scene
    y, x = np.nonzero(at)
    if not len(x):
        return
    columns = np.concatenate([x + dx for dx, _ in SUBPIXELS]).astype(np.float32)
    rows = np.concatenate([y + dy for _, dy in SUBPIXELS]).astype(np.float32)
    again = trace(geometry, camera, columns, rows)
    # Points of the pixel's own object take its light; others send rays of their own.
    instance = geometry.instance[seen.triangle].reshape(at.shape)
    lit = np.tile(visible[y, x], (4, 1))
    other = np.flatnonzero(np.tile(instance[y, x], 4) != geometry.instance[again.triangle])
    part = Seen(*(getattr(again, name)[other] for name in Seen.__dataclass_fields__))
    lit[other] = visible_light(geometry, light, part, (np.arange(len(other)) * 7) % 16)
    extra = shade(geometry, light, again, lit).reshape(4, -1, 3)
    total = np.minimum(picture[y, x], BRIGHTEST) + np.minimum(extra, BRIGHTEST).sum(0)
    picture[y, x] = total / 5
