"""Depth, ids, boxes and visible shares of the rendered world against independent geometry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from world_physics import faults

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.camera import Camera, look_at
from clip_surgery_ros.world.catalogue import Part, corner_normals
from clip_surgery_ros.world.exposure import NEUTRAL
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.light import neutral_light
from clip_surgery_ros.world.render import render, trace_pixels
from clip_surgery_ros.world.rigid import pose, rotation
from clip_surgery_ros.world.room import slab
from clip_surgery_ros.world.scene import ALIKE, CLUTTER, SHELVES, TABLE, make_scene
from clip_surgery_ros.world.seeds import SPLITS, split_of
from clip_surgery_ros.world.sensor import NO_ERRORS
from clip_surgery_ros.world.sequences import drive_past, hand_held, orbit, with_events
from clip_surgery_ros.world.shapes import sphere
from clip_surgery_ros.world.surfaces import painted
from clip_surgery_ros.world.view import Look, choose_camera, view
from clip_surgery_ros.world.world_object import WorldObject

GREY = painted((150, 150, 150))
CAMERA = Camera(80, 60, 70.0, look_at((0.5, -0.6, 0.5), (0, 0, 0.05)))
FAST = Look(NEUTRAL, NO_ERRORS, antialias=False)


def slab_depth(
    low: np.ndarray, high: np.ndarray, origins: np.ndarray, rays: np.ndarray
) -> np.ndarray:
    """Return distances along rays to a box, by the slab method; inf where they miss."""
    with np.errstate(divide="ignore"):
        a, b = (low - origins) / rays, (high - origins) / rays
    enter, leave = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def sphere_depth(
    radius: float, at: np.ndarray, origins: np.ndarray, rays: np.ndarray
) -> np.ndarray:
    """Return distances along rays to a sphere; inf where they miss."""
    to = origins - at
    a, b, c = (rays**2).sum(1), (to * rays).sum(1), (to**2).sum(1) - radius**2
    root = b**2 - a * c
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)


def solid_object(solid: object, at: np.ndarray) -> WorldObject:
    mesh = solid.to_mesh64()  # type: ignore[attr-defined]
    vertices, faces = np.asarray(mesh.vert_properties), np.asarray(mesh.tri_verts, np.int32)
    part = Part(vertices, faces, corner_normals(vertices, faces), "white")
    return WorldObject("ball", "white", "matte", (part,), pose(translation=at))


def all_rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0 : camera.height, 0 : camera.width].reshape(2, -1)
    return camera.rays(x, y)


def test_depth_and_ids_agree_with_a_second_renderer_of_boxes_and_spheres() -> None:
    boxes = [
        ((-2, -2, -0.1), (2, 2, 0)),
        ((-0.1, 0.05, 0), (0.1, 0.2, 0.15)),
        ((-2, 1, 0), (2, 1.1, 2)),
    ]
    radius, at = 0.08, np.array([0.02, -0.12, 0.081])
    geometry = build_geometry(
        {1: solid_object(sphere(radius, 256), at)}, [slab(low, high, GREY) for low, high in boxes]
    )
    rendering = render(geometry, neutral_light(), CAMERA, antialias=False)
    origins, rays = all_rays(CAMERA)
    room = np.min(
        [slab_depth(np.array(low), np.array(high), origins, rays) for low, high in boxes], 0
    )
    ball = sphere_depth(radius, at, origins, rays)
    ids, depth = (ball < room).astype(int), np.minimum(ball, room)
    seen_ids, seen = rendering.ids.ravel(), rendering.depth.ravel()
    assert (seen_ids == ids).mean() > 0.998  # the ball's outline is a polygon
    assert (seen[np.isinf(depth)] == 0).all()
    flat = (ids == 0) & (seen_ids == 0) & np.isfinite(depth)
    assert flat.sum() > 2000
    assert np.abs(seen[flat] - depth[flat]).max() < 1e-6
    round_ = (ids == 1) & (seen_ids == 1)
    assert round_.sum() > 100
    # The ball is a polyhedron between its sphere and the one that its faces touch from inside.
    part = solid_object(sphere(radius, 256), at).parts[0]
    a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    inside = ((normal * a).sum(1) / np.linalg.norm(normal, axis=1)).min()
    latest = sphere_depth(inside, at, origins, rays)
    assert inside > 0.998 * radius
    assert (seen[round_] > ball[round_] - 1e-6).all()
    assert (seen[round_] < latest[round_] + 1e-6).all()


def test_depth_is_that_of_the_nearest_triangle_in_double_precision() -> None:
    scene = make_scene(5)
    camera = choose_camera(scene, np.random.default_rng(1), 40, 30)
    geometry = build_geometry(scene.objects, scene.room.slabs)
    seen = trace_pixels(geometry, camera)
    origins, rays = all_rays(camera)
    chosen = np.random.default_rng(2).choice(len(rays), 40, replace=False)
    a, b, c = (geometry.vertices[geometry.faces[:, k]] for k in range(3))
    for k in chosen:  # Moeller and Trumbore over all triangles
        p = np.cross(rays[k], c - a)
        along = ((b - a) * p).sum(1)
        along = np.where(np.abs(along) < 1e-18, 1e-18, along)
        to = origins[k] - a
        u = (to * p).sum(1) / along
        q = np.cross(to, b - a)
        v = (q * rays[k]).sum(1) / along
        t = ((c - a) * q).sum(1) / along
        hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 0)
        assert abs(t[hit].min() - seen.depth[k]) < 1e-6


def test_same_seed_makes_the_same_frame_and_another_seed_a_different_one() -> None:
    first, again, other = (
        view(scene, choose_camera(scene, np.random.default_rng(3), 48, 36))
        for scene in (make_scene(11), make_scene(11), make_scene(12))
    )
    assert (first.rgb == again.rgb).all()
    assert (first.depth == again.depth).all()
    assert (first.sensor_depth == again.sensor_depth).all()
    assert (first.rgb != other.rgb).any()


def test_splits_share_no_seed() -> None:
    ranges = sorted(SPLITS.values(), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    assert [split_of(r.start) for r in SPLITS.values()] == list(SPLITS)
    with pytest.raises(WorldError, match="seeds are 0 to"):
        split_of(-1)


@pytest.mark.parametrize(
    ("seed", "style"),
    [(0, TABLE), (4, TABLE), (5, TABLE), (20, CLUTTER), (22, CLUTTER), (30, ALIKE), (40, SHELVES)],
)
def test_objects_rest_on_a_support(seed: int, style: object) -> None:
    scene = make_scene(seed, style)  # type: ignore[arg-type]
    assert len(scene.objects) >= 2
    assert not faults(scene)


def test_boxes_hold_all_vertices_and_touch_them() -> None:
    for item in make_scene(3).objects.values():
        for box in (item.oriented_box(), item.upright_box()):
            local = (item.vertices() - box.centre) @ box.pose[:3, :3]
            assert (np.abs(local) <= box.size / 2 + 1e-9).all()
            assert np.allclose(local.max(0), box.size / 2, atol=1e-9)
            assert np.allclose(local.min(0), -box.size / 2, atol=1e-9)
        assert np.allclose(item.upright_box().pose[2, :3], (0, 0, 1))


def test_visible_share_is_that_of_a_render_of_the_object_alone() -> None:
    scene = make_scene(20, CLUTTER)
    camera = choose_camera(scene, np.random.default_rng(4), 96, 72)
    frame = view(scene, camera, FAST)
    assert any(0 < truth.visible < 0.9 for truth in frame.objects)
    for truth in frame.objects:
        alone = {truth.instance: scene.objects[truth.instance]}
        geometry = build_geometry(alone, [slab((5, 5, 5), (5.1, 5.1, 5.1), GREY)])
        pixels = int((trace_pixels(geometry, camera).depth > 0).sum())
        assert truth.pixels == frame.mask(truth.instance).sum()
        if truth.pixels:  # rays in the object's frame may decide otherwise at a pixel's edge
            assert truth.pixels / truth.visible == pytest.approx(pixels, abs=1.5)
        else:
            assert truth.visible == 0


def test_sequence_keeps_instances_and_has_the_events() -> None:
    recording = with_events(
        orbit(8, size=(64, 48), duration=4.0), "taken", "put_back", "moved", "board"
    )
    frames = list(recording.frames(2.0, FAST))
    assert [frame.stamp for frame in frames] == [k / 2 for k in range(8)]
    names = {t.instance: t.name for t in frames[0].objects}
    for frame in frames:
        assert all(names[t.instance] == t.name for t in frame.objects)
    taken, back, moved = recording.changes
    present = [{t.instance for t in frame.objects} for frame in frames]
    assert taken.instance in present[0]
    assert taken.instance not in present[-1]
    assert back.instance in present[-1]
    first, last = (
        next(t for t in frame.objects if t.instance == moved.instance)
        for frame in (frames[0], frames[-1])
    )
    assert np.linalg.norm(first.pose[:3, 3] - last.pose[:3, 3]) > 0.01
    assert not faults(recording.scene.with_objects(recording.objects_at(4.0)))
    with pytest.raises(WorldError, match="events are"):
        with_events(recording, "explosion")


def test_base_and_hand_move_smoothly() -> None:
    for recording in (drive_past(41, size=(32, 24)), hand_held(9, size=(32, 24))):
        poses = [recording.path(t) for t in np.arange(0, 1, 0.1)]
        steps = [np.linalg.norm(b[:3, 3] - a[:3, 3]) for a, b in itertools.pairwise(poses)]
        assert 0 < max(steps) < 0.1
        frame = next(iter(recording.frames(1.0, FAST)))
        assert (frame.ids > 0).any()
        assert (frame.depth > 0).mean() > 0.9


def test_points_of_depth_project_back_to_their_pixels() -> None:
    camera = CAMERA.at(CAMERA.pose @ pose(rotation("x", 0.2), (0.1, 0, 0)))
    points = camera.points(np.full((60, 80), 0.7))
    pixels, depth = camera.project(points.reshape(-1, 3))
    assert np.allclose(depth, 0.7)
    assert np.allclose(pixels.reshape(60, 80, 2)[7, 11], (11, 7))
