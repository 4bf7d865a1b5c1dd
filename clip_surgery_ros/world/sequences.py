"""Cameras that move and things that happen: frames over time, with the same ids throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.camera import Camera, focal_length, look_at, on_sphere
from clip_surgery_ros.world.exposure import Exposure, random_exposure
from clip_surgery_ros.world.frame import Frame
from clip_surgery_ros.world.geometry import Geometry, build_geometry
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.rigid import Pose, pose, rotation
from clip_surgery_ros.world.room import Slab, slab
from clip_surgery_ros.world.scene import SHELVES, Scene, SceneStyle, make_scene
from clip_surgery_ros.world.surfaces import painted
from clip_surgery_ros.world.view import Look, view_geometry
from clip_surgery_ros.world.world_object import WorldObject

CLEAR = 0.9
"""Metres round the table that a camera needs to circle it."""

LIFT = 0.25
"""Metres that an object is lifted when it is carried: above all others."""

CameraPath = Callable[[float], Pose]
"""Pose of the camera at a time in seconds."""


@dataclass(frozen=True)
class Change:
    """Something that happens to one object.

    :param instance: of the object.
    :param begin: seconds.
    :param end: seconds; between the two it is on its way, or away.
    :param target: pose at the end, where it stays; None: taken away and never put back.
    :param away: it is nowhere between begin and end, instead of carried along an arc.
    :param lift: height of the arc, metres.
    :param side: by how much the arc bends to the left of its way, metres.
    """

    instance: int
    begin: float
    end: float
    target: Pose | None
    away: bool = False
    lift: float = LIFT
    side: float = 0.0

    def apply(self, item: WorldObject, time: float) -> WorldObject | None:
        """Return the object as it is at a time, or None while it is away."""
        if time < self.begin:
            return item
        if self.target is None:
            return None
        if time >= self.end:
            return item.at(self.target)
        if self.away:
            return None
        share = (time - self.begin) / (self.end - self.begin)
        between = item.pose.copy()
        between[:3, 3] += share * (self.target[:3, 3] - item.pose[:3, 3])
        x, y = (self.target[:2, 3] - item.pose[:2, 3]) / max(
            float(np.linalg.norm(self.target[:2, 3] - item.pose[:2, 3])), 1e-9
        )
        between[:3, 3] += np.array([-y * self.side, x * self.side, self.lift]) * np.sin(
            np.pi * share
        )
        return item.at(between)


@dataclass(frozen=True)
class Board:
    """A board, of no name and instance 0, that passes between camera and objects.

    :param begin: seconds.
    :param end: seconds.
    :param size: width and height, metres.
    """

    begin: float
    end: float
    size: tuple[float, float] = (0.3, 0.4)

    def slabs(self, time: float, camera: Camera, target: Pose) -> tuple[Slab, ...]:
        """Return the board at a time, or nothing; it moves from left to right of the view."""
        if not self.begin <= time < self.end:
            return ()
        share = (time - self.begin) / (self.end - self.begin)
        right = camera.pose[:3, 0]
        middle = (camera.pose[:3, 3] + target[:3, 3]) / 2 + right * (share - 0.5) * 1.2
        half = np.array([self.size[0] / 2, self.size[0] / 2, self.size[1] / 2])
        half[int(np.abs(right[:2]).argmin())] = 0.005  # thin along the view
        paint = painted((176, 150, 118))
        return (slab(middle - half, middle + half, paint),)


@dataclass(frozen=True)
class Recording:
    """A scene, a camera that moves, and what happens.

    >>> recording = orbit(7, duration=1.0)
    >>> frames = list(recording.frames(rate=2.0))  # doctest: +SKIP

    :param path: of the camera.
    :param duration: seconds.
    """

    scene: Scene
    camera: Camera
    path: CameraPath
    duration: float
    changes: tuple[Change, ...] = ()
    board: Board | None = None

    def frames(
        self, rate: float = 10.0, look: Look | None = None, every: int = 1
    ) -> Iterator[Frame]:
        """Yield frames at a rate in Hz; the exposure is that of the first one.

        An object's instance is the same in all frames, also after it was away.

        :param every: yield each n-th frame only, as it is among all of them.
        """
        look = look or Look()
        exposure = look.exposure or random_exposure(np.random.default_rng([self.scene.seed, 1]))
        built: tuple[object, Geometry] | None = None
        for moment in range(0, max(1, round(self.duration * rate)), every):
            time = moment / rate
            camera = self.camera.at(self.path(time))
            scene = self.scene.with_objects(self.objects_at(time))
            slabs = self._extra(time, camera)
            key = ([(k, id(v.pose)) for k, v in scene.objects.items()], bool(slabs))
            if built is None or built[0] != key or slabs or self._is_carrying(time):
                built = key, build_geometry(scene.objects, (*scene.room.slabs, *slabs))
            if exposure.gain is None:
                exposure = self._fixed(exposure, built[1], camera)
            yield view_geometry(
                scene, built[1], camera, replace(look, exposure=exposure), moment, time
            )

    def objects_at(self, time: float) -> dict[int, WorldObject]:
        """Return the objects that are there at a time, by instance."""
        objects = dict(self.scene.objects)
        for change in sorted(self.changes, key=lambda c: c.begin):
            item = objects.get(change.instance, self.scene.objects[change.instance])
            moved = change.apply(item, time)
            if moved is None:
                objects.pop(change.instance, None)
            else:
                objects[change.instance] = moved
        return objects

    def _extra(self, time: float, camera: Camera) -> tuple[Slab, ...]:
        """Return the board, while it passes."""
        if self.board is None:
            return ()
        return self.board.slabs(time, camera, pose(translation=self.scene.centre()))

    def _is_carrying(self, time: float) -> bool:
        """Is an object on its way?"""
        return any(change.begin <= time < change.end for change in self.changes)

    def _fixed(self, exposure: Exposure, geometry: Geometry, camera: Camera) -> Exposure:
        """Return the exposure measured on a small picture of the first view."""
        small = camera.resized(80, max(1, round(80 * camera.height / camera.width)))
        return exposure.fixed(render(geometry, self.scene.light, small, antialias=False).light)


def orbit(
    seed: int,
    style: SceneStyle | None = None,
    *,
    size: tuple[int, int] = (640, 480),
    duration: float = 12.0,
    turns: float = 1.0,
    distance: float = 0.75,
) -> Recording:
    """Return a wrist camera that circles the objects of a seed, at a varying height.

    :param size: width and height, pixels.
    :param turns: of the table.
    :param distance: from the objects' middle, metres.
    """
    scene = make_scene(seed, replace(style or SceneStyle(), clear=CLEAR))
    return orbit_of(scene, size=size, duration=duration, turns=turns, distance=distance)


def orbit_of(
    scene: Scene,
    *,
    size: tuple[int, int] = (640, 480),
    duration: float = 12.0,
    turns: float = 1.0,
    distance: float = 0.75,
) -> Recording:
    """Return a wrist camera that circles the objects of a scene; see :func:`orbit`.

    :param scene: in whose room a camera can circle (``SceneStyle.clear``).
    """
    rng = np.random.default_rng([scene.seed, 3])
    start, low, high = rng.uniform(0, 2 * np.pi), np.radians(26), np.radians(48)
    target = scene.centre()
    camera = Camera(*size, focal_length(size[0], 55))

    def path(time: float) -> Pose:
        share = time / duration
        up = (low + high) / 2 + (high - low) / 2 * np.sin(2 * np.pi * share)
        return on_sphere(target, distance, start + 2 * np.pi * turns * share, up)

    return Recording(scene, camera, path, duration)


def drive_past(
    seed: int,
    style: SceneStyle = SHELVES,
    *,
    size: tuple[int, int] = (640, 480),
    speed: float = 0.25,
) -> Recording:
    """Return a camera on a base that drives along shelves at a speed in m/s, looking at them."""
    scene = make_scene(seed, style)
    rng = np.random.default_rng([seed, 3])
    shelf = scene.room.grounds[len(scene.room.grounds) // 2]
    away, height = rng.uniform(0.85, 1.05), float(shelf.centre[2] + rng.uniform(0.15, 0.35))
    length = shelf.half[0] * 0.7
    camera = Camera(*size, focal_length(size[0], 60))

    def path(time: float) -> Pose:
        x = -length + speed * time
        return look_at((x, shelf.centre[1] - away, height), (x + 0.05, *shelf.centre[1:]))

    return Recording(scene, camera, path, 2 * length / speed)


def hand_held(
    seed: int,
    style: SceneStyle | None = None,
    *,
    size: tuple[int, int] = (640, 480),
    duration: float = 8.0,
) -> Recording:
    """Return a camera in a hand: it sways in place and direction, within a few centimetres."""
    scene = make_scene(seed, replace(style or SceneStyle(), clear=CLEAR))
    return hand_held_of(scene, size=size, duration=duration)


def hand_held_of(
    scene: Scene, *, size: tuple[int, int] = (640, 480), duration: float = 8.0
) -> Recording:
    """Return a camera in a hand before the objects of a scene; see :func:`hand_held`.

    :param scene: in whose room a camera can circle (``SceneStyle.clear``).
    """
    rng = np.random.default_rng([scene.seed, 3])
    target, start = scene.centre(), rng.uniform(0, 2 * np.pi)
    rhythm, phase = rng.uniform(0.3, 1.6, (3, 6)), rng.uniform(0, 2 * np.pi, (3, 6))
    camera = Camera(*size, focal_length(size[0], 58))

    def path(time: float) -> Pose:
        sway = np.sin(rhythm * 2 * np.pi * time / 2 + phase).mean(0)
        base = on_sphere(target, 0.72 + 0.08 * sway[0], start + 0.25 * sway[1], 0.65)
        aim = look_at(base[:3, 3] + 0.05 * sway[3:], target + 0.06 * sway[:3], 0.08 * sway[4])
        return aim @ pose(rotation("z", 0.05 * sway[5]))

    return Recording(scene, camera, path, duration)


def with_events(recording: Recording, *events: str) -> Recording:
    """Return a recording in which something happens, at times that follow from the seed.

    :param events: ``moved`` (an object is carried elsewhere), ``taken`` (one is taken away),
        ``put_back`` (one is away for a while), ``board`` (a board passes in front). Each but the
        board takes another object that carries no other.
    :raises WorldError: unknown event, or too few objects for them.
    """
    free = [i for i in recording.scene.objects if not _carries(recording.scene, i)]
    rng = np.random.default_rng([recording.scene.seed, 4])
    free = [free[int(k)] for k in rng.permutation(len(free))]
    changes, board, length = [], recording.board, recording.duration
    for event in events:
        if event == "board":
            board = Board(0.4 * length, 0.6 * length)
            continue
        if event not in ("moved", "taken", "put_back"):
            raise WorldError(f"event {event!r}: events are moved, taken, put_back, board")
        if not free:
            raise WorldError(f"event {event!r}: no object is left that it could happen to")
        instance = free.pop()
        target: Pose | None = recording.scene.objects[instance].pose
        if event == "moved":
            target = _free_pose(recording.scene, instance, rng)
        elif event == "taken":
            target = None
        begin = length * rng.uniform(0.25, 0.4)
        end = begin + length * rng.uniform(0.15, 0.25)
        changes.append(Change(instance, begin, end, target, event == "put_back"))
    return replace(recording, changes=(*recording.changes, *changes), board=board)


def _carries(scene: Scene, instance: int) -> bool:
    """Return whether another object may rest on this one: their footprints overlap."""
    from clip_surgery_ros.world.placing import apart

    outline = scene.objects[instance].footprint()
    return any(
        not apart(outline, other.footprint(), 0)
        for k, other in scene.objects.items()
        if k != instance
    )


def _free_pose(scene: Scene, instance: int, rng: np.random.Generator) -> Pose:
    """Return a pose at which an object rests on its ground elsewhere, apart from the others."""
    from clip_surgery_ros.world.placing import apart

    item = scene.objects[instance]
    others = [o.footprint() for k, o in scene.objects.items() if k != instance]
    for _ in range(200):
        shift = np.array([*rng.uniform(-0.3, 0.3, 2), 0.0])
        moved = item.at(pose(translation=shift) @ item.pose)
        outline = moved.footprint()
        ground = min(
            scene.room.grounds, key=lambda g: abs(g.centre[2] - moved.vertices()[:, 2].min())
        )
        inside = np.abs(outline - ground.centre[:2].astype(np.float32)) < ground.half
        if inside.all() and all(apart(outline, other, 0.01) for other in others):
            return moved.pose
    raise WorldError(f"no free place within 0.3 m for object {instance} ({item.name})")
