"""How long ids last on world sequences: this package's tracker beside others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.geometry import mask_box, uncrop
from clip_surgery_ros.evaluation.identity import IdentityFigures, Step, identity
from clip_surgery_ros.evaluation.sequence_detections import Detected, Detector, degraded
from clip_surgery_ros.evaluation.track_baselines import ByteTrack, FirstOverlap
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import NO_ID, Observation, State, TrackState, View
from clip_surgery_ros.world.track_scenes import SIZE, TrackScene, kept_track_scene

RATES = (0.5, 2.0, 10.0)
"""Frames a second: CLIP and SAM on a processor, on a small GPU, on a large one."""
FOUND = 0.5
"""Overlap from which a mask shows a true object."""


@dataclass(frozen=True)
class Given:
    """What a method says of a frame.

    :param numbers: ids of the observations, :data:`NO_ID` for none.
    :param places: pixels (x, y) of all objects that it remembers and does not call gone, by id.
    """

    numbers: tuple[int, ...]
    places: Mapping[int, tuple[float, float]] = field(default_factory=dict)


Ids = Callable[[float, View, Sequence[Observation], Sequence[str]], Given]
"""Gives the ids of observations: of stamp, view, observations and labels that are asked."""


@dataclass(frozen=True)
class SequenceOutcome:
    """What a method did on one sequence at one rate.

    :param allowed: the highest IDF1 that the detections allow.
    :param confirm_s: seconds until an object that is to be found gets an id: the median over
        objects; of an object without one until the end.
    :param ghosts: ids that mostly were not on an object.
    :param undetected: share of looks at objects that were found before, in which no detection is
        on the object: what a reader misses without tracks.
    :param missing: share of looks at objects that had an id before, in which neither a detection
        with an id nor the place of the object's id is on it.
    """

    kind: str
    rate: float
    method: str
    figures: IdentityFigures
    allowed: float
    confirm_s: float
    ghosts: int
    undetected: float
    missing: float


def _tracker(with_depth: bool) -> Ids:
    tracker = Tracker()

    def ids(
        stamp: float, view: View, observations: Sequence[Observation], labels: Sequence[str]
    ) -> Given:
        if not with_depth:
            view = View(view.camera, view.size_hw, image_rgb=view.image_rgb)
            observations = [_flat(each) for each in observations]
        frame = tracker.update(round(stamp * 1e9), view, observations, labels)
        return Given(frame.numbers, _places(frame.tracks, view))

    return ids


def _places(states: Iterable[TrackState], view: View) -> dict[int, tuple[float, float]]:
    """Return where objects are in a view's picture."""
    places = {}
    for state in states:
        if state.number == NO_ID or state.state in (State.GONE, State.FORGOTTEN):
            continue
        box, place = state.box, state.place
        x, y = box.x + box.width / 2, box.y + box.height / 2
        if view.depth is not None and view.to_common is not None and place is not None:
            local = view.to_common.inverse().apply(place[None])
            if local[0, 2] <= 0:
                continue  # behind the camera
            x, y = view.depth.intrinsics.pixels(local)[0]
        places[state.number] = float(x), float(y)
    return places


def _flat(each: Observation) -> Observation:
    """Return an observation without its place in space."""
    return Observation(
        each.label,
        each.box,
        each.mask,
        each.score,
        each.presence,
        appearance=each.appearance,
    )


def _baseline(method: FirstOverlap | ByteTrack) -> Ids:
    return lambda stamp, view, observations, labels: Given(method.step(stamp, observations))


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
    folder: Path,
    split: str,
    count: int,
    kinds: Sequence[str],
    detector: Detector = degraded,
    size: tuple[int, int] = SIZE,
) -> list[SequenceOutcome]:
    """Return the outcomes on so many sequences of each kind, with a progress bar.

    :param folder: of kept views.
    :param size: width and height of the pictures, pixels.
    :raises WorldError: a sequence cannot be rendered or read.
    """
    wanted = [(kind, index) for kind in kinds for index in range(count)]
    outcomes = []
    for kind, index in tqdm(wanted, unit="sequence"):
        scene = kept_track_scene(folder, kind, split, index, size)
        outcomes += measure(scene, index, detector=detector)
    return outcomes


def measure(
    scene: TrackScene,
    index: int,
    rates: Sequence[float] = RATES,
    detector: Detector = degraded,
) -> list[SequenceOutcome]:
    """Return the outcomes of all methods at all rates; all have the same detections.

    :param index: of the sequence, which seeds the errors.
    """
    outcomes = []
    for rate in rates:
        frames = list(detector(scene, index, rate))
        for name, begin in METHODS.items():
            outcomes.append(_outcome(scene.kind, rate, name, frames, begin()))
    return outcomes


def _outcome(
    kind: str, rate: float, name: str, frames: Sequence[Detected], ids: Ids
) -> SequenceOutcome:
    """Return what a method does on a sequence."""
    steps, places = [], []
    for frame in frames:
        given = ids(frame.stamp, frame.view, frame.observations, frame.asked)
        steps.append(_step(frame, given.numbers))
        places.append(given.places)
    perfect_steps = [_all_found(frame) for frame in frames]
    perfect = sum(int((s.overlap >= FOUND).any(1).sum()) for s in perfect_steps)
    truths = sum(len(frame.truths) for frame in frames)
    allowed = 2 * perfect / max(1, truths + perfect)
    return SequenceOutcome(
        kind,
        rate,
        name,
        identity(steps),
        allowed,
        _confirm_s(frames, steps),
        _ghosts(steps),
        missing_share(frames, perfect_steps, [{}] * len(frames)),
        missing_share(frames, steps, places),
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
            if (step.overlap[row] >= FOUND).any():
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


def missing_share(
    frames: Sequence[Detected],
    steps: Sequence[Step],
    places: Sequence[Mapping[int, tuple[float, float]]],
) -> float:
    """Return the share of looks at objects that had an id before, in which neither a detection
    with an id is on the object nor the place of the id that it had.
    """
    own: dict[int, int] = {}
    looks = lost = 0
    for frame, step, there in zip(frames, steps, places, strict=True):
        for row, (truth, mask) in enumerate(frame.truths.items()):
            hits = [step.found[k] for k in np.flatnonzero(step.overlap[row] >= FOUND)]
            if truth in own:
                looks += 1
                lost += not hits and not _is_on(there.get(own[truth]), mask)
            if hits:
                own[truth] = hits[0]
    return lost / looks if looks else 0.0


def _is_on(place: tuple[float, float] | None, mask: NDArray[np.bool_]) -> bool:
    """Return whether a pixel is in the box of a mask."""
    box = mask_box(mask)
    if place is None or box is None:
        return False
    x, y = place[0] - box.x, place[1] - box.y
    return 0 <= x <= box.width and 0 <= y <= box.height
