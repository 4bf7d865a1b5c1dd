"""Sets of views that each show one difficulty, for fitting and measuring.

Every view follows from its set, its split and its number. :mod:`kept_views` keeps them on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.world.asking import Asks, Thing, is_there, swaps
from clip_surgery_ros.world.camera import Camera, focal_length, look_at, on_sphere
from clip_surgery_ros.world.frame import Frame
from clip_surgery_ros.world.scene import (
    ALIKE,
    CLUTTER,
    FEW,
    SHELVES,
    TABLE,
    Scene,
    SceneStyle,
    make_scene,
)
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.view import choose_camera, view

Rng = np.random.Generator

SIZE = (320, 240)
"""Width and height of a view, pixels."""
FIRST = 2**32
"""Seeds of a split before those of the sets: trainings validate on them."""
APART = 10_000_000
"""Seeds of a set."""
TRIES = 100
"""Seeds of a view: the first whose view shows the set's difficulty is taken."""
SMALL = 0.12
"""Side of a square as large as a small object at most, over the picture's shorter side."""
LARGE = (0.45, 1.0)
"""Longer side of the box round a large object, as a share of the picture's shorter side."""
FULL = 0.7
"""Share of the picture that one object may cover."""
CUT = 0.85
"""Largest visible share of an object that counts as cut by the border."""
HIDDEN = 0.75
"""Largest visible share of an object that counts as occluded."""


@dataclass(frozen=True)
class SetView:
    """A picture and the truth about it.

    :param rgb: (H, W, 3) uint8.
    :param ids: (H, W) uint8, instance seen, 0 for the room.
    :param things: all objects of the scene, seen or not.
    :param seed: of the scene.
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    things: tuple[Thing, ...]
    seed: int

    def there(self) -> list[Thing]:
        """Return the objects that can be asked for (:func:`asking.is_there`)."""
        side = min(self.ids.shape)
        return [thing for thing in self.things if is_there(thing, side)]

    def mask(self, thing: Thing) -> NDArray[np.bool_]:
        """Return an object's visible pixels, (H, W)."""
        return np.asarray(self.ids == thing.instance)


@dataclass(frozen=True)
class WorldSet:
    """Views that show one difficulty.

    :param number: of the set, which gives its seeds.
    :param styles: of its scenes, one is drawn for each.
    :param shows: whether a view shows the difficulty.
    :param camera: chooses a camera of a width and a height in pixels.
    :param asks: which labels are asked.
    """

    number: int
    styles: tuple[SceneStyle, ...]
    shows: Callable[[SetView], bool]
    camera: Callable[[Scene, Rng, int, int], Camera] = choose_camera
    asks: Asks = Asks.ANY

    def view(self, split: str, index: int, size: tuple[int, int] = SIZE) -> SetView:
        """Render the view of a number in a split.

        :param size: width and height, pixels.
        :raises WorldError: none of its seeds shows the difficulty, or a wheel is missing.
        """
        first = SPLITS[split].start + FIRST + self.number * APART + index * TRIES
        for seed in range(first, first + TRIES):
            candidate = self._view_of_seed(seed, size)
            if self.shows(candidate):
                return candidate
        raise WorldError(f"view {index} of set {self.number}: none of {TRIES} scenes is as wanted")

    def _view_of_seed(self, seed: int, size: tuple[int, int]) -> SetView:
        rng = np.random.default_rng([seed, 4])
        scene = make_scene(seed, self.styles[int(rng.integers(len(self.styles)))])
        return _set_view(view(scene, self.camera(scene, rng, *size)), seed)


def _set_view(frame: Frame, seed: int) -> SetView:
    things = tuple(map(Thing.of, frame.objects))
    return SetView(frame.rgb, frame.ids.astype(np.uint8), things, seed)


def _low_camera(scene: Scene, rng: Rng, width: int, height: int) -> Camera:
    """Choose a camera from which objects hide each other."""
    return choose_camera(scene, rng, width, height, (10.0, 26.0))


def _far_camera(scene: Scene, rng: Rng, width: int, height: int) -> Camera:
    """Choose a camera up to three times as far as would show all objects."""
    camera, target = choose_camera(scene, rng, width, height), scene.centre()
    above = target + np.array([0, 0, 0.03])
    near, spread = camera.pose[:3, 3], rng.normal(0, 0.12, 3) * [1, 1, 0]
    for factor in np.linspace(rng.uniform(1.7, 3.0), 1.2, 8):
        eye = target + (near - target) * factor
        if scene.room.sees(eye, above):
            return camera.at(look_at(eye, target + spread * factor))
    return camera


def _cutting_camera(scene: Scene, rng: Rng, width: int, height: int) -> Camera:
    """Choose a camera whose border cuts an object near the middle of the scene."""
    return _close_camera(scene, rng, width, height, (0.2, 0.95), cut_share=1.0)


