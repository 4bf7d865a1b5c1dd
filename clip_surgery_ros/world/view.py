"""Looks at scenes: chooses cameras, renders frames, and measures the truth of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.camera import Camera, focal_length, on_sphere
from clip_surgery_ros.world.contact import distances
from clip_surgery_ros.world.exposure import Exposure, expose, random_exposure
from clip_surgery_ros.world.frame import Frame, ObjectTruth
from clip_surgery_ros.world.geometry import Geometry, build_geometry
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.room import Slab
from clip_surgery_ros.world.scene import Scene
from clip_surgery_ros.world.sensor import REALISTIC, StereoErrors, measured_depth
from clip_surgery_ros.world.world_object import WorldObject

MARGIN = 0.06
"""Share of the picture's width and height that chosen cameras leave free round the objects."""
NEAREST = 0.4
"""Metres from the objects' middle at least, as wrist cameras stay."""
BESIDE = 0.35
"""Metres to the left and right of the objects' middle that furniture may not hide."""
BEYOND = 1.0
"""Pictures beyond the border within which an object's pixels count for its visible share."""


@dataclass(frozen=True)
class Look:
    """How frames are made.

    :param exposure: None draws one at random from the frame's seed.
    :param errors: of the depth camera.
    :param antialias: see :func:`render.render`.
    """

    exposure: Exposure | None = None
    errors: StereoErrors = REALISTIC
    antialias: bool = True


def choose_camera(
    scene: Scene,
    rng: np.random.Generator,
    width: int = 640,
    height: int = 480,
    elevation: tuple[float, float] = (18.0, 60.0),
) -> Camera:
    """Return a camera that has all objects in view and no furniture before them.

    :param elevation: least and greatest, degrees.
    """
    target = scene.centre()
    vertices = [item.vertices() for item in scene.objects.values()] or [target[None]]
    points = np.concatenate(vertices)
    camera = Camera(width, height, focal_length(width, rng.uniform(45, 62)))
    for _ in range(60):
        angles = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(*elevation))
        roll, spare = np.radians(rng.normal(0, 3)), rng.uniform(1.0, 1.25)
        distance = NEAREST
        while distance < 2.5 and not _frames(
            camera.at(on_sphere(target, distance, *angles)), points
        ):
            distance *= 1.08
        placed = camera.at(on_sphere(target, distance * spare, *angles, roll))
        if _is_clear(scene, placed, target):
            break
    return placed


def _is_clear(scene: Scene, camera: Camera, target: NDArray[np.float64]) -> bool:
    """Return whether no furniture is between a camera and the middle of the view, or beside it."""
    right, up = camera.pose[:3, 0] * BESIDE, np.array([0, 0, 0.03])
    eye = camera.pose[:3, 3]
    return all(scene.room.sees(eye, target + up + right * k) for k in (-1, 0, 1))


def _frames(camera: Camera, points: NDArray[np.float64]) -> bool:
    """Return whether all points are inside the picture, with a margin."""
    pixels, depth = camera.project(points)
    size = np.array([camera.width, camera.height])
    inside = (pixels > size * MARGIN) & (pixels < size * (1 - MARGIN))
    return bool(inside.all() and (depth > 0.05).all())


def view(
    scene: Scene,
    camera: Camera,
    look: Look | None = None,
    *,
    moment: int = 0,
    stamp: float = 0.0,
    extra: Sequence[Slab] = (),
) -> Frame:
    """Return the frame of a camera.

    :param look: how it is made; :class:`Look` as it is by default.
    :param moment: number of the frame, which changes noise and nothing else.
    :param stamp: seconds.
    :param extra: boxes in the room for this frame alone.
    """
    geometry = build_geometry(scene.objects, (*scene.room.slabs, *extra))
    return view_geometry(scene, geometry, camera, look or Look(), moment, stamp)


def view_geometry(
    scene: Scene, geometry: Geometry, camera: Camera, look: Look, moment: int, stamp: float
) -> Frame:
    """Return the frame of a camera in a scene whose geometry is built already."""
    rendering = render(geometry, scene.light, camera, look.antialias)
    exposure = look.exposure or random_exposure(np.random.default_rng([scene.seed, 1]))
    rng = np.random.default_rng([scene.seed, 2, moment])
    return Frame(
        expose(rendering.light, exposure, rng),
        rendering.depth,
        measured_depth(rendering, geometry, camera, look.errors, rng),
        rendering.ids,
        measure_truth(scene.objects, rendering.ids, camera),
        camera,
        stamp,
    )


def measure_truth(
    objects: Mapping[int, WorldObject], ids: NDArray[np.uint16], camera: Camera
) -> tuple[ObjectTruth, ...]:
    """Return the truth about each object, in the order of instances."""
    counts = np.bincount(ids.ravel(), minlength=max(objects, default=0) + 1)
    truths = []
    for instance, item in objects.items():
        pixels = int(counts[instance])
        alone = pixels_alone(item, camera) if pixels else 0
        truths.append(
            ObjectTruth(
                instance,
                item.name,
                item.colour,
                item.finish,
                item.pose,
                item.oriented_box(),
                item.upright_box(),
                pixels,
                min(1.0, pixels / alone) if alone else 0.0,
            )
        )
    return tuple(truths)


def pixels_alone(item: WorldObject, camera: Camera) -> int:
    """Return how many pixels an object would have alone, in a picture without border.

    At most one picture beyond each border is looked at.
    """
    vertices = item.vertices()
    pixels, depth = camera.project(vertices)
    size = np.array([camera.width, camera.height])
    if (depth > 0.01).all():
        low, high = pixels.min(0), pixels.max(0)
    else:
        low, high = -BEYOND * size, (1 + BEYOND) * size
    low = np.floor(np.maximum(low, -BEYOND * size)).astype(int)
    high = np.ceil(np.minimum(high, (1 + BEYOND) * size)).astype(int)
    if (high < low).any():
        return 0
    y, x = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1].reshape(2, -1)
    return int(np.isfinite(distances(item, *camera.rays(x, y))).sum())
