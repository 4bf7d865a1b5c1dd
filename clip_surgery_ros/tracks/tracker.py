"""Gives the objects of each frame ids that last, and remembers those that are not seen.

:meth:`Tracker.update` is called for each frame of each camera. It compares the frame's
observations with the tracks of their label, one to one (``association.py``, ``assignment.py``),
and says of all others what the view shows of their places (``sight.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from clip_surgery_ros.tracks.assignment import assign
from clip_surgery_ros.tracks.association import (
    LEAST_EXTENT,
    UNLIKE,
    Seen,
    Sought,
    costs,
    seek,
)
from clip_surgery_ros.tracks.cloud import distance
from clip_surgery_ros.tracks.estimates import likeness
from clip_surgery_ros.tracks.image_motion import UNKNOWN, ImageMotion, MotionOfCamera
from clip_surgery_ros.tracks.numbers import Numbers
from clip_surgery_ros.tracks.sight import DepthLook, Sight, share_inside
from clip_surgery_ros.tracks.track import Track
from clip_surgery_ros.tracks.types import (
    NO_ID,
    Observation,
    State,
    TrackedFrame,
    TrackSettings,
    TrackState,
    View,
)
from clip_surgery_ros.tracks.unseen import COVERED, Matches, miss

MOST_TRACKS = 500
"""Tracks that are kept at most; those not seen for longest are forgotten first."""
BACK_NS = 1_000_000_000
"""A stamp that lies further back means that the clock was set back (a bag began again)."""
SIGHTINGS = 2
"""Sightings that give a number."""
ON_TOP = 0.015
"""Metres from a track's points within which an observation is a second one of it."""


