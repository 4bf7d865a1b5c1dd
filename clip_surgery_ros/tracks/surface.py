"""The points of a track in space, as views add and deny them, and how they move."""

from __future__ import annotations

import numpy as np

from clip_surgery_ros.tracks.cloud import (
    ADDED,
    NO_POINTS,
    SAMPLE,
    Points,
    distance,
    middle,
    shift,
    thinned,
)
from clip_surgery_ros.tracks.sight import Sight, near_mask
from clip_surgery_ros.tracks.types import Observation

SAME = 0.02
"""Metres from a track's points within which others are of the same object at rest."""
MOVED = 0.02
"""Metres by which a resting track may seem to move: the errors of depth and pose."""
LEAST_VISIBLE = 10
"""Points that must be visible to measure a motion."""
MOTION_S = 1.2
"""Seconds between sightings after which the way between them is no velocity any more."""
PREDICT_S = 1.0
"""Seconds for which a velocity is followed: hands stop."""


class Surface:
    """The points of a track, and its velocity; none without depth."""

    def __init__(self) -> None:
        self.cloud, self.velocity = NO_POINTS, np.zeros(3)
        """``velocity`` is (3,) m/s, 0 at rest."""
        self._turn = 0
        self._sample: Points | None = None

    @property
    def extent(self) -> float:
        """Length of the diagonal of its box, metres; 0 without points."""
        return float(np.linalg.norm(self.cloud.high - self.cloud.low))

    def sample(self) -> Points:
        """Return some of the points, other ones after each sighting, (P, 3) metres."""
        if self._sample is None:
            self._sample = thinned(self.cloud.points, SAMPLE, self._turn)
        return self._sample

    def offset(self, unseen_s: float) -> Points:
        """Return by how much it moved in seconds, as its velocity has it, (3,) metres."""
        return np.asarray(self.velocity * min(unseen_s, PREDICT_S), np.float32)

    def take(
        self, observation: Observation, passed_s: float, sight: Sight | None, is_whole: bool
    ) -> None:
        """Add points of a view; an object that moved takes its points along, or begins anew.

        :param passed_s: seconds since the last sighting.
        :param sight: what the same view shows of all points, if it has depth.
        :param is_whole: no other observation is of the same object.
        """
        points = self.cloud.points
        new = thinned(np.asarray(observation.points), ADDED, self._turn)
        if sight is not None and sight.stays:
            self._correct(observation, new, passed_s, sight, is_whole)
        elif (
            len(points)
            and (sight is None or not sight.is_empty)
            and distance(new[::4], self.sample()) <= SAME
        ):
            self.cloud = self.cloud.joined(new, self._turn)
        else:
            self._follow(middle(new) - middle(points if len(points) else new), passed_s)
            self.cloud = NO_POINTS.joined(new)
        self._turn += 1
        self._sample = None

    def _correct(
        self,
        observation: Observation,
        new: Points,
        passed_s: float,
        sight: Sight,
        is_whole: bool,
    ) -> None:
        """Add points of a view that shows the surface where it was, or right beside it.

        Points that the view shows to be nothing, or beside the object, are dropped, as masks that
        are too large bring in points of what is beside or behind.
        """
        visible = sight.known & ~sight.hidden & ~sight.empty
        own, dropped = visible, sight.empty
        if is_whole:
            near = near_mask(sight.columns, sight.rows, observation.box, observation.mask)
            own, dropped = visible & near, dropped | (visible & ~near)
        chosen = sight.index[own]
        moved = np.zeros(3, np.float32)
        if len(chosen) >= LEAST_VISIBLE:
            moved = shift(thinned(self.cloud.points.take(chosen, axis=0), SAMPLE), new)
        if np.linalg.norm(moved) <= MOVED:
            moved[:] = 0
        self._follow(moved, passed_s)
        keep = np.ones(len(self.cloud.points), np.bool_)
        keep[sight.index[dropped]] = False
        self.cloud = self.cloud.only(keep).moved(moved).joined(new, self._turn)

    def _follow(self, moved: Points, passed_s: float) -> None:
        """Take a motion over some seconds into the velocity."""
        if not moved.any() or not 0 < passed_s < MOTION_S:
            self.velocity = np.zeros(3)
            return
        self.velocity = 0.5 * self.velocity + 0.5 * moved.astype(np.float64) / passed_s
