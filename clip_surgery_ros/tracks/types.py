"""What goes into the tracker for each frame, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.core.types import Box, Segment
from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.lifting import Lifted
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.boxes import TrackBoxes
from clip_surgery_ros.tracks.image_motion import ImageMotion

Floats = NDArray[np.float64]
NO_ID = 0
"""Number of an observation without a confirmed track."""


class State(Enum):
    """What is known of an object now; the values are for messages."""

    TENTATIVE = "tentative"
    """Found too rarely to be sure that it is there; it has no number."""
    SEEN = "seen"
    """Found in the newest frame of a camera."""
    MISSED = "missed"
    """Not found in the newest frame, although its place was in view."""
    HIDDEN = "hidden"
    """Something is in front of its place."""
    OUT_OF_VIEW = "out_of_view"
    """Its place is outside the picture."""
    GONE = "gone"
    """It is no longer at its place, which was looked at."""
    FORGOTTEN = "forgotten"
    """Not seen for ``TrackSettings.memory_s``; said once, then the track is dropped."""


@dataclass(frozen=True)
class Observation:
    """One object that was found in a frame.

    :param label: the label's name.
    :param box: of the mask, pixels.
    :param mask: (box.height, box.width) bool, cropped to the box.
    :param score: that the mask is correct, 0 to 1.
    :param presence: that the label is in the image, 0 to 1.
    :param points: (P, 3) metres in the common frame; None without depth or pose.
    :param partial: something in front or the picture's border cuts the object.
    :param flat: it is hardly higher than what it stands on, so that depth does not tell whether
        it is there.
    :param appearance: (C,) the image's tokens averaged under the mask, of any length; None if
        they are not known.
    """

    label: str
    box: Box
    mask: NDArray[np.bool_]
    score: float
    presence: float
    points: Floats | None = None
    partial: bool = False
    flat: bool = False
    appearance: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        segment: Segment,
        lifted: Lifted | None = None,
    ) -> Observation:
        """Return the observation of a segment, and of its place in space if that is known."""
        reasons = {finding.reason for finding in lifted.findings} if lifted else set()
        return cls(
            segment.name,
            segment.box,
            segment.mask,
            segment.score,
            segment.presence,
            lifted.points if lifted is not None and len(lifted.points) else None,
            bool(reasons & {Reason.HIDDEN, Reason.CUT_BY_BORDER}),
            Reason.FLAT in reasons,
            segment.appearance,
        )


@dataclass(frozen=True)
class View:
    """Where a frame was seen from.

    Places in space are used with depth and pose. Without one of them, objects are followed in the
    image, for which the picture itself is needed where the camera moves.

    :param camera: its name.
    :param size_hw: height and width of the picture that masks are of.
    :param depth: registered to the picture and of its size.
    :param to_common: takes points of the camera's frame to the common frame at the frame's stamp.
    :param image_rgb: (H, W, 3) uint8.
    :param motion: of the picture since the camera's last frame; None to see it in ``image_rgb``.
    :raises SpaceError: depth and picture differ in size.
    """

    camera: str
    size_hw: tuple[int, int]
    depth: DepthImage | None = None
    to_common: Rigid | None = None
    image_rgb: NDArray[np.uint8] | None = None
    motion: ImageMotion | None = None

    def __post_init__(self) -> None:
        shapes = {
            "depth": None if self.depth is None else self.depth.metres.shape,
            "a picture": None if self.image_rgb is None else self.image_rgb.shape,
        }
        for name, shape in shapes.items():
            if shape is not None and shape[:2] != self.size_hw:
                raise SpaceError(
                    f"{name} of {shape[1]} x {shape[0]} pixels with masks of a picture of "
                    f"{self.size_hw[1]} x {self.size_hw[0]}: both must be registered to it"
                )


@dataclass(frozen=True)
class TrackSettings:
    """How tracks are kept. All times are seconds, whatever the rate of frames.

    :param gate_m: how far from its last place an object is looked for, metres: more than the
        errors of depth and pose together, less than two objects of a table are apart.
    :param speed_m_s: by how much the gate grows for each second in which the object was not
        seen: as objects are carried by hand. It grows for at most 2 s, or it would reach all
        others.
    :param confirm_s: a track without number that is not found again within this time, although
        it was looked for, was a false detection.
    :param sure_presence: of this presence, one sighting is enough for a number.
    :param empty_s: so long a place must be seen empty until its object is gone.
    :param missed_s: so long an object must be missed, where depth does not tell that its place
        is empty. Detectors lose an object for a second or two.
    :param memory_s: so long an object is remembered that is looked for and not seen, or that
        nothing looks for, as its label is not asked for or no frame is processed.
    :param smooth_s: time constant of the running score and presence: as long as an observer
        waits before believing a change.
    """

    gate_m: float = 0.10
    speed_m_s: float = 0.25
    confirm_s: float = 1.0
    sure_presence: float = 0.9
    empty_s: float = 1.0
    missed_s: float = 3.0
    memory_s: float = 60.0
    smooth_s: float = 2.0


@dataclass(frozen=True)
class TrackState:
    """What is known of an object.

    :param number: from 1, never used for another object; :data:`NO_ID` while tentative.
    :param label: name of the label.
    :param state: what is known now.
    :param reason: in words, why it is not seen; empty while it is seen.
    :param asked: whether the newest query asks for its label; if not, the state is that of the
        last time.
    :param first_ns: stamp of the first sighting.
    :param seen_ns: stamp of the last sighting.
    :param stamp_ns: of the newest frame.
    :param sightings: in how many frames it was found.
    :param score: running estimate of the score, 0 to 1; a frame in which it is missed counts 0.
    :param presence: the same of the presence.
    :param camera: that saw it last.
    :param box: in that camera's picture when it was last seen, pixels.
    :param points: (P, 3) float32, metres in the common frame, of all views; empty without depth.
    :param velocity: (3,) m/s; 0 while it rests.
    """

    number: int
    label: str
    state: State
    reason: str
    asked: bool
    first_ns: int
    seen_ns: int
    stamp_ns: int
    sightings: int
    score: float
    presence: float
    camera: str
    box: Box
    points: NDArray[np.float32]
    velocity: Floats

    @property
    def id(self) -> str:
        """Label and number, as messages have it ("red mug/3"); empty while tentative."""
        return f"{self.label}/{self.number}" if self.number else ""

    @property
    def age_s(self) -> float:
        """Seconds since the first sighting."""
        return (self.stamp_ns - self.first_ns) / 1e9

    @property
    def unseen_s(self) -> float:
        """Seconds since the last sighting."""
        return (self.stamp_ns - self.seen_ns) / 1e9

    @property
    def place(self) -> Floats | None:
        """Middle of its points, (3,) metres in the common frame; None without depth."""
        if not len(self.points):
            return None
        low, high = np.quantile(self.points, [0.01, 0.99], axis=0)
        return np.asarray((low + high) / 2, np.float64)


@dataclass(frozen=True)
class Remembered:
    """All objects that a node remembers.

    :param tracks: the oldest number first, then tentative ones.
    :param frame: of their places; empty if none has a place.
    :param boxes: makes their boxes.
    """

    tracks: tuple[TrackState, ...] = ()
    frame: str = ""
    boxes: TrackBoxes = field(default_factory=TrackBoxes)

    def of(self, number: int) -> TrackState | None:
        """Return the object of a number; None if there is none, as for :data:`NO_ID`."""
        found = (track for track in self.tracks if track.number == number)
        return next(found, None) if number != NO_ID else None

    def box(self, track: TrackState) -> SpaceBox | None:
        """Return the box round the points of all views of an object; None if it has no place."""
        return self.boxes.of(track.number, track.points)


def shown_id(segment: Segment, remembered: Remembered | None) -> str:
    """Return a segment's id as messages have it: of the object ("red mug/3"), which is empty
    until it is confirmed, or without tracking the segment's own.
    """
    if remembered is None:
        return str(segment.id)
    track = remembered.of(segment.id)
    return track.id if track is not None else ""


@dataclass(frozen=True)
class TrackedFrame:
    """The objects after a frame.

    :param numbers: of each observation, in their order; :data:`NO_ID` where it is not confirmed.
        No number is there twice.
    :param tracks: all objects that are remembered, and those that this frame forgot.
    """

    numbers: tuple[int, ...]
    tracks: tuple[TrackState, ...]

    def of(self, number: int) -> TrackState | None:
        """Return the object of a number, if it is remembered."""
        found = (track for track in self.tracks if track.number == number)
        return next(found, None) if number != NO_ID else None
