"""What it costs a frame to give its objects ids that last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.core.types import Box
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import Observation, View

SIZE_HW = (480, 640)
CAMERA = Intrinsics(525.0, 525.0, 319.5, 239.5, SIZE_HW[1], SIZE_HW[0])
"""A common depth camera."""
WALL, NEAR = 1.2, 1.0
"""Metres to the background, and to the objects."""
SIDE = 42
"""Pixels of an object's side: 8 cm at 1 m."""
DEPTH = 0.08
"""Metres from an object's front to its back."""
SIDES = 20
"""Views that show points of all sides: after them, objects have as many as are kept."""
COLUMNS = 10
"""Objects in a row of the picture."""
FRAME_NS = 100_000_000
"""Time between two frames: 10 Hz."""
SWAY = 0.01
"""Metres by which the camera sways, so that points are seen anew."""
WANTED = {10: "at most 7", 50: "at most 20"}
"""By number of objects, milliseconds."""
SHOTS = 8
"""Frames that are made beforehand, and seen again and again."""
CHANNELS = 512
"""Of appearances, as of ViT-B/16."""


def tracks(setting: Setting, counts: Sequence[int] = (10, 50)) -> Iterator[Row]:
    """Time the tracker on frames with so many objects of one label, with depth and without, and
    with objects that were seen from all sides, which have the most points.
    """
    for count in counts:
        watch = {
            "depth": Watch(count, True),
            "depth, seen from all sides": Watch(count, True, from_all_sides=True),
            "no depth": Watch(count, False),
        }
        timings = setting.side_by_side(
            {name: one.step for name, one in watch.items()}, 5 * setting.rounds
        )
        for name in watch:
            value = 1000 * timings.median(name)
            yield Row(f"ids of {count} objects, {name}", value, WANTED.get(count, ""), "ms")


@dataclass
class Watch:
    """A tracker, and frames in which all objects are found.

    :param count: of objects of one label, in rows.
    :param from_all_sides: before the first frame, points inside the objects are seen.
    """

    count: int
    with_depth: bool
    from_all_sides: bool = False
    tracker: Tracker = field(default_factory=Tracker)
    frames: int = 0

    def __post_init__(self) -> None:
        self._picture = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)
        looks = np.random.default_rng(1).normal(size=(self.count, CHANNELS)).astype(np.float32)
        self._looks = looks / np.linalg.norm(looks, axis=1, keepdims=True)
        self._shots = [self._shot(SWAY * np.sin(k)) for k in range(SHOTS)]
        for turn in range(SIDES if self.from_all_sides else 0):
            view, observations = self._shots[0]
            deep = [_with_sides(each, turn) for each in observations]
            self._take(view, deep)

    def step(self) -> tuple[int, ...]:
        """Take the next frame; return the objects' numbers."""
        return self._take(*self._shots[self.frames % SHOTS])

    def _take(self, view: View, observations: Sequence[Observation]) -> tuple[int, ...]:
        self.frames += 1
        return self.tracker.update(self.frames * FRAME_NS, view, observations, ("mug",)).numbers

    def _shot(self, shift: float) -> tuple[View, list[Observation]]:
        """Return what a camera sees that stands so many metres to the right."""
        pose = Rigid(np.array([shift, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
        boxes = [_box(index, shift) for index in range(self.count)]
        depth = DepthImage(_depth(boxes), CAMERA)
        observations = [self._observation(i, box, depth, pose) for i, box in enumerate(boxes)]
        if self.with_depth:
            return View("camera", SIZE_HW, depth, pose, self._picture), observations
        return View("camera", SIZE_HW, image_rgb=self._picture), observations

    def _observation(self, index: int, box: Box, depth: DepthImage, pose: Rigid) -> Observation:
        mask = np.ones((box.height, box.width), np.bool_)
        points = None
        if self.with_depth:
            rows, columns = np.mgrid[box.y : box.y + SIDE, box.x : box.x + SIDE].reshape(2, -1)
            points = pose.apply(depth.points_at(columns, rows))
        return Observation("mug", box, mask, 0.8, 0.9, points, appearance=self._looks[index])


def _with_sides(observation: Observation, turn: int) -> Observation:
    """Return an observation with points as far behind the front as it is wide."""
    front = np.asarray(observation.points)
    behind = np.random.default_rng(turn).uniform(0, DEPTH, len(front))
    return replace(observation, points=front + behind[:, None] * [0, 0, 1])


def _box(index: int, shift: float) -> Box:
    """Return where an object is seen by a camera that stands so many metres to the right."""
    x = 20 + (index % COLUMNS) * 60 - shift * CAMERA.fx / NEAR
    return Box(round(x), 20 + (index // COLUMNS) * 90, SIDE, SIDE)


def _depth(boxes: Sequence[Box]) -> NDArray[np.float32]:
    depth = np.full(SIZE_HW, WALL, np.float32)
    for box in boxes:
        depth[box.y : box.y + SIDE, box.x : box.x + SIDE] = NEAR
    return depth
