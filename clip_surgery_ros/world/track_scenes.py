"""Short sequences of alike objects, for measuring ids that last; rendered once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.world.camera import Camera, focal_length, look_at, on_sphere
from clip_surgery_ros.world.frame import Frame
from clip_surgery_ros.world.kept_views import VERSION
from clip_surgery_ros.world.rigid import Pose, pose, rotation
from clip_surgery_ros.world.scene import Scene, SceneStyle, random_object, scene_of
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.sequences import CLEAR, Board, Change, Recording
from clip_surgery_ros.world.view import Look

SIZE = (160, 120)
"""Width and height, pixels: of ids and places small pictures tell as much, and rendering them is
quick."""
RATE = 10.0
"""Frames a second; slower rates take some of them."""
SECONDS = 12.0
TWINS = ("mug", "can", "bowl", "box", "apple", "bottle", "jar", "teacup")
"""Names of the three alike objects of a scene."""
OTHERS = ("teapot", "book", "toy car", "hat", "clock", "vase", "candle", "bell")
"""Names of the two others."""
STYLE = SceneStyle(reach=0.26, gap=0.02, lying=0.0, on_others=0.0, clear=CLEAR)
FIRST = 900_000
"""Where seeds begin, apart from those of all sets of views."""
TRIES = 20
"""Seeds that are tried for one scene."""
DISTANCE, HEIGHT = 0.75, 0.62
"""Metres from the objects, and elevation in radians."""
TURN = np.radians(25.0)
"""Of the wrist, radians a second."""
PAN = np.radians(40.0)
"""By how much a slow pan turns the camera."""
AWAY = (4.0, 8.0)
"""Seconds between which the camera looks away, or the alike objects are not asked for."""
Rng = np.random.Generator


@dataclass(frozen=True)
class Moment:
    """One frame of a sequence.

    :param stamp: seconds.
    :param rgb: (H, W, 3) uint8.
    :param depth: (H, W) float32 metres as a depth camera measures it, 0 for none.
    :param ids: (H, W) uint8, instance of the object seen, 0 for the room.
    :param pose: (4, 4) camera to world.
    :param visible: share of each object that is visible, by instance.
    """

    stamp: float
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    ids: NDArray[np.uint8]
    pose: Pose
    visible: dict[int, float]


@dataclass(frozen=True)
class TrackScene:
    """A sequence.

    :param kind: key of :data:`KINDS`.
    :param camera: of all frames; its pose is that of the first one.
    :param names: of the objects, by instance.
    :param not_asked: name that is not asked for between :data:`AWAY`; empty for none.
    """

    kind: str
    camera: Camera
    names: dict[int, str]
    not_asked: str
    moments: tuple[Moment, ...]

    def at(self, rate: float) -> tuple[Moment, ...]:
        """Return the moments at a rate in Hz that divides :data:`RATE`."""
        return self.moments[:: max(1, round(RATE / rate))]

    def asked(self, stamp: float) -> tuple[str, ...]:
        """Return the names that are asked for at a time in seconds."""
        left_out = self.not_asked if AWAY[0] <= stamp < AWAY[1] else ""
        return tuple(name for name in dict.fromkeys(self.names.values()) if name != left_out)


def alike_scene(seed: int, split: str) -> Scene:
    """Return a scene with three alike objects and two others.

    :raises WorldError: there is no room for them.
    """
    rng = np.random.default_rng([seed, 8])
    first = random_object(rng, split, str(rng.choice(TWINS)))
    chosen = [random_object(rng, split, str(n)) for n in rng.choice(OTHERS, 2, replace=False)]
    twins = [replace(first, look=int(rng.integers(1 << 30))) for _ in range(3)]
    scene = scene_of(seed, [*twins, *chosen], STYLE)
    if len(scene.objects) < 5:
        raise WorldError(f"scene {seed} has no room for its objects")
    return scene


def twins_of(scene: Scene) -> list[int]:
    """Return the instances of the three alike objects."""
    names = [item.name for item in scene.objects.values()]
    return [k for k, item in scene.objects.items() if names.count(item.name) == 3]


def _still(scene: Scene, rng: Rng) -> Recording:
    camera = Camera(*SIZE, focal_length(SIZE[0], 55))
    place = on_sphere(scene.centre(), DISTANCE, rng.uniform(0, 2 * np.pi), HEIGHT)
    return Recording(scene, camera, lambda time: place, SECONDS)


def _orbit(scene: Scene, rng: Rng) -> Recording:
    start, target = rng.uniform(0, 2 * np.pi), scene.centre()

    def path(time: float) -> Pose:
        return on_sphere(target, DISTANCE, start + TURN * time, HEIGHT)

    return replace(_still(scene, rng), path=path)


def _drive_past(scene: Scene, rng: Rng) -> Recording:
    """Pass the table at 0.1 m/s without turning, so that objects enter and leave the picture."""
    target, side = scene.centre(), float(rng.choice([-1, 1]))

    def path(time: float) -> Pose:
        along = 0.1 * (time - SECONDS / 2)
        eye = target + np.array([along, side * 0.62, 0.45])
        return look_at(eye, target + np.array([along, 0, 0]))

    return replace(_still(scene, rng), path=path)


def _pan(scene: Scene, rng: Rng) -> Recording:
    """The camera stands and turns by 40 degrees; objects leave the picture, and others enter."""
    target, place = scene.centre(), _still(scene, rng).path(0.0)
    way = target - place[:3, 3]

    def path(time: float) -> Pose:
        turned = rotation("z", PAN * (time / SECONDS - 0.5)) @ way
        return look_at(place[:3, 3], place[:3, 3] + turned)

    return replace(_still(scene, rng), path=path)


def _hand(scene: Scene, rng: Rng) -> Recording:
    from clip_surgery_ros.world.sequences import hand_held_of

    return hand_held_of(scene, size=SIZE, duration=SECONDS)


def _crossing(scene: Scene, rng: Rng) -> Recording:
    """One of the alike objects is carried past another one."""
    first, second, _ = twins_of(scene)
    start, other = scene.objects[first].pose, scene.objects[second].pose
    target = pose(translation=1.8 * (other[:3, 3] - start[:3, 3]) * [1, 1, 0]) @ start
    change = Change(first, 4.0, 7.0, target, lift=0.03, side=0.12)
    return replace(_still(scene, rng), changes=(change,))


def _exchanged(scene: Scene, rng: Rng) -> Recording:
    """Two of the alike objects change places along half circles, in 4 s."""
    a, b, _ = twins_of(scene)
    one, two = scene.objects[a].pose, scene.objects[b].pose
    side = max(0.08, 0.4 * float(np.linalg.norm(one[:2, 3] - two[:2, 3])))
    changes = []
    for instance, own, other in ((a, one, two), (b, two, one)):
        target = own.copy()
        target[:3, 3] = other[:3, 3]
        changes.append(Change(instance, 4.0, 8.0, target, lift=0.02, side=side))
    return replace(_still(scene, rng), changes=tuple(changes))


def _board(scene: Scene, rng: Rng) -> Recording:
    """A board passes before the objects, within 1 to 7 s."""
    begin = 3.0
    return replace(_still(scene, rng), board=Board(begin, begin + rng.uniform(1, 7)))


def _look_away(scene: Scene, rng: Rng) -> Recording:
    """The camera circles slowly and looks away for 4 s."""
    start, target = rng.uniform(0, 2 * np.pi), scene.centre()

    def path(time: float) -> Pose:
        place = on_sphere(target, DISTANCE, start + TURN / 3 * time, HEIGHT)
        if AWAY[0] <= time < AWAY[1]:
            back = place[:3, 3] + (place[:3, 3] - target) * [1, 1, 0.2]
            return look_at(place[:3, 3], back)
        return place

    return replace(_still(scene, rng), path=path)


def _taken(scene: Scene, rng: Rng) -> Recording:
    instance = int(rng.choice(list(scene.objects)))
    return replace(_still(scene, rng), changes=(Change(instance, 5.0, 5.0, None),))


def _put_elsewhere(scene: Scene, rng: Rng) -> Recording:
    """An object is away for 3 s and comes back 15 to 25 cm from its place."""
    instance = int(rng.choice(list(scene.objects)))
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.25)
    shift = far * np.array([np.cos(angle), np.sin(angle), 0])
    target = pose(translation=shift) @ scene.objects[instance].pose
    return replace(_still(scene, rng), changes=(Change(instance, 4.0, 7.0, target, away=True),))


KINDS: MappingProxyType[str, Callable[[Scene, Rng], Recording]] = MappingProxyType(
    {
        "still": _still,
        "orbit": _orbit,
        "drive_past": _drive_past,
        "pan": _pan,
        "hand": _hand,
        "crossing": _crossing,
        "exchanged": _exchanged,
        "board": _board,
        "look_away": _look_away,
        "taken": _taken,
        "put_elsewhere": _put_elsewhere,
        "query_edited": _hand,
    }
)
"""What happens in sequences; all are of 12 s."""


def make_track_scene(
    kind: str, split: str, index: int, size: tuple[int, int] = SIZE
) -> TrackScene:
    """Render a sequence.

    :param kind: key of :data:`KINDS`; all kinds of an index show the same objects.
    :param size: width and height of the pictures, pixels.
    :raises WorldError: a wheel is missing.
    """
    first = SPLITS[split].start + FIRST + index * TRIES
    for seed in range(first, first + TRIES):
        try:
            scene = alike_scene(seed, split)
            break
        except WorldError as error:
            if "no room" not in str(error):
                raise
    else:
        raise WorldError(f"sequence {index}: none of {TRIES} scenes has room for its objects")
    recording = KINDS[kind](scene, np.random.default_rng([seed, 9]))
    recording = replace(recording, camera=recording.camera.resized(*size))
    frames = list(recording.frames(RATE, Look(antialias=False)))
    twin = scene.objects[twins_of(scene)[0]].name
    return TrackScene(
        kind,
        frames[0].camera,
        {k: item.name for k, item in scene.objects.items()},
        twin if kind == "query_edited" else "",
        tuple(map(_moment, frames)),
    )


def _moment(frame: Frame) -> Moment:
    visible = {truth.instance: truth.visible for truth in frame.objects}
    ids = frame.ids.astype(np.uint8)
    return Moment(frame.stamp, frame.rgb, frame.sensor_depth, ids, frame.camera.pose, visible)


def kept_track_scene(
    folder: Path, kind: str, split: str, index: int, size: tuple[int, int] = SIZE
) -> TrackScene:
    """Return a sequence, rendered if it is not kept yet.

    :param folder: of all kept views.
    :param size: width and height of the pictures, pixels.
    :raises WorldError: it cannot be rendered, or its file is damaged.
    """
    own = folder / f"version_{VERSION}" / f"{size[0]}x{size[1]}" / split / "tracks"
    file = own / f"{kind}_{index:03d}.npz"
    if not file.is_file():
        scene = make_track_scene(kind, split, index, size)
        with write_together(own) as unfinished:
            _write(scene, unfinished / file.name)
    try:
        return _read(file)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise WorldError(f"{file} is damaged; delete it") from error


def _write(scene: TrackScene, file: Path) -> None:
    """Write a sequence; depth in steps of a quarter of a millimetre."""
    about = {
        "kind": scene.kind,
        "focal": scene.camera.focal,
        "names": {str(k): name for k, name in scene.names.items()},
        "not_asked": scene.not_asked,
        "visible": [{str(k): v for k, v in m.visible.items()} for m in scene.moments],
    }
    pictures = [cv2.imencode(".png", m.rgb[..., ::-1])[1].tobytes() for m in scene.moments]
    with file.open("wb") as stream:
        np.savez_compressed(
            stream,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            sizes=np.array([len(p) for p in pictures]),
            pictures=np.frombuffer(b"".join(pictures), np.uint8),
            depth=np.stack([np.rint(m.depth / UNIT) for m in scene.moments]).astype(np.uint16),
            ids=np.stack([m.ids for m in scene.moments]),
            poses=np.stack([m.pose for m in scene.moments]),
            stamps=np.array([m.stamp for m in scene.moments]),
        )


UNIT = 0.00025
"""Metres of one step of kept depth; 16 m at most."""


def _read(file: Path) -> TrackScene:
    with np.load(file) as kept:
        data = {name: kept[name] for name in kept.files}
    about = json.loads(data["about"].tobytes())
    names = {int(k): str(name) for k, name in about["names"].items()}
    moments = tuple(_moments(data, about["visible"]))
    height, width = moments[0].ids.shape
    camera = Camera(width, height, float(about["focal"]), moments[0].pose)
    return TrackScene(about["kind"], camera, names, about["not_asked"], moments)


def _moments(
    data: dict[str, NDArray[np.generic]], visible: list[dict[str, float]]
) -> Iterator[Moment]:
    ends = np.cumsum(np.asarray(data["sizes"], np.int64))
    for k, shares in enumerate(visible):
        start = int(ends[k - 1]) if k else 0
        picture = np.asarray(data["pictures"], np.uint8)[start : int(ends[k])]
        bgr = cv2.imdecode(picture, cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError("a picture cannot be decoded")
        yield Moment(
            float(data["stamps"][k]),
            np.ascontiguousarray(bgr[..., ::-1]),
            np.asarray(data["depth"][k] * np.float32(UNIT), np.float32),
            np.asarray(data["ids"][k], np.uint8),
            np.asarray(data["poses"][k], np.float64),
            {int(i): float(v) for i, v in shares.items()},
        )
