"""One object over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import Box
from clip_surgery_ros.tracks.cloud import Points
from clip_surgery_ros.tracks.estimates import RunningMean, mixed
from clip_surgery_ros.tracks.image_motion import ImageBox, ImageMotion
from clip_surgery_ros.tracks.sight import Sight
from clip_surgery_ros.tracks.surface import Surface
from clip_surgery_ros.tracks.types import (
    NO_ID,
    Observation,
    State,
    TrackSettings,
    TrackState,
)

PAUSE_NS = 10_000_000_000
"""Time between two looks that counts at most: two images at 0.2 Hz, of which one may be lost. In
a longer time nothing was computed, as nobody read results."""
HOLD_S = 1.0
"""Seconds for which one camera's look counts beside the newer look of another one."""
LOOKS_EMPTY, LOOKS_MISSED = 2, 3
"""Looks at a place at least, besides the time, for its object to be gone."""
THERE = 3.0
"""By so much longer an object may be missed while depth shows its surface."""
RANK = (State.SEEN, State.MISSED, State.HIDDEN, State.OUT_OF_VIEW)
"""Of what several cameras say, the first counts."""


@dataclass(frozen=True)
class Look:
    """What one camera showed of a track at last."""

    stamp_ns: int
    state: State
    reason: str


@dataclass
class ImagePlace:
    """Where a track is in the picture of a camera.

    :param mask: of its last sighting, cropped.
    :param sure: whether the picture's motion is known since then.
    """

    box: ImageBox
    mask: NDArray[np.bool_]
    sure: bool = True