def _close_camera(
    scene: Scene,
    rng: Rng,
    width: int,
    height: int,
    sides: tuple[float, float] = (0.5, 0.95),
    cut_share: float = 0.4,
) -> Camera:
    """Choose a camera that one object nearly fills, or whose border cuts it.

    :param sides: least and largest longer side of the object, over the picture's shorter side.
    :param cut_share: probability that the border cuts the object.
    """
    camera = Camera(width, height, focal_length(width, rng.uniform(45, 62)))
    vertices = scene.objects[int(rng.integers(len(scene.objects))) + 1].vertices()
    middle = (vertices.min(0) + vertices.max(0)) / 2
    angles = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(20, 60))
    side, distance, extent = rng.uniform(*sides) * min(width, height), 0.1, np.full(2, np.inf)
    while extent.max() > side and distance < 3:
        distance *= 1.04
        pixels, depth = camera.at(on_sphere(middle, distance, *angles)).project(vertices)
        if depth.min() > 0.02:
            extent = np.ptp(pixels, axis=0)
    placed = camera.at(on_sphere(middle, distance, *angles, np.radians(rng.normal(0, 3))))
    # Pixels from the middle of the picture to that of the object, which is then looked past.
    shift = rng.uniform(-0.5, 0.5, 2) * (np.array([width, height]) - extent)
    if rng.random() < cut_share:
        axis = int(rng.integers(2))
        cut = (width, height)[axis] / 2 + (rng.uniform(0.1, 0.35) - 0.5) * extent[axis]
        shift[axis] = cut * rng.choice((-1, 1))
    aside = placed.pose[:3, :2] @ (shift * distance / camera.focal)
    return camera.at(look_at(placed.pose[:3, 3], middle - aside))


def _any(seen: SetView) -> bool:
    return bool(seen.there())


def _is_crowded(seen: SetView) -> bool:
    return len(seen.there()) >= 6


def _hides(seen: SetView) -> bool:
    return any(thing.visible < HIDDEN for thing in seen.there())


def _has_alike(seen: SetView) -> bool:
    alike = Counter((thing.name, thing.colour, thing.finish) for thing in seen.there())
    return max(alike.values(), default=0) > 1


def _is_small(seen: SetView) -> bool:
    largest = (SMALL * min(seen.ids.shape)) ** 2
    there = seen.there()
    return bool(there) and all(thing.pixels <= largest for thing in there)


def _coloured(seen: SetView) -> set[tuple[str, str]]:
    """Return the names and colours of what is there and has a colour."""
    return {(thing.name, thing.colour) for thing in seen.there() if thing.colour}


def _has_twins(seen: SetView) -> bool:
    named = _coloured(seen)
    return len({name for name, _ in named}) < len(named)


def _shares_colour(seen: SetView) -> bool:
    named = _coloured(seen)
    return len({colour for _, colour in named}) < len(named)


def _can_be_swapped(seen: SetView) -> bool:
    return bool(swaps(seen.things, seen.there()))


def _has_large(seen: SetView) -> bool:
    side = min(seen.ids.shape)
    low, high = side * LARGE[0], side * LARGE[1]
    for thing in seen.there():
        box = mask_box(seen.mask(thing))
        longer = max(box.width, box.height) if box else 0
        if low <= longer <= high and thing.pixels <= FULL * seen.ids.size:
            return True
    return False


def _is_cut(seen: SetView) -> bool:
    for thing in seen.there():
        mask = seen.mask(thing)
        touches = mask[[0, -1]].any() or mask[:, [0, -1]].any()
        if touches and thing.visible <= CUT:
            return True
    return False


LONE = SceneStyle(count=(1, 1), reach=0.12)
PAIRS = SceneStyle(count=(3, 6), alike=0.0, same_name=0.0, same_colour=0.0)

SETS: Mapping[str, WorldSet] = {
    "mixed": WorldSet(0, (TABLE, TABLE, TABLE, FEW, SHELVES), _any),
    "single": WorldSet(1, (LONE,), _any),
    "cluttered": WorldSet(2, (CLUTTER,), _is_crowded),
    "occluded": WorldSet(3, (replace(CLUTTER, count=(6, 12), reach=0.17),), _hides, _low_camera),
    "several": WorldSet(4, (ALIKE,), _has_alike),
    "small": WorldSet(5, (replace(TABLE, clear=1.5),), _is_small, _far_camera),
    "twins": WorldSet(6, (replace(PAIRS, same_name=1.0),), _has_twins, asks=Asks.COLOURS),
    "same_colour": WorldSet(
        7, (replace(PAIRS, same_colour=1.0),), _shares_colour, asks=Asks.COLOURS
    ),
    "binding": WorldSet(8, (PAIRS,), _can_be_swapped, asks=Asks.SWAPS),
    "absent": WorldSet(9, (TABLE, FEW), _any, asks=Asks.NOTHING),
    "large": WorldSet(10, (FEW,), _has_large, _close_camera),
    "cut": WorldSet(12, (FEW,), _is_cut, _cutting_camera),
}
"""By name. ``docs/world.md`` says what each shows and asks."""
