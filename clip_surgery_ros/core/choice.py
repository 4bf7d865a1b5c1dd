"""Which of the candidates of a label's prompts are its objects: the best of each, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.ranking import (
    candidate_features,
    overlap,
    predicted_iou,
    raster_maps,
    rasterize,
)

LEAST_QUALITY = 0.45
"""Of a label's second and further objects. On development scenes 0.5 found 3 % fewer of several
alike, and with 0.4 one in a hundred more of all segments were wrong."""
OVERLAP, CONTAINED = 0.4, 0.8
"""Two masks of a label are of one object from this IoU on, or this share of the later inside the
one before."""
PART, APART, WHOLE = 0.7, 0.45, 0.8
"""Masks are objects that another mask takes for one when each has at most this share of its area,
they share at most this of the smaller's, and together they cover this of it."""


@dataclass(frozen=True)
class Choice:
    """A candidate taken for an object.

    :param prompt: index of its prompt.
    :param logits: (l, l).
    :param quality: predicted IoU, 0 to 1.
    :param further: whether its label has a better one.
    """

    prompt: int
    logits: torch.Tensor
    quality: float
    further: bool = False


@dataclass(frozen=True)
class Candidate:
    """A mask that a prompt offers, judged.

    :param label: index of the prompt's label.
    :param mask: (R, C) on the raster.
    :param features: (F,) columns ``ranking.FEATURES``.
    :param best: is it the best of its prompt?
    """

    choice: Choice
    label: int
    mask: NDArray[np.bool_]
    features: NDArray[np.float32]
    best: bool


def rank_candidates(
    offered: Sequence[MaskCandidates],
    labels: Sequence[int],
    maps: NDArray[np.float32],
    inner_hw: tuple[int, int],
) -> list[Candidate]:
    """The candidates of all prompts, in order.

    :param offered: of one prompt each.
    :param labels: index into ``maps`` of each prompt's label.
    :param maps: (T, h, w) similarity of every label that is in the picture.
    :param inner_hw: rows and columns of the logits that show the image.
    """
    pool: list[Candidate] = []
    rasters = [rasterize(candidates, inner_hw) for candidates in offered]
    fields = raster_maps(maps, (rasters[0].shape[1], rasters[0].shape[2])) if offered else []
    for prompt, (candidates, masks) in enumerate(zip(offered, rasters, strict=True)):
        label = labels[prompt]
        features = candidate_features(masks, candidates.quality, fields[label])
        quality = predicted_iou(features)
        best = int(quality.argmax())
        pool += [
            Candidate(
                Choice(prompt, candidates.logits[index], float(quality[index])),
                label,
                masks[index],
                features[index],
                index == best,
            )
            for index in range(len(masks))
        ]
    return pool


def choose_objects(pool: Sequence[Candidate]) -> list[Choice]:
    """The objects among all candidates: the best of each prompt, then none twice.

    :returns: in order of label, the best first.
    """
    return [
        replace(found.choice, further=place > 0)
        for label in sorted({one.label for one in pool})
        for place, found in enumerate(_objects([one for one in pool if one.label == label]))
    ]


def _objects(pool: Sequence[Candidate]) -> list[Candidate]:
    """The objects among all candidates of a label, the best first."""
    clicks = [one for one in pool if one.best]
    return _distinct([part for whole in _distinct(clicks) for part in _apart(whole, clicks)])


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    kept = distinct([one.mask for one in candidates], [one.choice.quality for one in candidates])
    return [candidates[index] for index in kept]


def _apart(whole: Candidate, clicks: Sequence[Candidate]) -> list[Candidate]:
    """The objects that a mask takes for one; itself when it is of one object.

    A click between objects that look alike gives a mask of them all, which fits the map as well
    as theirs do; but then clicks on each have their own best. That a click offers a part beside
    the whole says nothing: SAM offers parts of everything.

    :param clicks: the best candidates of the label's clicks.
    """
    parts: list[Candidate] = []
    for one in sorted(clicks, key=lambda one: -one.choice.quality):
        good = one.choice.quality >= LEAST_QUALITY and _is_part(one.mask, whole.mask)
        if good and all(_shared(one.mask, part.mask) <= APART for part in parts):
            parts.append(one)
    covered = np.any([part.mask for part in parts], axis=0) & whole.mask
    enough = np.count_nonzero(covered) >= WHOLE * np.count_nonzero(whole.mask)
    return parts if len(parts) > 1 and enough else [whole]


def _is_part(mask: NDArray[np.bool_], whole: NDArray[np.bool_]) -> bool:
    """Whether the mask is smaller than the whole, and inside it."""
    area = np.count_nonzero(mask)
    inside = np.count_nonzero(mask & whole)
    return bool(0 < area <= PART * np.count_nonzero(whole) and inside > CONTAINED * area)


def _shared(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of the smaller that lies in the other; neither is empty."""
    smaller = min(np.count_nonzero(one), np.count_nonzero(other))
    return np.count_nonzero(one & other) / smaller


def distinct(masks: Sequence[NDArray[np.bool_]], quality: Sequence[float]) -> list[int]:
    """Indices of the masks of one label that are objects of their own, best first.

    The best is always one; others only from :data:`LEAST_QUALITY` on, and where they repeat none
    before.

    :param masks: (R, C) each.
    """
    kept: list[int] = []
    for index in np.argsort(-np.asarray(quality), kind="stable").tolist():
        mask = masks[index]
        good = mask.any() and (not kept or quality[index] >= LEAST_QUALITY)
        if good and not any(_repeats(mask, masks[before]) for before in kept):
            kept.append(index)
    return kept


def _repeats(mask: NDArray[np.bool_], before: NDArray[np.bool_]) -> bool:
    inside = np.count_nonzero(mask & before) / np.count_nonzero(mask)
    return bool(inside > CONTAINED or overlap(mask, before) > OVERLAP)
