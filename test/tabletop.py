"""An exact tabletop of cuboids, ray-cast here, and a camera's view of it for the tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from clip_surgery_ros.core.geometry import crop, mask_box
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import (
    NO_ID,
    Observation,
    TrackedFrame,
    TrackSettings,
    TrackState,
    View,
)

CAMERA = Intrinsics(150.0, 150.0, 79.5, 59.5, 160, 120)
FROM = (0.55, -0.3, 0.5)


@dataclass(frozen=True)
class Cuboid:
    """A cuboid on the table z = 0, unless it is lifted."""

    x: float
    y: float
    size: tuple[float, float, float] = (0.07, 0.07, 0.1)
    label: str = "mug"
    lifted: float = 0.0

    @property
    def centre(self) -> np.ndarray:
        return np.array([self.x, self.y, self.lifted + self.size[2] / 2])

    def at(self, x: float, y: float, lifted: float = 0.0) -> Cuboid:
        return replace(self, x=x, y=y, lifted=lifted)


def looking(eye: tuple[float, float, float], target: tuple[float, float, float]) -> Rigid:
    """Return camera to world."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0, 0, 1.0]) / np.linalg.norm(np.cross(forward, [0, 0, 1.0]))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    matrix[:3, 3] = eye
    return Rigid.from_matrix(matrix)


def orbit(degrees: float, distance: float = 0.75) -> Rigid:
    """Return a camera that circles the origin."""
    angle = np.radians(degrees)
    eye = distance * np.array([0.8 * np.cos(angle), 0.8 * np.sin(angle), 0.6])
    return looking(tuple(eye), (0.0, 0.0, 0.03))


def cast(things: Mapping[int, Cuboid], pose: Rigid) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (H, W) in metres and ids (H, W), 0 for table and walls."""
    y, x = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width].reshape(2, -1).astype(float)
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy, np.ones_like(x)], 1)
    rays, eye = rays @ pose.rotation.T, pose.translation
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[:, 2] < 0, -eye[2] / rays[:, 2], np.inf)
        depth = np.minimum(depth, 4.0)  # a wall
        ids = np.zeros(len(rays), np.uint16)
        for number, thing in things.items():
            half = np.array(thing.size) / 2
            near = (thing.centre - half - eye) / rays
            far = (thing.centre + half - eye) / rays
            first = np.minimum(near, far).max(1)
            last = np.maximum(near, far).min(1)
            hit = (first < last) & (first > 0) & (first < depth)
            depth[hit], ids[hit] = first[hit], number
    shape = (CAMERA.height, CAMERA.width)
    return depth.astype(np.float32).reshape(shape), ids.reshape(shape)


def observed(
    ids: np.ndarray,
    number: int,
    label: str,
    depth: np.ndarray | None = None,
    pose: Rigid | None = None,
    **more: object,
) -> Observation | None:
    """Return the observation of an object by its true mask; None if it is not visible."""
    mask = ids == number
    box = mask_box(mask)
    if box is None:
        return None
    points = None
    if depth is not None and pose is not None:
        rows, columns = np.nonzero(mask)
        points = pose.apply(DepthImage(depth, CAMERA).points_at(columns, rows))
    values = {"score": 0.8, "presence": 0.8, **more}
    return Observation(label, box, crop(mask, box), points=points, **values)


@dataclass(frozen=True)
class Shot:
    """A view of things, and the observations of those that it shows, by their numbers."""

    view: View
    found: dict[int, Observation]

    def without(self, *numbers: int) -> Shot:
        """Return the shot with objects that were not found, although they are there."""
        return replace(self, found={k: v for k, v in self.found.items() if k not in numbers})


def shot(
    things: Mapping[int, Cuboid],
    pose: Rigid | None = None,
    camera: str = "camera",
    *,
    with_depth: bool = True,
    **more: object,
) -> Shot:
    """Return the view of a camera; a thing without label, such as a board, is not found."""
    pose = pose or looking(FROM, (0.0, 0.0, 0.03))
    depth, ids = cast(things, pose)
    space = (depth, pose) if with_depth else (None, None)
    found = {}
    for number, thing in things.items():
        seen = observed(ids, number, thing.label, *space, **more)
        if thing.label and seen is not None:
            found[number] = seen
    view = View(
        camera,
        ids.shape,
        DepthImage(depth, CAMERA) if with_depth else None,
        pose if with_depth else None,
        None if with_depth else painted(depth, ids, things, pose),
    )
    return Shot(view, found)


def painted(
    depth: np.ndarray, ids: np.ndarray, things: Mapping[int, Cuboid], pose: Rigid
) -> np.ndarray:
    """Return a picture, (H, W, 3) uint8: each surface has a texture of its own that moves with
    it.
    """
    rows, columns = np.mgrid[0 : ids.shape[0], 0 : ids.shape[1]].reshape(2, -1)
    points = pose.apply(DepthImage(depth, CAMERA).points_at(columns, rows))
    origin = np.zeros((len(points), 3))
    for number, thing in things.items():
        origin[ids.ravel() == number] = thing.centre
    cells = np.floor((points - origin) / 0.012 + 0.5).astype(np.int64)
    mixed = (cells * [73856093, 19349663, 83492791]).sum(1) + ids.ravel().astype(np.int64) * 40503
    grey = 60 + (mixed ^ (mixed >> 7)) % 160
    return np.repeat(grey.reshape(*ids.shape, 1), 3, 2).astype(np.uint8)


LABELS = ("mug", "box")
TWINS = {
    1: Cuboid(-0.12, 0.0),
    2: Cuboid(0.0, 0.0),
    3: Cuboid(0.12, 0.02),
    4: Cuboid(0.05, 0.16, (0.1, 0.06, 0.05), "box"),
}


class Watch:
    """A tracker, and the numbers that it gave to each true object."""

    def __init__(self, settings: TrackSettings | None = None) -> None:
        self.tracker = Tracker(settings)
        self.numbers: dict[int, list[int]] = {}
        self.frame = TrackedFrame((), ())

    def see(self, time: float, seen: Shot, labels: tuple[str, ...] = LABELS) -> dict[int, int]:
        """Return the number of each object that was found, by the object."""
        things = [thing for thing, found in seen.found.items() if found.label in labels]
        observations = [seen.found[thing] for thing in things]
        self.frame = self.tracker.update(round(time * 1e9), seen.view, observations, labels)
        numbers = dict(zip(things, self.frame.numbers, strict=True))
        given = [number for number in numbers.values() if number != NO_ID]
        assert len(given) == len(set(given)), "one frame gives one id twice"
        for thing, number in numbers.items():
            if number != NO_ID:
                self.numbers.setdefault(thing, []).append(number)
        return numbers

    def lasting(self) -> dict[int, int]:
        """Return the only number of each object."""
        assert all(len(set(given)) == 1 for given in self.numbers.values()), self.numbers
        return {thing: given[0] for thing, given in self.numbers.items()}

    def state(self, name: str) -> TrackState:
        """Return the state of an id after the newest frame, also if that forgot it."""
        (found,) = [state for state in self.frame.tracks if state.id == name]
        return found
