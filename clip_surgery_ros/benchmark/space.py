"""What objects in space cost: lifting, and clouds, on one core; no network runs."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.benchmark.world import cpu_seconds
from clip_surgery_ros.core.geometry import crop, mask_box
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import FrameResult, PointPrompts, Segment
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import LiftSettings
from clip_surgery_ros.space.objects import (
    ObjectsInSpace,
    background_points,
    lift_all,
    object_points,
)
from clip_surgery_ros.space.transforms import Rigid

OBJECTS = 10
RADIUS = 0.05
"""Of the balls, metres: about as large in the picture as mugs are at 0.7 m."""
TABLE = 0.8
"""Metres from the camera, which looks straight down."""
NOISE = 0.0015
"""Deviation of depth, metres, as of active stereo at this distance."""
TIMES = 10
"""An object takes milliseconds, so each round does it so often."""
UP = np.array([0.0, 0.0, -1.0])


def objects_in_space(setting: Setting) -> list[Row]:
    """Measure the processor's seconds, which other programs do not change much."""
    one, depth = _scene((480, 640), 1)
    times, settings = TIMES * setting.rounds, LiftSettings(up=UP)

    def lift(result: FrameResult, depth: DepthImage) -> ObjectsInSpace:
        return lift_all(result, depth, Rigid.identity(), "camera", settings)

    def milliseconds(run: Callable[[], object]) -> float:
        return 1000 * cpu_seconds(run, times) / times

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        single = milliseconds(lambda: lift(one, depth))
        many, depth = _scene((720, 1280), OBJECTS)
        found = lift(many, depth)
        ten = milliseconds(lambda: lift(many, depth))
        points = milliseconds(lambda: object_points(many, found, depth))
        background = milliseconds(lambda: background_points(many, found, depth))
    finally:
        cv2.setNumThreads(threads)
    return [
        Row("an object lifted, 640 x 480, one core", single, "under 4", "ms"),
        Row(f"{OBJECTS} objects lifted, 1280 x 720, one core", ten, "under 60", "ms"),
        Row("points of objects, 1280 x 720, one core", points, "under 25", "ms"),
        Row("points of the background, 1280 x 720, one core", background, "under 25", "ms"),
    ]


def _scene(size_hw: tuple[int, int], count: int) -> tuple[FrameResult, DepthImage]:
    """Return balls on a table, seen from above, and their true masks."""
    height, width = size_hw
    focal = 0.9 * width
    camera = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    rays = np.stack([(columns - camera.cx) / focal, (rows - camera.cy) / focal], axis=-1)
    metres, ids = np.full(size_hw, TABLE), np.zeros(size_hw, np.uint16)
    for k in range(count):
        across = (k % 5 - 2 * (count > 1)) * 3 * RADIUS
        down = (k // 5 - 0.5 * (count > 1)) * 4 * RADIUS
        centre = np.array([across, down, TABLE - RADIUS])
        squares, along = (rays**2).sum(-1) + 1, rays @ centre[:2] + centre[2]
        inside = along**2 - squares * (centre @ centre - RADIUS**2)
        near = (along - np.sqrt(np.maximum(inside, 0))) / squares
        metres, ids = np.where(inside > 0, near, metres), np.where(inside > 0, k + 1, ids)
    noise = np.random.default_rng(0).normal(0, NOISE, size_hw)
    depth = DepthImage((metres + noise).astype(np.float32), camera)
    return _result(ids, count), depth


def _result(ids: NDArray[np.integer], count: int) -> FrameResult:
    """Return the result of a picture with these instances."""
    segments = tuple(_segment(ids == k + 1, k + 1) for k in range(count))
    scores = np.ones(1, np.float32)
    return FrameResult(
        query=query_of(["ball"]),
        size_hw=(ids.shape[0], ids.shape[1]),
        similarity=np.ones((1, 2, 3), np.float32),
        presence=scores,
        probabilities=scores,
        thresholds=scores,
        segments=segments,
        absent=(),
        stage_seconds={},
    )


def _segment(mask: NDArray[np.bool_], number: int) -> Segment:
    box = mask_box(mask)
    if box is None:
        raise ValueError(f"ball {number} is outside the picture")
    middle = np.array([[box.x + box.width // 2, box.y + box.height // 2]], np.int32)
    points = PointPrompts(middle, np.array([True]))
    return Segment(number, 0, "ball", 1.0, 1.0, 1.0, 1.0, box, crop(mask, box), points)
