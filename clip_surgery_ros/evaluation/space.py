"""How far boxes in space are from the truth, on views of the rendered world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.masks import innermost
from clip_surgery_ros.evaluation.space_detections import (
    Detector,
    degraded,
    measured_objects,
)
from clip_surgery_ros.evaluation.space_recipes import RECIPES, Place, Sight, floor
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.world.depth_views import SENSORS, SIZE, DepthView, KeptDepthView
from clip_surgery_ros.world.frame import ObjectTruth

Floats = NDArray[np.float64]

WHOLE = 0.95
"""Visible share from which an object counts as seen whole."""


@dataclass(frozen=True)
class SpaceOutcome:
    """What a recipe said of one object.

    :param recipe: key of ``space_recipes.RECIPES``, or ``floor``.
    :param sensor: one of ``depth_views.SENSORS``.
    :param mask: key of ``space_detections.MASKS``, or ``space_detections.PIPELINE``.
    :param name: of the object.
    :param is_whole: whether at least :data:`WHOLE` of it is seen.
    :param place: None if the recipe found none, or the object had no mask.
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


def measure(views: Iterable[DepthView], detector: Detector = degraded) -> list[SpaceOutcome]:
    """Return what each recipe says of each object, with every sensor and kind of mask.

    :param detector: finds the masks.
    """
    return [outcome for view in views for outcome in measure_view(view, detector)]


def measure_view(
    view: DepthView,
    detector: Detector = degraded,
    sensors: Sequence[str] = SENSORS,
    recipes: Sequence[str] = (*RECIPES,),
) -> Iterator[SpaceOutcome]:
    """Yield what each recipe says of the objects of a view, and what one view allows.

    An object that the detector does not find has no place.

    :param sensors: some of ``depth_views.SENSORS``.
    :param recipes: keys of ``space_recipes.RECIPES``.
    """
    camera = Intrinsics.from_matrix(view.camera.matrix, view.camera.width, view.camera.height)
    depths = {sensor: DepthImage(view.depth[sensor], camera) for sensor in SENSORS}
    to_world = Rigid.from_matrix(view.camera.pose)
    for truth in measured_objects(view):
        mask = view.mask(truth)
        exact = Sight(depths["off"], mask, np.array([innermost(mask)]), view.ids < 0, to_world)
        yield outcome_of(("floor", "off", "true"), floor(exact), truth, to_world)
    for found in detector(view):
        for sensor in sensors:
            sight = Sight(depths[sensor], found.mask, found.clicks, found.others, to_world)
            for name in recipes:
                place = RECIPES[name](sight) if found.is_found else None
                yield outcome_of((name, sensor, found.kind), place, found.truth, to_world)


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