class Track:
    """An object, from its first sighting on.

    :param observation: the first sighting.
    """

    def __init__(
        self, observation: Observation, stamp_ns: int, camera: str, settings: TrackSettings
    ) -> None:
        self.label, self.number, self.camera = observation.label, NO_ID, camera
        self.settings = settings
        self.first_ns = self.seen_ns = self.stamp_ns = self.looked_ns = stamp_ns
        self.sightings, self.looks_since = 0, 0
        self.surface = Surface()
        self.appearance: NDArray[np.float32] | None = None
        self.flat, self.partial = observation.flat, observation.partial
        self.image: dict[str, ImagePlace] = {}
        self.state, self.reason = State.TENTATIVE, ""
        self.is_displaced = False
        """Whether the newest look showed its place without it."""
        self._score = RunningMean(settings.smooth_s)
        self._presence = RunningMean(settings.smooth_s)
        self._looks: dict[str, Look] = {}
        self._unseen_ns = 0
        self._missed_ns: int | None = None
        self._empty_ns: int | None = None
        self._missed = self._empty = 0
        self.see(observation, stamp_ns, camera, None)

    @property
    def is_gone(self) -> bool:
        """Whether it was found to be no longer at its place."""
        return self.state is State.GONE

    @property
    def points(self) -> Points:
        """Its points of all views, (P, 3) metres; none without depth."""
        return self.surface.cloud.points

    def use(self, settings: TrackSettings) -> None:
        """Go on with other settings."""
        self.settings = settings
        self._score.smooth_s = self._presence.smooth_s = settings.smooth_s

    def unseen_s(self, stamp_ns: int) -> float:
        """Return the seconds since it was seen."""
        return max(0.0, (stamp_ns - self.seen_ns) / 1e9)

    def see(
        self,
        observation: Observation,
        stamp_ns: int,
        camera: str,
        sight: Sight | None,
        is_whole: bool = True,
    ) -> None:
        """Take a sighting.

        :param sight: what the same view shows of all its points, if it has depth.
        :param is_whole: no other observation is of the same object.
        """
        if observation.points is not None and len(observation.points):
            passed_s = (stamp_ns - self.seen_ns) / 1e9
            self.surface.take(observation, passed_s, sight, is_whole)
        self.appearance = mixed(self.appearance, observation.appearance)
        self.flat, self.partial = observation.flat, observation.partial
        box = observation.box
        middle = ImageBox(box.x + box.width / 2, box.y + box.height / 2, box.width, box.height)
        self.image[camera] = ImagePlace(middle, observation.mask)
        self.sightings += 1
        self.looks_since = 0
        self.seen_ns, self.camera = max(stamp_ns, self.seen_ns), camera
        self.looked_ns, self._unseen_ns = max(stamp_ns, self.looked_ns), 0
        self._missed_ns = self._empty_ns = None
        self._missed = self._empty = 0
        self.is_displaced = False
        self._estimate(observation.score, observation.presence, stamp_ns)
        self._take_look(camera, Look(stamp_ns, State.SEEN, ""))

    def look_for(self, stamp_ns: int) -> None:
        """Count the time since the last image in which it was looked for; it was not found."""
        self._unseen_ns += min(max(0, stamp_ns - self.looked_ns), PAUSE_NS)
        self.looked_ns = max(stamp_ns, self.looked_ns)

    def miss(self, camera: str, look: Look, is_empty: bool, is_there: bool) -> None:
        """Take a look in which it was not found.

        :param is_empty: its place was seen without it.
        :param is_there: depth shows its surface at its place.
        """
        self.looks_since += 1
        self.is_displaced = is_empty
        if look.state is State.MISSED:
            self._estimate(0.0, 0.0, look.stamp_ns)
            self._missed += 1
            self._missed_ns = look.stamp_ns if self._missed_ns is None else self._missed_ns
            self._empty = self._empty + 1 if is_empty else 0
            if not is_empty:
                self._empty_ns = None
            elif self._empty_ns is None:
                self._empty_ns = look.stamp_ns
        self._take_look(camera, look)
        if self.state is State.MISSED and self._is_gone(look.stamp_ns, is_there):
            self.state = State.GONE

    def confirm(self, number: int) -> None:
        """Give it its number, at a sighting."""
        self.number = number
        self.state, self.reason = State.SEEN, ""

    def succeed(self, lost: Track) -> None:
        """Become the track that was lost: take its number, its age and its estimates."""
        self.confirm(lost.number)
        self.first_ns = lost.first_ns
        self.sightings += lost.sightings
        self._score, self._presence = lost._score, lost._presence
        self.appearance = mixed(lost.appearance, self.appearance)

    def move_in_image(self, camera: str, motion: ImageMotion) -> None:
        """Follow the motion of a camera's picture."""
        place = self.image.get(camera)
        if place is not None:
            place.box = motion.moved(place.box)
            place.sure = place.sure and motion.is_known

    def age(self, stamp_ns: int) -> bool:
        """Let time pass; return whether it is remembered still.

        Time in which nothing looked for it is not time in which it was missed.
        """
        if self.ends_with_pause(stamp_ns):
            return False
        if self.number == NO_ID:
            return self._may_be_confirmed(stamp_ns)
        if self._unseen_ns <= self.settings.memory_s * 1e9:
            return True
        self.state = State.FORGOTTEN
        self.reason = f"not seen for {self.unseen_s(stamp_ns):.0f} s"
        return False

    def ends_with_pause(self, stamp_ns: int) -> bool:
        """Let time pass; return whether nothing looked for it for so long that it is forgotten."""
        self.stamp_ns = max(self.stamp_ns, stamp_ns)
        paused_s = (stamp_ns - self.looked_ns) / 1e9
        if paused_s <= self.settings.memory_s:
            return False
        self.state = State.FORGOTTEN
        self.reason = f"no image was searched for it for {paused_s:.0f} s"
        return True

    def snapshot(self, asked: bool) -> TrackState:
        """Return what is known of it."""
        place = self.image[self.camera].box
        box = Box(
            round(place.x - place.width / 2),
            round(place.y - place.height / 2),
            max(1, round(place.width)),
            max(1, round(place.height)),
        )
        return TrackState(
            self.number,
            self.label,
            self.state,
            self.reason,
            asked,
            self.first_ns,
            self.seen_ns,
            self.stamp_ns,
            self.sightings,
            self._score.value,
            self._presence.value,
            self.camera,
            box,
            self.points,
            self.surface.velocity,
        )

    def _may_be_confirmed(self, stamp_ns: int) -> bool:
        """Return whether a tentative track may still be found again.

        At 0.2 Hz a second look comes after 5 s, so two looks are waited for at any rate.
        """
        unseen_s = self.unseen_s(stamp_ns)
        if self._missed >= 2 and unseen_s > self.settings.confirm_s:
            return False
        return self.looks_since < 2 or unseen_s <= 10 * self.settings.confirm_s

    def _is_gone(self, stamp_ns: int, is_there: bool) -> bool:
        """Return whether it was missed for long enough, and often enough."""
        settings = self.settings
        if self._empty_ns is not None and self._empty >= LOOKS_EMPTY:
            return stamp_ns - self._empty_ns >= settings.empty_s * 1e9
        if self._missed_ns is None or self._missed < LOOKS_MISSED:
            return False
        allowed = settings.missed_s * (THERE if is_there else 1.0)
        return stamp_ns - self._missed_ns >= allowed * 1e9

    def _estimate(self, score: float, presence: float, stamp_ns: int) -> None:
        self._score.add(score, stamp_ns / 1e9)
        self._presence.add(presence, stamp_ns / 1e9)

    def _take_look(self, camera: str, look: Look) -> None:
        """Keep a camera's look, and let the cameras' newest looks decide the state."""
        self.stamp_ns = max(self.stamp_ns, look.stamp_ns)
        self._looks[camera] = look
        if self.number == NO_ID or (self.is_gone and look.state is not State.SEEN):
            return
        held = [k for k in self._looks.values() if look.stamp_ns - k.stamp_ns <= HOLD_S * 1e9]
        best = min(held, key=lambda each: (RANK.index(each.state), -each.stamp_ns))
        self.state, self.reason = best.state, best.reason
