"""How long ids last on world sequences: this package's tracker beside others.

Detections are the true masks made worse: some are lost, edges are off, and some are false. Depth
is that of the simulated depth camera, and the camera's pose is off by millimetres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.geometry import crop, mask_box, uncrop
from clip_surgery_ros.core.masks import innermost
from clip_surgery_ros.evaluation.identity import IdentityFigures, Step, identity
from clip_surgery_ros.evaluation.track_baselines import ByteTrack, FirstOverlap
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import LiftSettings, lift
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import NO_ID, Observation, View
from clip_surgery_ros.world.rigid import rotation
from clip_surgery_ros.world.track_scenes import Moment, TrackScene, kept_track_scene

RATES = (0.5, 2.0, 10.0)
"""Frames a second: CLIP and SAM on a processor, on a small GPU, on a large one."""
LOST = 0.12
"""Share of objects that the detector does not find in a frame."""
FALSE = 0.15
"""False detections in a frame, on average: 3 % of five objects."""
SHARE, PIXELS = 0.35, 25
"""An object is to be found if so much of it is visible, in so many pixels."""
POSE_M, POSE_DEGREES = 0.004, 0.3
"""Errors of the pose: lengths of a shift and of a turn, one deviation."""
FALSE_SIDE = 9
"""Side of a false detection, pixels."""
Ids = Callable[[float, View, Sequence[Observation], Sequence[str]], tuple[int, ...]]
"""Gives the ids of observations: of stamp, view, observations and labels that are asked."""


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


@dataclass(frozen=True)
class SequenceOutcome:
    """What a method did on one sequence at one rate.

    :param allowed: the highest IDF1 that the detections allow.
    :param confirm_s: seconds until an object that is to be found gets an id: the median over
        objects; of an object without one until the end.
    :param ghosts: ids that mostly were not on an object.
    """

    kind: str
    rate: float
    method: str
    figures: IdentityFigures
    allowed: float
    confirm_s: float
    ghosts: int


def _tracker(with_depth: bool) -> Ids:
    tracker = Tracker()

    def ids(
        stamp: float, view: View, observations: Sequence[Observation], labels: Sequence[str]
    ) -> tuple[int, ...]:
        if not with_depth:
            view = View(view.camera, view.size_hw, image_rgb=view.image_rgb)
            observations = [_flat(each) for each in observations]
        return tracker.update(round(stamp * 1e9), view, observations, labels).numbers

    return ids


def _flat(each: Observation) -> Observation:
    """Return an observation without its place in space."""
    return Observation(each.label, each.box, each.mask, each.score, each.presence)


def _baseline(method: FirstOverlap | ByteTrack) -> Ids:
    return lambda stamp, view, observations, labels: method.step(stamp, observations)


METHODS: MappingProxyType[str, Callable[[], Ids]] = MappingProxyType(
    {
        "tracks, depth": lambda: _tracker(True),
        "tracks, no depth": lambda: _tracker(False),
        "ByteTrack": lambda: _baseline(ByteTrack()),
        "first overlap": lambda: _baseline(FirstOverlap()),
    }
)
"""How ids are given; each begins anew for each sequence."""


def measure_all(
    folder: Path, split: str, count: int, kinds: Sequence[str]
) -> list[SequenceOutcome]:
    """Return the outcomes on so many sequences of each kind, with a progress bar.

    :param folder: of kept views.
    :raises WorldError: a sequence cannot be rendered or read.
    """
    wanted = [(kind, index) for kind in kinds for index in range(count)]
    outcomes = []
    for kind, index in tqdm(wanted, unit="sequence"):
        outcomes += measure(kept_track_scene(folder, kind, split, index), index)
    return outcomes


def measure(
    scene: TrackScene, index: int, rates: Sequence[float] = RATES
) -> list[SequenceOutcome]:
    """Return the outcomes of all methods at all rates; all have the same detections.

    :param index: of the sequence, which seeds the errors.
    """
    outcomes = []
    for rate in rates:
        frames = list(detections(scene, index, rate))
        for name, begin in METHODS.items():
            outcomes.append(_outcome(scene.kind, rate, name, frames, begin()))
    return outcomes


def detections(scene: TrackScene, index: int, rate: float) -> Iterator[Detected]:
    """Yield the frames of a sequence with detections made worse."""
    rng = np.random.default_rng([index, crc32(scene.kind.encode()), round(10 * rate)])
    for moment in scene.at(rate):
        yield _detected(scene, moment, rng)


def _detected(scene: TrackScene, moment: Moment, rng: np.random.Generator) -> Detected:
    height, width = moment.ids.shape
    camera = Intrinsics.from_matrix(scene.camera.matrix, width, height)
    pose = _erring(moment.pose, rng)
    depth = DepthImage(moment.depth, camera)
    view = View("camera", (height, width), depth, pose, moment.rgb)
    asked = scene.asked(moment.stamp)
    truths, found = {}, []
    for instance, name in scene.names.items():
        mask = moment.ids == instance
        if name not in asked or moment.visible.get(instance, 0.0) < SHARE:
            continue
        if int(mask.sum()) < PIXELS:
            continue
        truths[instance] = mask
        worse = _worse(mask, rng)
        if rng.random() >= LOST and worse.any():
            partial = moment.visible[instance] < 0.9
            score, presence = rng.uniform(0.6, 1.0, 2)
            found.append((name, worse, float(score), float(presence), partial))
    if rng.random() < FALSE:
        mask = np.zeros((height, width), np.bool_)
        y, x = rng.integers(10, height - 20), rng.integers(10, width - 20)
        mask[y : y + FALSE_SIDE, x : x + FALSE_SIDE] = True
        score, presence = rng.uniform(0.3, 0.8), rng.uniform(0.5, 0.9)
        found.append((str(rng.choice(asked)), mask, float(score), float(presence), False))
    everything = np.any([mask for _, mask, *_ in found], axis=0) if found else None
    observations = tuple(
        _observation(name, mask, everything, depth, pose, numbers)
        for name, mask, *numbers in found
    )
    return Detected(moment.stamp, view, truths, observations, asked)


def _observation(
    label: str,
    mask: NDArray[np.bool_],
    others: NDArray[np.bool_] | None,
    depth: DepthImage,
    pose: Rigid,
    numbers: Sequence[float | bool],
) -> Observation:
    """Return an observation whose place is found as the node finds it."""
    box = mask_box(mask)
    assert box is not None
    score, presence, partial = numbers
    settings = LiftSettings(up=np.array([0.0, 0.0, 1.0]))
    lifted = lift(depth, mask, np.array([innermost(mask)]), pose, others, settings)
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


def _outcome(
    kind: str, rate: float, name: str, frames: Sequence[Detected], ids: Ids
) -> SequenceOutcome:
    """Return what a method does on a sequence."""
    steps, given = [], []
    for frame in frames:
        numbers = ids(frame.stamp, frame.view, frame.observations, frame.asked)
        steps.append(_step(frame, numbers))
        given.append(numbers)
    perfect = sum(int((s.overlap >= 0.5).any(1).sum()) for s in map(_all_found, frames))
    truths = sum(len(frame.truths) for frame in frames)
    allowed = 2 * perfect / max(1, truths + perfect)
    return SequenceOutcome(
        kind, rate, name, identity(steps), allowed, _confirm_s(frames, steps), _ghosts(steps)
    )


def _all_found(frame: Detected) -> Step:
    return _step(frame, tuple(range(1, len(frame.observations) + 1)))


def _step(frame: Detected, numbers: Sequence[int]) -> Step:
    """Return truths and given ids of a frame, with the overlap of their masks."""
    chosen = [k for k, number in enumerate(numbers) if number != NO_ID]
    overlap = np.zeros((len(frame.truths), len(chosen)))
    for column, k in enumerate(chosen):
        each = frame.observations[k]
        full = uncrop(each.mask, each.box, frame.view.size_hw)
        for row, mask in enumerate(frame.truths.values()):
            union = int((mask | full).sum())
            overlap[row, column] = int((mask & full).sum()) / union
    return Step(tuple(frame.truths), tuple(numbers[k] for k in chosen), overlap)


def _confirm_s(frames: Sequence[Detected], steps: Sequence[Step]) -> float:
    """Return the median time from when an object is to be found until it has an id."""
    begin: dict[int, float] = {}
    end: dict[int, float] = {}
    for frame, step in zip(frames, steps, strict=True):
        for row, truth in enumerate(step.truths):
            begin.setdefault(truth, frame.stamp)
            if (step.overlap[row] >= 0.5).any():
                end.setdefault(truth, frame.stamp)
    last = frames[-1].stamp
    return float(np.median([end.get(k, last) - begin[k] for k in begin])) if begin else 0.0


def _ghosts(steps: Sequence[Step]) -> int:
    """Return how many ids mostly were on no object."""
    on: dict[int, list[bool]] = {}
    for step in steps:
        for column, number in enumerate(step.found):
            hit = bool((step.overlap[:, column] >= 0.3).any()) if len(step.truths) else False
            on.setdefault(number, []).append(hit)
    return sum(2 * sum(hits) < len(hits) for hits in on.values())
