"""How far boxes in space are from the truth, on views of the rendered world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.evaluation.space_recipes import RECIPES, Place, Sight, floor
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.world.depth_views import SENSORS, SIZE, DepthView, KeptDepthView
from clip_surgery_ros.world.frame import ObjectTruth

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MASKS: Mapping[str, int] = {"true": 0, "6 px too large": 6, "6 px too small": -6}
"""Pixels by which masks are grown, by name of the kind of mask."""
LEAST_PIXELS = 800 / (640 * 480)
"""Share of the picture of the smallest object that is measured: 28 pixels square of 640 x 480."""
LEAST_MASK = 240 / (640 * 480)
"""Share of the picture of the smallest mask that is measured, as 6 px too small may leave
nothing."""
LEAST_VISIBLE = 0.35
"""Visible share of the objects that are measured at all."""
WHOLE = 0.95
"""Visible share from which an object counts as seen whole."""


@dataclass(frozen=True)
class SpaceOutcome:
    """What a recipe said of one object.

    :param recipe: key of ``space_recipes.RECIPES``, or ``floor``.
    :param sensor: one of ``depth_views.SENSORS``.
    :param mask: key of :data:`MASKS`.
    :param name: of the object.
    :param is_whole: whether at least :data:`WHOLE` of it is seen.
    :param place: None if the recipe found none.
    :param off: (3,) from the true centre to the place's, in the camera's frame, metres.
    :param size_off: (3,) the size's difference over the true one: shorter side, longer, height.
    :param deviations: (3,) the difference over its deviation along the axes of the covariance.
    """

    recipe: str
    sensor: str
    mask: str
    name: str
    is_whole: bool
    place: Place | None = None
    off: Floats | None = None
    size_off: Floats | None = None
    deviations: Floats | None = None

    @property
    def distance(self) -> float:
        """From the true centre to the place's, metres; NaN without a place."""
        return float("nan") if self.off is None else float(np.linalg.norm(self.off))


def depth_views(folder: Path, split: str, count: int) -> Iterator[DepthView]:
    """Yield the first views of a split with a progress bar, rendered if they are not kept."""
    kept = [KeptDepthView(folder, split, index, SIZE) for index in range(count)]
    for each in tqdm(kept, desc=f"{split} views", unit="view"):
        yield each.read()


def measure(views: Iterable[DepthView]) -> list[SpaceOutcome]:
    """Return what each recipe says of each object, with every sensor and kind of mask."""
    return [outcome for view in views for outcome in measure_view(view)]


def measure_view(
    view: DepthView, sensors: Sequence[str] = SENSORS, recipes: Sequence[str] = (*RECIPES,)
) -> Iterator[SpaceOutcome]:
    """Yield what each recipe says of the objects of a view, and what one view allows.

    :param sensors: some of ``depth_views.SENSORS``.
    :param recipes: keys of ``space_recipes.RECIPES``.
    """
    camera = Intrinsics.from_matrix(view.camera.matrix, view.camera.width, view.camera.height)
    depths = {sensor: DepthImage(view.depth[sensor], camera) for sensor in SENSORS}
    to_world = Rigid.from_matrix(view.camera.pose)
    for truth in measured_objects(view):
        clicks = deepest(view.mask(truth))
        exact = Sight(depths["off"], view.mask(truth), clicks, view.ids < 0, to_world)
        yield outcome_of(("floor", "off", "true"), floor(exact), truth, to_world)
        for kind, pixels in MASKS.items():
            mask, others = masks_of(view, truth, pixels)
            if mask.mean() < LEAST_MASK:
                continue
            for sensor in sensors:
                sight = Sight(depths[sensor], mask, clicks, others, to_world)
                for name in recipes:
                    place = RECIPES[name](sight)
                    yield outcome_of((name, sensor, kind), place, truth, to_world)


def measured_objects(view: DepthView) -> list[ObjectTruth]:
    """Return the objects of a view of which enough is seen."""
    least = LEAST_PIXELS * view.ids.size
    return [t for t in view.objects if t.pixels >= least and t.visible >= LEAST_VISIBLE]


def masks_of(view: DepthView, truth: ObjectTruth, pixels: int) -> tuple[Mask, Mask]:
    """Return the mask of an object and those of all others, (H, W), grown by pixels.

    :param pixels: negative to shrink.
    """
    mask, others = np.zeros_like(view.ids, np.bool_), np.zeros_like(view.ids, np.bool_)
    for each in view.objects:
        grown = changed(view.mask(each), pixels)
        if each is truth:
            mask = grown
        else:
            others |= grown
    return mask, others


def changed(mask: Mask, pixels: int) -> Mask:
    """Return a mask grown in all eight directions, or shrunk for negative pixels."""
    side = 2 * abs(pixels) + 1
    change = cv2.dilate if pixels > 0 else cv2.erode
    return np.asarray(change(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def deepest(mask: Mask) -> NDArray[np.intp]:
    """Return the pixel farthest from a mask's outline, (1, 2) x, y: where one would click."""
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return np.array([[column - 1, row - 1]])


def outcome_of(
    condition: tuple[str, str, str], place: Place | None, truth: ObjectTruth, to_world: Rigid
) -> SpaceOutcome:
    """Return an outcome against the smallest upright box round the whole object.

    :param condition: recipe, sensor and kind of mask.
    """
    seen = (truth.name, truth.visible >= WHOLE)
    if place is None:
        return SpaceOutcome(*condition, *seen)
    off = place.centre - truth.upright.centre
    size_off = deviations = None
    if place.size is not None:
        true_size = np.array([*sorted(truth.upright.size[:2]), truth.upright.size[2]])
        size_off = place.size / true_size - 1
    if place.covariance is not None:
        variances, axes = np.linalg.eigh(place.covariance)
        deviations = axes.T @ off / np.sqrt(variances)
    in_camera = to_world.rotation.T @ off
    return SpaceOutcome(*condition, *seen, place, in_camera, size_off, deviations)
