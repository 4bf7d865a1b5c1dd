"""Data that crosses layers: frozen, validated dataclasses.

Shape letters: B images, T texts, N tokens, C channels, H W pixels, h w grid, P points, M masks.
Pixels are (x, y) in the source image unless a name says ``_hw`` (rows, columns).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_LABEL = 255
"""Class-mask value of a pixel that belongs to no label."""


@dataclass(frozen=True)
class Label:
    """One thing asked for.

    :param name: what the user wrote, trimmed; the class id of detections.
    :param parts: the texts to score; more than one for ``a+b`` asked together. A part such as
        ``mug|cup`` names one thing by synonyms.
    :param threshold: raw similarity below which a token counts as nothing; None takes the
        pipeline's own.
    """

    name: str
    parts: tuple[str, ...]
    threshold: float | None = None


@dataclass(frozen=True)
class Query:
    """Labels asked for, with the sequence number that results carry."""

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
    """One found object.

    :param id: from 1, unique in its frame.
    :param label: index into the query's labels.
    :param name: the label's name.
    :param score: published confidence, 0 to 1: presence times how likely the mask is right.
    :param presence: is the label in the picture at all, 0 to 1.
    :param similarity: mean raw similarity of the map inside the mask, a cosine, -1 to 1.
    :param agreement: how well mask and map agree, 0 to 1 (share of the map's mass inside).
    :param box: tight box of the mask.
    :param mask: (box.height, box.width) bool, cropped to the box.
    :param points: the prompt points that made it.
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


@dataclass(frozen=True)
class AbsentLabel:
    """A label that was not found, and why, in a sentence for people."""

    name: str
    reason: str


@dataclass(frozen=True)
class Wanted:
    """Which outputs somebody reads; the others are not computed."""

    segments: bool = True
    plain_similarity: bool = False


@dataclass(frozen=True)
class FrameResult:
    """Everything known of one frame.

    :param size_hw: height and width of the source image.
    :param similarity: (T, h, w) float32 raw similarity on the token grid, one per label: cosines
        after surgery (``heatmap.surgery_cosines``), -1 to 1; of ``a|b`` the higher, of ``a+b`` the
        mean of those that are there.
    :param presence: (T,) float32 in [0, 1], is the label in the picture.
    :param probabilities: (T,) float32 zero-shot probability over labels and distractors.
    :param thresholds: (T,) float32 raw-similarity threshold in use per label.
    :param segments: found objects; empty when none was found or ``Wanted.segments`` is False.
    :param absent: labels without a segment, with the reason.
    :param stage_seconds: time per stage, in the order they ran.
    :param plain_similarity: (T, h, w) float32 of the unmodified network, if wanted.
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
