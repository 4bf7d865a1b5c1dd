"""Renders a scene: linear light, exact depth and instance ids of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.geometry import Geometry
from clip_surgery_ros.world.light import Light
from clip_surgery_ros.world.shading import Seen, shade, visible_light

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
    met = hits.triangle >= 0
    triangle = np.where(met, hits.triangle, 0).astype(np.int32)
    depth = np.where(met, geometry.depth(triangle, origins, rays), 0.0)
    view = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
    weights = np.stack([1 - hits.u - hits.v, hits.u, hits.v], 1)[:, :, None]
    normal = (weights * geometry.normals[triangle]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    normal *= np.where((normal * view).sum(1, keepdims=True) > 0, np.float32(-1), np.float32(1))
    local = (weights * geometry.local[geometry.faces[triangle]]).sum(1)
    # Behind the world, where nothing is met, a point far away keeps all numbers finite.
    reach = np.where(met, depth, 5.0)[:, None]
    point = (origins + rays * reach).astype(np.float32)
    return Seen(triangle, point, normal.astype(np.float32), local, view, depth)


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
    surface = (ids.astype(np.int64) << 16) + geometry.material[seen.triangle]
    shape = (height, width)
    depth = seen.depth.astype(np.float32).reshape(shape)
    normal = seen.normal.reshape(height, width, 3)
    visible = _smoothed(visible.reshape(height, width, 3), surface.reshape(shape), normal, depth)
    picture = shade(geometry, light, seen, visible.reshape(-1, 3)).reshape(height, width, 3)
    if antialias:
        at = _edges(surface.reshape(shape), normal, depth, picture)
        _antialias(picture, at, (geometry, light, camera), seen, visible)
    facing = np.abs((seen.normal * seen.view).sum(1)).reshape(shape)
    material = geometry.material[seen.triangle].reshape(shape)
    return Rendering(picture, depth, ids.reshape(shape), material, facing)


def _smoothed(
    visible: Floats, surface: NDArray[np.int64], normal: Floats, depth: Floats
) -> Floats:
    """Return visibility averaged over the 16 pixels round each that are of the same surface.

    :param visible: (H, W, 3).
    :param surface: (H, W) a number for each object and material.
    """
    height, width = surface.shape
    margin = ((2, 2), (2, 2))
    surfaces = np.pad(surface, margin, constant_values=-1)
    depths = np.pad(depth, margin)
    normals = np.pad(normal, (*margin, (0, 0)))
    values = np.pad(visible, (*margin, (0, 0)))
    total, count = np.zeros_like(visible), np.zeros((height, width, 1), np.float32)
    for dy in range(4):
        for dx in range(4):
            at = (slice(dy, dy + height), slice(dx, dx + width))
            same = (surfaces[at] == surface) & (np.abs(depths[at] - depth) < 0.02 * depth)
            same &= (normals[at] * normal).sum(2) > 0.75
            weight = same[..., None].astype(np.float32)
            total += values[at] * weight
            count += weight
    return np.where(count > 0, total / np.maximum(count, 1), visible)


def _edges(
    surface: NDArray[np.int64], normal: Floats, depth: Floats, picture: Floats
) -> NDArray[np.bool_]:
    """Return the pixels at edges of surfaces and of brightness, (H, W)."""
    result = np.zeros(surface.shape, np.bool_)
    brightness = np.sqrt(np.clip(picture.mean(2), 0, 2))
    every, first, second = slice(None), slice(None, -1), slice(1, None)
    for a, b in (((every, second), (every, first)), ((second, every), (first, every))):
        edge = surface[a] != surface[b]
        edge |= (normal[a] * normal[b]).sum(2) < 0.8
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
