"""Data that crosses layers: frozen, validated dataclasses.

Shape letters: B images, T texts, N tokens, C channels, H W pixels, h w grid, P points, M masks.
Pixels are (x, y) in the source image unless a name says ``_hw`` (rows, columns).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_LABEL = 255
"""Class-mask value of a pixel that belongs to no label."""


@dataclass(frozen=True)
class Label:
    """One thing to find.

    :param name: what the user wrote, trimmed; the class id of detections.
    :param parts: the texts to compare; ``a+b`` has two parts. A part such as ``mug|cup`` has
        several names of one thing.
    :param threshold: raw similarity below which tokens are ignored; None for the pipeline's own.

    >>> Label("key+lock", ("key", "lock"), threshold=0.2).parts
    ('key', 'lock')
    """

    name: str
    parts: tuple[str, ...]
    threshold: float | None = None


@dataclass(frozen=True)
class Query:
    """Labels to find, with the sequence number that results carry.

    >>> Query((Label("red mug", ("red mug",)), Label("saw", ("saw",))), sequence=3).names
    ('red mug', 'saw')
    """

    labels: tuple[Label, ...] = ()
    sequence: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(label.name for label in self.labels)


@dataclass(frozen=True)
class PointPrompts:
    """Prompt points of one mask.

    :param xy: (P, 2) int32, pixels of the source image.
    :param positive: (P,) bool, True inside the object, False outside.
    :raises ValueError: when the shapes do not fit.

    >>> prompts = PointPrompts(np.array([[40, 30], [5, 5]], np.int32), np.array([True, False]))
    >>> prompts.xy[prompts.positive].tolist()
    [[40, 30]]
    """

    xy: NDArray[np.int32]
    positive: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.xy.ndim != 2 or self.xy.shape[1] != 2 or len(self.xy) != len(self.positive):
            raise ValueError(
                f"points want xy (P, 2) and positive (P,), got {self.xy.shape} "
                f"and {self.positive.shape}"
            )


@dataclass(frozen=True)
class Box:
    """Axis-aligned box in pixels: top-left corner, width and height (both at least 1)."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Segment:
    """One object that was found.

    :param id: from 1, unique in its frame. Of a segment that is followed over time it is the
        object's number, and 0 until the object is confirmed.
    :param label: index into the query's labels.
    :param name: the label's name.
    :param score: confidence, 0 to 1: presence times the probability that the mask is correct.
    :param presence: whether the label is in the image at all, 0 to 1.
    :param similarity: mean raw similarity of the map inside the mask, a cosine, -1 to 1.
    :param agreement: share of the map's mass inside the mask, 0 to 1.
    :param box: tight box of the mask.
    :param mask: (box.height, box.width) bool, cropped to the box.
    :param points: the prompt points that it was decoded from.
    :param appearance: (C,) float32 of length 1, the image's tokens averaged under the mask; None
        if that was not wanted.

    >>> box = Box(x=10, y=20, width=3, height=2)
    >>> points = PointPrompts(np.array([[11, 21]], np.int32), np.array([True]))
    >>> mask = np.ones((2, 3), np.bool_)
    >>> segment = Segment(1, 0, "mug", 0.9, 0.95, 0.4, 0.8, box, mask, points)
    >>> segment.name, int(segment.mask.sum())
    ('mug', 6)
    """

    id: int
    label: int
    name: str
    score: float
    presence: float
    similarity: float
    agreement: float
    box: Box
    mask: NDArray[np.bool_]
    points: PointPrompts
    appearance: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class AbsentLabel:
    """A label that was not found, and why, in a sentence for people.

    :param presence: probability that the label is in the image, 0 to 1; None if the network does
        not know the label.
    :param presence_threshold: a label with a lower presence is absent, 0 to 1; None as above.

    >>> AbsentLabel("saw", "its presence is 0.12, below the threshold of 0.50", 0.12, 0.5).presence
    0.12
    """

    name: str
    reason: str
    presence: float | None = None
    presence_threshold: float | None = None


@dataclass(frozen=True)
class Wanted:
    """Which outputs are needed; the others are not computed.

    >>> Wanted(segments=False)  # maps alone need no segmenter
    Wanted(segments=False, plain_similarity=False, appearance=False)
    """

    segments: bool = True
    plain_similarity: bool = False
    appearance: bool = False


@dataclass(frozen=True)
class Calibration:
    """What the presence and score of a pair of networks were fitted on, and how far they are off.

    A calibration error is the mean distance between a predicted probability and how often it came
    true. The rates are at the default presence threshold.

    :param pictures: number of pictures that they were fitted on.
    :param held_out: number of other pictures, on which the errors and rates were measured.
    :param score_error: upper end of the 95 % interval of the score's calibration error; NaN where
        the score was not fitted, because the pictures had no masks or the recipe has no
        probability.
    :param presence_error: the same of presence.
    :param found: lower end of the 95 % interval of the share of present labels with a segment.
    :param false_alarms: upper end of the 95 % interval of that share of absent labels.

    >>> Calibration(400, 100, 0.05, 0.04, 0.9, 0.03).pictures
    400
    """

    pictures: int
    held_out: int
    score_error: float
    presence_error: float
    found: float
    false_alarms: float

    @property
    def sentence(self) -> str:
        """What it says, for people."""
        score = "" if math.isnan(self.score_error) else f"score to {self.score_error:.2f}, "
        return (
            f"fitted on {self.pictures} pictures; on {self.held_out} others: {score}presence to "
            f"{self.presence_error:.2f}, at least {self.found:.0%} of present labels found, at "
            f"most {self.false_alarms:.0%} false alarms (95 %)"
        )


@dataclass(frozen=True)
class FrameResult:
    """The result of one frame.

    :param size_hw: height and width of the source image.
    :param similarity: (T, h, w) float32 raw similarity on the token grid, one per label: cosines
        after surgery (``heatmap.surgery_cosines``), -1 to 1; for ``a|b`` the maximum, for ``a+b``
        the mean, of those that are in the image.
    :param presence: (T,) float32 in [0, 1], whether the label is in the image.
    :param probabilities: (T,) float32 zero-shot probability over labels and distractors.
    :param thresholds: (T,) float32 raw-similarity threshold of each label.
    :param segments: objects; empty when none was found or ``Wanted.segments`` is False.
    :param absent: labels without a segment, with the reason.
    :param stage_seconds: time per stage, in the order they ran.
    :param plain_similarity: (T, h, w) float32 of the unmodified network, if wanted.
    :param calibration: of presence and score; None if they were not fitted for these networks.

    >>> none = np.zeros(0, np.float32)
    >>> maps = np.zeros((0, 14, 14), np.float32)
    >>> result = FrameResult(Query(), (480, 640), maps, none, none, none)
    >>> result.segments, result.absent
    ((), ())
    """

    query: Query
    size_hw: tuple[int, int]
    similarity: NDArray[np.float32]
    presence: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    segments: tuple[Segment, ...] = ()
    absent: tuple[AbsentLabel, ...] = ()
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    plain_similarity: NDArray[np.float32] | None = None
    calibration: Calibration | None = None
