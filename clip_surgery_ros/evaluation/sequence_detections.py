"""What a detector finds in world sequences: true masks made worse, or a pipeline's own.

Depth is that of the simulated depth camera, and the camera's pose is off by millimetres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import crop, mask_box
from clip_surgery_ros.core.masks import innermost
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import LiftSettings, lift
from clip_surgery_ros.space.objects import lift_all
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.types import Observation, View
from clip_surgery_ros.world.rigid import rotation
from clip_surgery_ros.world.track_scenes import SIZE, Moment, TrackScene

LOST = 0.12
"""Share of objects that the detector does not find in a frame."""
FALSE = 0.15
"""False detections in a frame, on average: 3 % of five objects."""
SHARE, PIXELS = 0.35, 25
"""An object is to be found if so much of it is visible, in so many pixels of a picture of the
size ``track_scenes.SIZE``; in larger pictures as many more."""
POSE_M, POSE_DEGREES = 0.004, 0.3
"""Errors of the pose: lengths of a shift and of a turn, one deviation."""
FALSE_SIDE = 9
"""Side of a false detection, pixels."""
UP = np.array([0.0, 0.0, 1.0])
"""Of the world."""


@dataclass(frozen=True)
class Detected:
    """A frame with its detections.

    :param view: with depth, pose and picture.
    :param truths: instances that are to be found, with their masks, (H, W).
    :param observations: with places in space.
    """

    stamp: float
    view: View
    truths: dict[int, NDArray[np.bool_]]
    observations: tuple[Observation, ...]
    asked: tuple[str, ...]


Detector = Callable[[TrackScene, int, float], Iterator[Detected]]
"""Yields the frames of a sequence: of scene, its index, which seeds the errors, and rate in Hz."""


def degraded(scene: TrackScene, index: int, rate: float) -> Iterator[Detected]:
    """Yield the frames of a sequence with the true masks made worse: some are lost, edges are off,
    and some are false.
    """
    rng = _errors(scene, index, rate)
    for moment in scene.at(rate):
        yield _made_worse(scene, moment, rng)


class PipelineMasks:
    """Finds objects with a pipeline, as the node does.

    Results are kept for the scene that was last looked at: its frames at other rates are the same.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._scene: TrackScene | None = None
        self._results: dict[float, FrameResult] = {}

    def __call__(self, scene: TrackScene, index: int, rate: float) -> Iterator[Detected]:
        """Yield the frames of a sequence with the pipeline's detections."""
        if scene is not self._scene:
            self._scene, self._results = scene, {}
        rng = _errors(scene, index, rate)
        for moment in scene.at(rate):
            view, asked = _view(scene, moment, rng), scene.asked(moment.stamp)
            if moment.stamp not in self._results:
                self._results[moment.stamp] = self._pipeline.run(
                    moment.rgb, query_of_names(asked), Wanted(appearance=True)
                )
            found = _located(self._results[moment.stamp], view)
            yield Detected(moment.stamp, view, _truths(scene, moment), found, asked)


def _errors(scene: TrackScene, index: int, rate: float) -> np.random.Generator:
    return np.random.default_rng([index, crc32(scene.kind.encode()), round(10 * rate)])


def _located(result: FrameResult, view: View) -> tuple[Observation, ...]:
    """Return what a pipeline found, with places in space."""
    assert view.depth is not None
    assert view.to_common is not None
    found = lift_all(result, view.depth, view.to_common, "world", LiftSettings(up=UP))
    return tuple(map(Observation.of, result.segments, found.lifted))


def _view(scene: TrackScene, moment: Moment, rng: np.random.Generator) -> View:
    """Return a frame's view with depth, and a pose that is off a little."""
    height, width = moment.ids.shape
    camera = Intrinsics.from_matrix(scene.camera.matrix, width, height)
    depth = DepthImage(moment.depth, camera)
    return View("camera", (height, width), depth, _erring(moment.pose, rng), moment.rgb)


def _truths(scene: TrackScene, moment: Moment) -> dict[int, NDArray[np.bool_]]:
    """Return the masks of objects that are asked for and are to be found."""
    asked, pixels = scene.asked(moment.stamp), PIXELS * moment.ids.size / (SIZE[0] * SIZE[1])
    masks = {
        instance: moment.ids == instance
        for instance, name in scene.names.items()
        if name in asked and moment.visible.get(instance, 0.0) >= SHARE
    }
    return {k: mask for k, mask in masks.items() if np.count_nonzero(mask) >= pixels}


def _made_worse(scene: TrackScene, moment: Moment, rng: np.random.Generator) -> Detected:
    height, width = moment.ids.shape
    view, truths = _view(scene, moment, rng), _truths(scene, moment)
    asked, found = scene.asked(moment.stamp), []
    for instance, mask in truths.items():
        worse = _worse(mask, rng)
        if rng.random() >= LOST and worse.any():
            partial = moment.visible[instance] < 0.9
            score, presence = rng.uniform(0.6, 1.0, 2)
            found.append((scene.names[instance], worse, float(score), float(presence), partial))
    if rng.random() < FALSE:
        mask = np.zeros((height, width), np.bool_)
        y, x = rng.integers(10, height - 20), rng.integers(10, width - 20)
        mask[y : y + FALSE_SIDE, x : x + FALSE_SIDE] = True
        score, presence = rng.uniform(0.3, 0.8), rng.uniform(0.5, 0.9)
        found.append((str(rng.choice(asked)), mask, float(score), float(presence), False))
    everything = np.any([mask for _, mask, *_ in found], axis=0) if found else None
    observations = tuple(
        _observation(name, mask, everything, view, numbers) for name, mask, *numbers in found
    )
    return Detected(moment.stamp, view, truths, observations, asked)


def _observation(
    label: str,
    mask: NDArray[np.bool_],
    others: NDArray[np.bool_] | None,
    view: View,
    numbers: Sequence[float | bool],
) -> Observation:
    """Return an observation whose place is found as the node finds it."""
    box, depth, pose = mask_box(mask), view.depth, view.to_common
    assert box is not None
    assert depth is not None
    assert pose is not None
    score, presence, partial = numbers
    clicks, settings = np.array([innermost(mask)]), LiftSettings(up=UP)
    lifted = lift(depth, mask, clicks, pose, others, settings)
    flat = any(finding.reason is Reason.FLAT for finding in lifted.findings)
    points = lifted.points if len(lifted.points) else None
    return Observation(
        label, box, crop(mask, box), float(score), float(presence), points, bool(partial), flat
    )


def _worse(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of which the edge is off by -1 to 2 pixels."""
    pixels, kernel = int(rng.integers(-1, 3)), np.ones((3, 3), np.uint8)
    change = cv2.erode if pixels < 0 else cv2.dilate
    return np.asarray(change(mask.astype(np.uint8), kernel, iterations=abs(pixels)) > 0)


def _erring(pose: NDArray[np.float64], rng: np.random.Generator) -> Rigid:
    """Return a pose that is off a little."""
    erring = pose.copy()
    erring[:3, 3] += rng.normal(0, POSE_M / np.sqrt(3), 3)
    for axis, degrees in zip("xyz", rng.normal(0, POSE_DEGREES / np.sqrt(3), 3), strict=True):
        erring[:3, :3] = erring[:3, :3] @ rotation(axis, float(np.radians(degrees)))
    return Rigid.from_matrix(erring)
