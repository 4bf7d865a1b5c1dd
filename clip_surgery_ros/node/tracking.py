"""Objects of the node over time: one tracker for cameras that see the same space, one for each
other camera.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock

from rclpy.clock import Clock
from std_msgs.msg import Header

from clip_surgery_ros.parameters.cameras import CameraTopic
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.outputs import Frame
from clip_surgery_ros.ros.pairing import Paired, stamp_ns
from clip_surgery_ros.ros.places import lift_settings
from clip_surgery_ros.tracks.boxes import TrackBoxes
from clip_surgery_ros.tracks.numbers import Numbers
from clip_surgery_ros.tracks.tracker import Tracker
from clip_surgery_ros.tracks.types import (
    Observation,
    Remembered,
    State,
    TrackSettings,
    TrackState,
    View,
)

SHARED = "/"
"""Key of the tracker of all cameras with depth; no camera has this name."""


class Tracking:
    """The trackers of a node; its methods may be called on any thread.

    Cameras with depth share their objects if ``target_frame`` is set. Without it, and without
    depth, the objects of each camera are followed in its picture. Numbers are the node's: none is
    given twice.

    :param clock: of the node, for images without a stamp.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, Lock()
        self._numbers, self._trackers = Numbers(), dict[str, Tracker]()
        self._frame, self._boxes = "", TrackBoxes()

    def begin(self, config: Config) -> str:
        """Prepare for the cameras of a configuration; objects of others are forgotten.

        :return: a note for people; empty if there is nothing to note.
        """
        with self._lock:
            kept = {_key(camera, config) for camera in config.cameras if camera.tracking}
            self._trackers = {key: one for key, one in self._trackers.items() if key in kept}
        has_depth = any(camera.space for camera in config.cameras)
        if not config.tracking or config.target_frame or not has_depth:
            return ""
        return (
            "target_frame is empty, so objects are followed in the picture only; set it to a "
            "frame that does not move with the camera, and they are followed in space"
        )

    def uses_space(self, camera: CameraTopic, config: Config) -> bool:
        """Whether the objects of a camera are followed in space."""
        return camera.tracking and _key(camera, config) == SHARED

    def follow(
        self, camera: CameraTopic, frame: Frame, paired: Paired | None, config: Config
    ) -> Frame:
        """Return the frame with the objects that its segments are.

        :param frame: with places, if the camera's objects are followed in space.
        :param paired: what belongs to its image in space; None for a camera without depth.
        """
        in_space = self.uses_space(camera, config)
        view, observations = _seen(camera, frame, paired if in_space else None)
        with self._lock:
            self._use(config)
            if in_space and paired is not None:
                self._use_frame(paired.frame, config)
            now, key = self._now(frame.header), _key(camera, config)
            new = Tracker(settings_of(config), self._numbers)
            tracker = self._trackers.setdefault(key, new)
            tracked = tracker.update(now, view, observations, frame.result.query.names)
            others = [one for one in self._trackers.values() if one is not tracker]
            forgotten = [*_forgotten(tracked.tracks), *_aged(others, now)]
            remembered = self._remembered(forgotten)
        segments = tuple(
            replace(segment, id=number)
            for segment, number in zip(frame.result.segments, tracked.numbers, strict=True)
        )
        result = replace(frame.result, segments=segments)
        return replace(frame, result=result, remembered=remembered)

    def pass_time(self, header: Header, labels: Sequence[str], config: Config) -> Remembered:
        """Return all objects at the time of an image that has no results.

        :param labels: that are asked for.
        """
        with self._lock:
            self._use(config)
            aged = _aged(self._trackers.values(), self._now(header), labels)
            return self._remembered(aged)

    def reset(self) -> int:
        """Forget all objects; return how many had an id. Their numbers are not used again."""
        with self._lock:
            count = sum(bool(track.number) for track in self._states())
            for tracker in self._trackers.values():
                tracker.reset()
            return count

    def locate(self, name: str) -> Remembered:
        """Return the objects of a label or of an id, or all with an id for an empty name; the one
        seen last first.
        """
        with self._lock:
            named = [s for s in self._states() if s.number and name in ("", s.label, s.id)]
            found = tuple(sorted(named, key=lambda state: -state.seen_ns))
            return replace(self._remembered([]), tracks=found)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many objects are in each state, and how many ids were given."""
        with self._lock:
            states = Counter(state.state.value for state in self._states())
            return {**states, "ids given": self._numbers.last}

    def _use(self, config: Config) -> None:
        """Take the settings of a configuration for all objects."""
        if config.box_mode != self._boxes.mode:
            self._boxes = TrackBoxes(config.box_mode, self._boxes.up)  # type: ignore[arg-type]
        for tracker in self._trackers.values():
            tracker.use(settings_of(config))

    def _use_frame(self, frame: str, config: Config) -> None:
        """Take the frame of places; objects with places in another one are forgotten."""
        if frame != self._frame:
            if SHARED in self._trackers:
                self._trackers[SHARED].reset()
            self._frame = frame
            self._boxes = TrackBoxes(self._boxes.mode, lift_settings(config, frame).up)

    def _now(self, header: Header) -> int:
        return stamp_ns(header) or int(self._clock.now().nanoseconds)

    def _states(self) -> list[TrackState]:
        states = [state for one in self._trackers.values() for state in one.states()]
        return sorted(states, key=lambda state: (not state.number, state.number))

    def _remembered(self, forgotten: Sequence[TrackState]) -> Remembered:
        return Remembered((*self._states(), *forgotten), self._frame, self._boxes)


def settings_of(config: Config) -> TrackSettings:
    """Return how objects are followed."""
    return TrackSettings(
        gate_m=config.track_gate,
        speed_m_s=config.track_speed,
        sure_presence=config.track_sure_presence,
        empty_s=config.track_empty,
        missed_s=config.track_missed,
        memory_s=config.track_memory,
        smooth_s=config.track_smooth,
    )


def _key(camera: CameraTopic, config: Config) -> str:
    """Return the key of a camera's tracker."""
    return SHARED if camera.space is not None and config.target_frame else camera.name


def _seen(
    camera: CameraTopic, frame: Frame, paired: Paired | None
) -> tuple[View, tuple[Observation, ...]]:
    """Return what a frame shows, for a tracker.

    :param paired: None to follow objects in the picture.
    """
    result, space = frame.result, frame.space
    if paired is None or space is None or space.failure is not None or space.depth is None:
        view = View(camera.name, result.size_hw, image_rgb=frame.image_rgb)
        return view, tuple(Observation.of(segment) for segment in result.segments)
    view = View(camera.name, result.size_hw, space.depth, paired.to_target, frame.image_rgb)
    pairs = zip(result.segments, space.lifted, strict=True)
    return view, tuple(Observation.of(segment, lifted) for segment, lifted in pairs)


def _forgotten(states: Iterable[TrackState]) -> list[TrackState]:
    return [state for state in states if state.state is State.FORGOTTEN]


def _aged(
    trackers: Iterable[Tracker], now_ns: int, labels: Sequence[str] | None = None
) -> list[TrackState]:
    """Let time pass for trackers; return what they forgot."""
    return [state for tracker in trackers for state in tracker.advance(now_ns, labels)]