class Tracker:
    """The objects of a node's life; not for several threads at once.

    :param numbers: gives the numbers of objects; shared with other trackers, or its own.

    >>> tracker = Tracker()
    >>> tracker.update(0, View("camera", (480, 640)), (), ("mug",)).tracks
    ()
    """

    def __init__(
        self, settings: TrackSettings | None = None, numbers: Numbers | None = None
    ) -> None:
        self.settings = settings or TrackSettings()
        self._numbers = numbers or Numbers()
        self._tracks: list[Track] = []
        self._labels: frozenset[str] = frozenset()
        self._newest_ns: int | None = None
        self._newest_of: dict[str, int] = {}
        self._motions: dict[str, MotionOfCamera] = {}

    def use(self, settings: TrackSettings) -> None:
        """Go on with other settings; what is remembered stays."""
        if settings != self.settings:
            self.settings = settings
            for track in self._tracks:
                track.use(settings)

    def update(
        self,
        stamp_ns: int,
        view: View,
        observations: Sequence[Observation],
        labels: Iterable[str],
    ) -> TrackedFrame:
        """Take a frame.

        Call it for each frame that was processed, also when nothing was found, or tracks would
        not learn that their places are empty. Cameras may take turns in any order. When a stamp
        lies more than a second before the newest one of the same camera, the clock was set back:
        all tracks are forgotten.

        :param stamp_ns: of the image, nanoseconds.
        :param observations: all objects that were found.
        :param labels: all labels that were asked for. Tracks of others are kept as they are, for
            ``memory_s``.
        """
        stamp_ns = self._on_time(stamp_ns, view.camera)
        self._labels = frozenset(labels)
        late = self._drop([t for t in self._tracks if t.ends_with_pause(stamp_ns)])
        asked = [track for track in self._tracks if track.label in self._labels]
        look = None
        if view.depth is not None and view.to_common is not None:
            look = DepthLook(view.depth, view.to_common)
        motion = self._motion(view, look, asked)
        for track in self._tracks:
            track.move_in_image(view.camera, motion)
        sought = seek(asked, look, stamp_ns)
        seen = [Seen.of(observation) for observation in observations]
        matches = self._match(sought, seen, view)
        seconds = _seconds(seen, matches, observations)
        self._see(matches, seconds.values(), observations, stamp_ns, view, look)
        found = {id(track) for track in matches.values()}
        for each in sought:
            if id(each.track) not in found:
                each.track.look_for(stamp_ns)
                miss(each, matches, observations, stamp_ns, view, motion)
        for index, observation in enumerate(observations):
            if index not in matches and index not in seconds:
                matches[index] = Track(observation, stamp_ns, view.camera, self.settings)
                self._tracks.append(matches[index])
        for index in sorted(matches):  # numbers follow the order of observations
            self._confirm(matches[index])
        forgotten = (*late, *self._forget(stamp_ns))
        numbers = tuple(
            matches[i].number if i in matches else NO_ID for i in range(len(observations))
        )
        return TrackedFrame(numbers, (*self.states(), *forgotten))

    def advance(
        self, stamp_ns: int, labels: Iterable[str] | None = None
    ) -> tuple[TrackState, ...]:
        """Let time pass without a frame, as when frames are skipped; return what was forgotten.

        An older stamp than the newest one changes nothing.

        :param labels: all labels that are asked for now; None for those of the last frame.
        """
        if labels is not None:
            self._labels = frozenset(labels)
        return self._forget(self._not_before_newest(stamp_ns))

    def reset(self) -> None:
        """Forget all tracks. Their numbers are not used again."""
        self._tracks.clear()
        self._motions.clear()

    def states(self) -> tuple[TrackState, ...]:
        """Return all objects that are remembered, the oldest number first, then tentative ones."""
        tracks = sorted(self._tracks, key=lambda t: (t.number == NO_ID, t.number))
        return tuple(track.snapshot(track.label in self._labels) for track in tracks)

    def locate(self, name: str) -> tuple[TrackState, ...]:
        """Return the objects of a label ("red mug") or of an id ("red mug/3"), those seen last
        first; tentative ones are left out.
        """
        found = [s for s in self.states() if s.number and name in (s.label, s.id)]
        return tuple(sorted(found, key=lambda s: -s.seen_ns))

    def _on_time(self, stamp_ns: int, camera: str) -> int:
        """Return a stamp that is not before the newest one, after a reset if the camera's last
        one was much newer.

        Frames of other cameras may be newer by as much as a network takes for a frame.
        """
        last_ns = self._newest_of.get(camera)
        if last_ns is not None and stamp_ns < last_ns - BACK_NS:
            self.reset()
            self._newest_of.clear()
            self._newest_ns = None
        self._newest_of[camera] = max(stamp_ns, self._newest_of.get(camera, stamp_ns))
        return self._not_before_newest(stamp_ns)

    def _not_before_newest(self, stamp_ns: int) -> int:
        known = self._newest_ns
        self._newest_ns = stamp_ns if known is None else max(stamp_ns, known)
        return self._newest_ns

    def _motion(self, view: View, look: DepthLook | None, asked: Sequence[Track]) -> ImageMotion:
        """Return how a camera's picture moved, where tracks need it."""
        if view.motion is not None:
            return view.motion
        camera = self._motions.setdefault(view.camera, MotionOfCamera())
        if look is not None and all(len(track.points) for track in asked):
            camera.step(None)
            return UNKNOWN
        return camera.step(view.image_rgb)

    def _match(self, sought: Sequence[Sought], seen: Sequence[Seen], view: View) -> Matches:
        """Return the tracks of observations, by the observations' indices."""
        matches: Matches = {}
        for label in dict.fromkeys(each.observation.label for each in seen):
            tracks = [s for s in sought if s.track.label == label]
            found = [i for i, each in enumerate(seen) if each.observation.label == label]
            table = costs(
                tracks, [seen[i] for i in found], view.camera, view.size_hw[1], self.settings
            )
            for row, column in assign(table):
                matches[found[row]] = tracks[column].track
        return matches

    def _see(
        self,
        matches: Matches,
        divided: Iterable[Track],
        observations: Sequence[Observation],
        stamp_ns: int,
        view: View,
        look: DepthLook | None,
    ) -> None:
        """Tell all tracks that were found what the view shows of them.

        :param divided: those that were found more than once.
        """
        parts = {id(track) for track in divided}
        placed = {
            index: track
            for index, track in matches.items()
            if look is not None and len(track.points) and observations[index].points is not None
        }
        sights: dict[int, Sight] = {}
        if look is not None:
            found = look.sights([track.points for track in placed.values()])
            sights = dict(zip(placed, found, strict=True))
        for index, track in matches.items():
            is_whole = id(track) not in parts
            track.see(observations[index], stamp_ns, view.camera, sights.get(index), is_whole)

    def _confirm(self, track: Track) -> None:
        """Give a track a number when it was seen often enough.

        An object that was put elsewhere begins as a new track; it takes the number of the one
        that is missing at its place.
        """
        if track.number != NO_ID:
            return
        presence = track.snapshot(True).presence
        # What something covers at its edge may be a part of an object that has a number.
        sure = presence >= self.settings.sure_presence and not track.partial
        if track.sightings < SIGHTINGS and not sure:
            return
        lost = self._lost_like(track)
        if lost is None:
            track.confirm(self._numbers.next(other.number for other in self._tracks))
            return
        track.succeed(lost)
        self._tracks.remove(lost)

    def _lost_like(self, track: Track) -> Track | None:
        """Return the lost track that a new one continues, if there is one."""
        candidates = []
        for other in self._tracks:
            if other.number == NO_ID or other.label != track.label:
                continue
            if other.seen_ns == track.seen_ns or not _is_lost(other, track):
                continue
            if (
                not track.partial
                and 0 < track.surface.extent < LEAST_EXTENT * other.surface.extent
            ):
                continue
            alike = likeness(other.appearance, track.appearance)
            if alike is None or alike >= UNLIKE:
                candidates.append((0.0 if alike is None else -alike, -other.seen_ns, other))
        return min(candidates, key=lambda c: c[:2])[2] if candidates else None

    def _forget(self, stamp_ns: int) -> tuple[TrackState, ...]:
        """Drop what is no longer remembered; return those that had a number."""
        kept = [track for track in self._tracks if track.age(stamp_ns)]
        kept.sort(key=lambda track: track.seen_ns)
        for track in kept[:-MOST_TRACKS]:
            track.state = State.FORGOTTEN
            track.reason = f"more than {MOST_TRACKS} objects are remembered"
        keys = {id(track) for track in kept[-MOST_TRACKS:]}
        return self._drop([track for track in self._tracks if id(track) not in keys])

    def _drop(self, tracks: Sequence[Track]) -> tuple[TrackState, ...]:
        """Drop tracks; return those that had a number."""
        keys = {id(track) for track in tracks}
        self._tracks = [track for track in self._tracks if id(track) not in keys]
        return tuple(
            track.snapshot(track.label in self._labels) for track in tracks if track.number
        )


