"""What the demo's camera shows: the recorded orbit, views that are rendered, or a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.pictures.files import read_image
from clip_surgery_ros.world import record
from clip_surgery_ros.world.record import DISTANCE
from clip_surgery_ros.world.recorded import RecordedFrame, read_orbit
from clip_surgery_ros.world.scene import TABLE, Scene, make_scene
from clip_surgery_ros.world.sensor import StereoErrors
from clip_surgery_ros.world.sequences import CLEAR, Recording, hand_held_of, orbit_of
from clip_surgery_ros.world.view import Look


@dataclass(frozen=True)
class View:
    """One thing to show.

    :param number: from 0, along the motion.
    :param image_rgb: (H, W, 3) uint8 RGB.
    :param frame: depth and truth of the rendered world. None: a picture, of which nothing else is
        known.
    """

    number: int
    image_rgb: NDArray[np.uint8]
    frame: RecordedFrame | None = None


@dataclass(frozen=True)
class Views:
    """Views in the order in which the camera passes them.

    :param making: makes one after the other; each may take seconds.
    :param count: how many they will be, at least 1.
    :param is_closed: the first follows the last, as on a circle.
    :param without: renders a view again without objects, by their instances; a second or two. None
        of a picture. It raises a WorldError where packages of the world are missing.
    """

    making: Iterable[View]
    count: int
    is_closed: bool
    without: Callable[[View, Collection[int]], View] | None = None


@dataclass(frozen=True)
class Motion:
    """How a camera moves.

    :param recording: makes the motion before a scene, with a size (width, height) and a length in
        seconds.
    :param views: as many as are rendered unless another number is asked for.
    :param is_closed: it ends where it began.
    :param summary: what it is, for the help.
    """

    recording: Callable[[Scene, tuple[int, int], float], Recording]
    views: int
    is_closed: bool
    summary: str


def _orbit(scene: Scene, size: tuple[int, int], seconds: float) -> Recording:
    return orbit_of(scene, size=size, duration=seconds, distance=DISTANCE)


def _still(scene: Scene, size: tuple[int, int], seconds: float) -> Recording:
    recording = orbit_of(scene, size=size, distance=DISTANCE)
    start = recording.path(0.0)
    return replace(recording, path=lambda time: start, duration=seconds)


def _hand(scene: Scene, size: tuple[int, int], seconds: float) -> Recording:
    return hand_held_of(scene, size=size, duration=seconds)


MOTIONS: Mapping[str, Motion] = {
    "orbit": Motion(_orbit, 60, True, "a wrist that circles the table"),
    "still": Motion(_still, 4, True, "one view, with other noise each time"),
    "hand": Motion(_hand, 60, False, "a hand that sways by centimetres"),
}
"""Motions by their names on the command line."""


def rendered_views(
    seed: int | None,
    motion: str,
    size: tuple[int, int],
    count: int,
    rate_hz: float,
    errors: StereoErrors,
) -> Views:
    """Return views that are rendered as they are asked for; 640 x 480 takes a second or two.

    :param seed: of a scene, in one of the world's splits; None: the scene of the recorded orbit.
    :param motion: in :data:`MOTIONS`.
    :param size: width and height, pixels.
    :param count: how many views; one turn of an orbit has so many.
    :param rate_hz: views per second of the motion's own time.
    :param errors: of the depth camera.
    :raises WorldError: packages of the world are missing, or the seed is in no split.
    """
    if seed is None:
        scene = record.recording().scene
    else:
        scene = make_scene(seed, replace(TABLE, clear=CLEAR))
    chosen = MOTIONS[motion]
    recording = chosen.recording(scene, size, count / rate_hz)
    look = Look(errors=errors)
    without = partial(_without, recording, look)
    return Views(_rendered(recording, rate_hz, look), count, chosen.is_closed, without)


def _rendered(recording: Recording, rate_hz: float, look: Look) -> Iterator[View]:
    for number, one in enumerate(recording.frames(rate_hz, look)):
        # Of two depths only the one that is published stays in memory.
        frame = RecordedFrame(
            one.rgb, one.sensor_depth, one.ids, one.objects, one.camera, one.stamp
        )
        yield View(number, frame.rgb, frame)


def _without(recording: Recording, look: Look, view: View, gone: Collection[int]) -> View:
    """Return a view of a recording without some objects.

    :raises WorldError: packages of the world are missing.
    """
    if view.frame is None:
        return view
    begin = view.frame.stamp
    objects = {k: item for k, item in recording.scene.objects.items() if k not in gone}
    moment = replace(
        recording,
        scene=recording.scene.with_objects(objects),
        path=lambda time: recording.path(begin + time),
        duration=0.0,
    )
    (made,) = _rendered(moment, 1.0, look)
    return replace(made, number=view.number)


def recorded_views(count: int) -> Views:
    """Return so many views of the recorded orbit, evenly spaced; at most as many as it has.

    :raises WorldError: the recording is damaged.
    """
    recording = read_orbit()
    numbers = np.linspace(0, len(recording), count, endpoint=False).astype(int).tolist()
    frames = (recording.frame(number) for number in numbers)
    views = (View(number, frame.rgb, frame) for number, frame in enumerate(frames))

    def without(view: View, gone: Collection[int]) -> View:
        return _without(record.recording(), Look(), view, gone)

    return Views(views, count, is_closed=True, without=without)


def picture_views(path: Path) -> Views:
    """Return the one view of a picture file.

    :raises ImageError: the file is not there, or no picture.
    """
    return Views([View(0, read_image(path))], 1, is_closed=True)


class Carousel:
    """Shows views one after the other, over and over, while a thread still makes them.

    The view that is shown stays until the next one is made. Behind the last view comes the first
    if the motion is closed; otherwise the camera goes back the way it came.

    :param views: the first one is made at once, the others by :meth:`make_others`.
    """

    def __init__(self, views: Views) -> None:
        self.without = views.without
        """Renders a view without some objects, as in :class:`Views`."""
        self._making = iter(views.making)
        self._count, self._is_closed = views.count, views.is_closed
        self._made = [next(self._making)]
        self._step, self._held = 0, -1
        self._stop = threading.Event()

    @property
    def is_complete(self) -> bool:
        """Whether all views are made."""
        return len(self._made) == self._count

    @property
    def made(self) -> int:
        """How many views are made."""
        return len(self._made)

    @property
    def first(self) -> View:
        """The first view."""
        return self._made[0]

    @property
    def count(self) -> int:
        """How many views there are, made or not."""
        return self._count

    @property
    def current(self) -> View:
        """The view that is shown."""
        if 0 <= self._held < len(self._made):
            return self._made[self._held]
        return self._made[self._index(self._step)]

    def hold(self, number: int) -> None:
        """Stay at a view, by its number; -1 goes on from view to view."""
        self._held = number

    def turn(self) -> None:
        """Go on to the next view, if it is made."""
        if self._held < 0 and (self.is_complete or self._step + 1 < len(self._made)):
            self._step += 1

    def make_others(self) -> None:
        """Make the other views, on the calling thread, until :meth:`stop`.

        A terminal sees how far it is.
        """
        bar = tqdm(total=self._count, initial=1, desc="views made", unit="view", disable=None)
        with bar:
            for view in self._making:
                self._made.append(view)
                bar.update()
                if self._stop.is_set():
                    return

    def stop(self) -> None:
        """Make no more views after the one that is being made."""
        self._stop.set()

    def _index(self, step: int) -> int:
        """Return which view is shown at a step, from 0."""
        if self._is_closed or self._count == 1:
            return step % self._count
        last = self._count - 1
        return last - abs(last - step % (2 * last))
