"""Trackers that are common elsewhere, written anew, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.tracks.assignment import assign
from clip_surgery_ros.tracks.association import mask_iou
from clip_surgery_ros.tracks.image_motion import ImageBox
from clip_surgery_ros.tracks.types import NO_ID, Observation

Floats = NDArray[np.float64]


class FirstOverlap:
    """The first mask of the last frame that overlaps enough gives its id.

    The rule of Grounded-SAM-2's camera demo with continuous ids. Two masks may want one id; here
    the first one gets it, as one frame must not give one id twice.
    """

    LEAST = 0.3

    def __init__(self) -> None:
        self._last: list[tuple[int, Observation]] = []
        self._count = NO_ID

    def step(self, stamp: float, observations: Sequence[Observation]) -> tuple[int, ...]:
        """Return the ids of a frame's observations."""
        now: list[tuple[int, Observation]] = []
        for each in observations:
            taken = {number for number, _ in now}
            number = next((n for n, old in self._last if self._fits(n, old, each, taken)), NO_ID)
            if number == NO_ID:
                self._count += 1
                number = self._count
            now.append((number, each))
        self._last = now
        return tuple(number for number, _ in now)

    def _fits(self, number: int, old: Observation, new: Observation, taken: set[int]) -> bool:
        box = old.box
        place = ImageBox(box.x + box.width / 2, box.y + box.height / 2, box.width, box.height)
        same = number not in taken and old.label == new.label
        return same and mask_iou(place, old.mask, new) > self.LEAST


@dataclass
class _BoxTrack:
    """A box with constant velocity, in a Kalman filter as in SORT and ByteTrack.

    :param mean: (8,) middle x, y, aspect, height, and their change in one frame.
    """

    label: str
    mean: Floats
    spread: Floats
    number: int = NO_ID
    unseen: int = 0
    hits: int = field(default=1)

    POSITION, VELOCITY = 1 / 20, 1 / 160

    @classmethod
    def begin(cls, observation: Observation) -> _BoxTrack:
        measured = _measured(observation)
        h = measured[3]
        p, v = 2 * cls.POSITION * h, 10 * cls.VELOCITY * h
        deviations = np.array([p, p, 1e-2, p, v, v, 1e-5, v])
        return cls(
            observation.label, np.concatenate([measured, np.zeros(4)]), np.diag(deviations**2)
        )

    def predict(self) -> None:
        step = np.eye(8)
        step[:4, 4:] = np.eye(4)
        h = self.mean[3]
        p, v = self.POSITION * h, self.VELOCITY * h
        noise = np.diag(np.array([p, p, 1e-2, p, v, v, 1e-5, v]) ** 2)
        self.mean = step @ self.mean
        self.spread = step @ self.spread @ step.T + noise
        self.unseen += 1

    def correct(self, observation: Observation) -> None:
        h = self.mean[3]
        p = self.POSITION * h
        noise = np.diag(np.array([p, p, 1e-1, p]) ** 2)
        seen = np.eye(4, 8)
        gain = self.spread @ seen.T @ np.linalg.inv(seen @ self.spread @ seen.T + noise)
        self.mean = self.mean + gain @ (_measured(observation) - seen @ self.mean)
        self.spread = self.spread - gain @ seen @ self.spread
        self.unseen, self.hits = 0, self.hits + 1

    def corners(self) -> Floats:
        x, y, aspect, h = self.mean[:4]
        half = np.array([max(aspect, 1e-3) * h, h]) / 2
        return np.array([x - half[0], y - half[1], x + half[0], y + half[1]])


class ByteTrack:
    """Boxes with constant velocity; sure detections first, then the others (Zhang et al. 2022).

    Constants are those of the ``trackers`` package 2.x, of which the 30 frames for which lost
    boxes are kept are at 30 Hz; here as many frames are kept.
    """

    HIGH, NEW = 0.6, 0.7
    LEAST, LEAST_LOW = 0.1, 0.5
    KEPT = 30
    HITS = 2

    def __init__(self) -> None:
        self._tracks: list[_BoxTrack] = []
        self._count = NO_ID

    def step(self, stamp: float, observations: Sequence[Observation]) -> tuple[int, ...]:
        """Return the ids of a frame's observations; :data:`NO_ID` of those not confirmed."""
        for track in self._tracks:
            track.predict()
        numbers = [NO_ID] * len(observations)
        high = [k for k, each in enumerate(observations) if each.score >= self.HIGH]
        low = [k for k, each in enumerate(observations) if each.score < self.HIGH]
        left = list(self._tracks)
        for chosen, least in ((high, self.LEAST), (low, self.LEAST_LOW)):
            pairs = self._pairs(left, [observations[k] for k in chosen], least)
            for i, j in pairs:
                left_track = left[j]
                left_track.correct(observations[chosen[i]])
                if left_track.number == NO_ID and left_track.hits >= self.HITS:
                    self._count += 1
                    left_track.number = self._count
                numbers[chosen[i]] = left_track.number
            used = {j for _, j in pairs}
            matched = {chosen[i] for i, _ in pairs}
            left = [track for j, track in enumerate(left) if j not in used]
            if chosen is high:
                new = [k for k in high if k not in matched and observations[k].score >= self.NEW]
        self._tracks = [t for t in self._tracks if t.unseen <= (self.KEPT if t.number else 0)] + [
            _BoxTrack.begin(observations[k]) for k in new
        ]
        return tuple(numbers)

    @staticmethod
    def _pairs(
        tracks: Sequence[_BoxTrack], observations: Sequence[Observation], least: float
    ) -> list[tuple[int, int]]:
        table = np.full((len(observations), len(tracks)), np.inf)
        for j, track in enumerate(tracks):
            corners = track.corners()
            for i, each in enumerate(observations):
                iou = _box_iou(corners, each) if each.label == track.label else 0.0
                if iou >= least:
                    table[i, j] = 1 - iou
        return assign(table)


def _measured(observation: Observation) -> Floats:
    box = observation.box
    return np.array(
        [box.x + box.width / 2, box.y + box.height / 2, box.width / box.height, box.height]
    )


def _box_iou(corners: Floats, observation: Observation) -> float:
    box = observation.box
    x = min(corners[2], box.x + box.width) - max(corners[0], box.x)
    y = min(corners[3], box.y + box.height) - max(corners[1], box.y)
    if x <= 0 or y <= 0:
        return 0.0
    common = x * y
    area = (corners[2] - corners[0]) * (corners[3] - corners[1])
    return float(common / (area + box.width * box.height - common))
