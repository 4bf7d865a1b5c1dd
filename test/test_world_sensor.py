"""Each error of the simulated depth camera changes what it should, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.materials import Material
from clip_surgery_ros.world.render import Rendering, render
from clip_surgery_ros.world.scene import make_scene
from clip_surgery_ros.world.sensor import (
    NO_ERRORS,
    REALISTIC,
    StereoErrors,
    measured_depth,
    stereo_shadow,
)
from clip_surgery_ros.world.view import choose_camera

CAMERA = Camera(160, 120, 140.0)
SCALE = CAMERA.focal * REALISTIC.baseline
"""Disparity in pixels times depth in metres."""
MATERIALS = (
    Material(np.full(3, 0.5, np.float32), "matte"),
    Material(np.full(3, 0.5, np.float32), "metallic"),
    Material(np.full(3, 0.004, np.float32), "matte"),
)
PLAIN, METAL, DARK = range(3)
SWITCHES = [f.name for f in fields(StereoErrors) if isinstance(f.default, bool)]


def wall_and_board(near: float = 0.5, far: float = 1.2) -> Rendering:
    """A board before a wall, with patches of metal and of dark paint, and a grazing stripe."""
    shape = (CAMERA.height, CAMERA.width)
    depth = np.full(shape, far, np.float32)
    depth[30:90, 60:110] = near
    material = np.full(shape, PLAIN, np.int32)
    material[5:25, 5:55], material[95:115, 5:55] = METAL, DARK
    facing = np.full(shape, 0.9, np.float32)
    facing[:, 130:140] = 0.05
    light = np.zeros((*shape, 3), np.float32)
    return Rendering(light, depth, (depth == near).astype(np.uint16), material, facing)


def measured(rendering: Rendering, errors: StereoErrors, seed: int = 6) -> np.ndarray:
    geometry = SimpleNamespace(materials=MATERIALS)
    return measured_depth(rendering, geometry, CAMERA, errors, np.random.default_rng(seed))  # type: ignore[arg-type]


def test_without_errors_depth_is_the_truth() -> None:
    rendering = wall_and_board()
    assert (measured(rendering, NO_ERRORS) == rendering.depth).all()


@pytest.mark.parametrize("name", SWITCHES)
def test_every_error_changes_something_when_it_alone_is_on(name: str) -> None:
    rendering = wall_and_board(near=0.05 if name == "limits" else 0.5)
    changed = measured(rendering, StereoErrors.only(name)) != rendering.depth
    assert changed.any()
    assert (measured(rendering, replace(NO_ERRORS)) == rendering.depth).all()


def test_noise_has_its_deviation_in_disparity_and_loses_nothing() -> None:
    rendering = wall_and_board()
    depth = measured(rendering, StereoErrors.only("noise"))
    off = SCALE / depth - SCALE / rendering.depth
    assert off.std() == pytest.approx(REALISTIC.deviation, rel=0.02)
    assert abs(off.mean()) < 0.01


def test_steps_are_sixteenths_of_a_pixel_of_disparity() -> None:
    rendering = wall_and_board(near=0.53, far=1.27)
    depth = measured(rendering, StereoErrors.only("steps"))
    disparity = SCALE / depth
    assert np.allclose(disparity * 16, np.round(disparity * 16), atol=1e-3)
    assert (np.abs(disparity - SCALE / rendering.depth) <= 1 / 32 + 1e-5).all()


def test_flying_pixels_are_half_of_those_at_edges_and_lie_between() -> None:
    rendering = wall_and_board()
    depth = measured(rendering, StereoErrors.only("flying"))
    changed = depth != rendering.depth
    edge = np.zeros(depth.shape, bool)
    edge[29:91, 59:111] = True
    edge[31:89, 61:109] = False
    edge[[29, 29, 90, 90], [59, 110, 59, 110]] = False  # corners touch no edge
    assert not changed[~edge].any()
    assert 0.4 < changed[edge].mean() < 0.6
    assert ((depth[changed] > 0.5) & (depth[changed] < 1.2)).all()


def test_shadow_lies_left_of_the_board_as_wide_as_disparities_differ() -> None:
    rendering = wall_and_board()
    depth = measured(rendering, StereoErrors.only("shadows"))
    lost = depth != rendering.depth
    width = round(SCALE / 0.5 - SCALE / 1.2)
    assert width > 3
    assert (depth[lost] == 0).all()
    rows, columns = np.nonzero(lost)
    assert set(rows) == set(range(30, 90))
    assert set(columns) == set(range(60 - width, 60))


def test_second_camera_does_not_see_left_of_an_edge() -> None:
    disparity = np.full((1, 40), 4.0, np.float32)
    disparity[0, 20:30] = 10.0
    assert np.flatnonzero(stereo_shadow(disparity)[0]).tolist() == list(range(14, 20))


@pytest.mark.parametrize(
    ("name", "material", "share"), [("metal", METAL, (0.1, 0.6)), ("dark", DARK, (0.5, 0.7))]
)
def test_holes_are_on_their_material_alone(
    name: str, material: int, share: tuple[float, float]
) -> None:
    rendering = wall_and_board()
    depth = measured(rendering, StereoErrors.only(name))
    of_material = rendering.material == material
    assert (depth[~of_material] == rendering.depth[~of_material]).all()
    lost = depth[of_material] == 0
    assert share[0] < lost.mean() < share[1]
    assert (depth[of_material][~lost] == rendering.depth[of_material][~lost]).all()


def test_grazing_surfaces_are_lost_and_no_others() -> None:
    rendering = wall_and_board()
    lost = measured(rendering, StereoErrors.only("grazing")) == 0
    assert (lost == (rendering.facing < 0.1)).all()


def test_dropouts_are_few_and_single() -> None:
    rendering = wall_and_board()
    depth = measured(rendering, StereoErrors.only("dropouts"))
    lost = depth == 0
    assert 0.0005 < lost.mean() < 0.004
    assert (depth[~lost] == rendering.depth[~lost]).all()


def test_nothing_is_measured_beyond_the_limits() -> None:
    rendering = wall_and_board(near=0.05, far=12.0)
    rendering.depth[100:] = 2.0
    depth = measured(rendering, StereoErrors.only("limits"))
    assert (depth[:100] == 0).all()
    assert (depth[100:] == 2).all()


def test_errors_together_keep_most_of_a_table_within_two_centimetres() -> None:
    scene = make_scene(0)
    camera = choose_camera(scene, np.random.default_rng(5), 160, 120, (12, 20))
    geometry = build_geometry(scene.objects, scene.room.slabs)
    rendering = render(geometry, scene.light, camera, antialias=False)
    rng = np.random.default_rng(6)
    full = measured_depth(rendering, geometry, camera, REALISTIC, rng)
    both = (full > 0) & (rendering.depth < 1.5)
    assert np.median(np.abs(full[both] - rendering.depth[both])) < 0.02