def _seconds(
    seen: Sequence[Seen], matches: Matches, observations: Sequence[Observation]
) -> Matches:
    """Return the observations that lie on a track which another one was taken for."""
    left = {i: each for i, each in enumerate(seen) if i not in matches}
    lying = {i: _first_of(each, matches, observations) for i, each in left.items()}
    return {i: track for i, track in lying.items() if track is not None}


def _first_of(seen: Seen, matches: Matches, observations: Sequence[Observation]) -> Track | None:
    """Return the track on which a further observation lies, if there is one: an object that
    something narrow divides is found twice.
    """
    ours = seen.observation
    for other, track in matches.items():
        theirs = observations[other]
        if theirs.label != ours.label:
            continue
        if seen.sample is not None and len(track.points):
            if distance(seen.sample, track.surface.sample()) < ON_TOP:
                return track
        elif _share_covered(ours, theirs) > COVERED:
            return track
    return None


def _share_covered(ours: Observation, theirs: Observation) -> float:
    """Return the share of one mask that another one covers."""
    rows, columns = np.nonzero(ours.mask)
    return share_inside(columns + ours.box.x, rows + ours.box.y, theirs.box, theirs.mask)


def _is_lost(lost: Track, new: Track) -> bool:
    """Return whether a track may be somewhere else than where it was last.

    In space, its place was looked at and it was not there. In the image, its place is not known.
    """
    if lost.is_gone or lost.is_displaced:
        return True
    if len(lost.points) and len(new.points):
        return False
    return lost.state is State.OUT_OF_VIEW
