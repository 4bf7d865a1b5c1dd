"""How fast the rendered world is: training views and frames of a camera, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.scene import Scene, make_scene
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.sensor import NO_ERRORS
from clip_surgery_ros.world.view import Look, choose_camera, view, view_geometry

TRAINING = Look(errors=NO_ERRORS, antialias=False)
"""As views to train on are made: edges not smoothed, and no errors of a depth camera."""
VIEWS = 4
"""Of a scene: its geometry is built once for all of them."""
SIDES = {144: "at least 12", 384: "at least 1.5"}
"""Sides of training views, pixels, and how many views are wanted a second and core."""


def world_rates(setting: Setting) -> list[Row]:
    """Measure the processor's seconds, which other programs do not change much, of rendering.

    :raises WorldError: a package of the rendered world is missing.
    """
    scenes = max(2, setting.rounds)
    rows = []
    for side, wanted in SIDES.items():
        count = scenes * VIEWS
        rate = count / cpu_seconds(_training_views(side).__next__, count)
        what = f"training views of {side} x {side} a second and core, {VIEWS} of a scene"
        rows.append(Row(what, rate, wanted, "/s"))
    scene = make_scene(SPLITS["development"].start)
    seconds = cpu_seconds(lambda: _camera_frame(scene), scenes) / scenes
    rows.append(Row("RGB-D frame of 640 x 480, one core", seconds, "under 1.5", "s"))
    return rows


def _training_views(side: int) -> Iterator[object]:
    """Render views of one scene after the other, without end."""
    seed = SPLITS["development"].start
    while True:
        scene, rng = make_scene(seed), np.random.default_rng(seed)
        geometry = build_geometry(scene.objects, scene.room.slabs)
        for moment in range(VIEWS):
            camera = choose_camera(scene, rng, side, side)
            yield view_geometry(scene, geometry, camera, TRAINING, moment, 0.0)
        seed += 1


def _camera_frame(scene: Scene) -> object:
    """Render a frame with measured depth, as the demo's camera shows it."""
    return view(scene, choose_camera(scene, np.random.default_rng(1), 640, 480))


def cpu_seconds(run: Callable[[], object], times: int) -> float:
    """Return the processor's seconds of running something, after a first time that is not
    measured.
    """
    run()
    start_s = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - start_s
