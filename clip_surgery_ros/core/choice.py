"""Choice of masks: which of SAM's candidates are the objects of a label, each object once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.ranking import (
    RankingModel,
    candidate_features,
    overlap,
    raster_maps,
    rasterize,
)

MIN_QUALITY = 0.45
"""Predicted IoU that the second and further objects of a label need. On development scenes, 0.5
found 3 % fewer of several alike objects; with 0.4, 1 % more of all segments were wrong."""
MIN_OWN_QUALITY = 0.6
"""The same where nothing was fitted for the networks, and quality is the segmenter's own estimate
times the height of the map. In the study of transfer (``docs/transfer.md``), 0.02 to 0.17 more of
the objects were found than with the demo's ranking by CLIPs that were trained without masks, and
at most 0.08 fewer masks were right; with 0.45, 0.05 to 0.1 fewer still."""
MAX_IOU, MAX_CONTAINED = 0.4, 0.8
"""Two masks of a label show the same object when their IoU is above the first value, or when the
mask of lower quality has more than the second share of its area inside the better mask."""
MAX_PART_AREA = 0.7
"""Largest area of a part, as a share of the area of the mask that it may replace."""
MAX_PART_OVERLAP = 0.45
"""Largest overlap of two parts of one mask, as a share of the smaller part's area."""
MIN_COVERAGE = 0.8
"""Smallest share of a mask that its parts must cover together to replace it."""


@dataclass(frozen=True)
class Choice:
    """A candidate that becomes a segment.

    :param prompt: index of its prompt.
    :param logits: (l, l).
    :param quality: estimated IoU, 0 to 1: predicted by ``core.ranking``, or SAM's own estimate.
    :param is_further: whether the label has a better mask than this.
    """

    prompt: int
    logits: torch.Tensor
    quality: float
    is_further: bool = False


@dataclass(frozen=True)
class Candidate:
    """A mask that a prompt offers, with its predicted IoU.

    :param label: index of the prompt's label.
    :param mask: (R, C) on the raster.
    :param features: (F,), see ``ranking.FEATURES``.
    :param is_best: whether it has the highest quality of its prompt.
    """

    choice: Choice
    label: int
    mask: NDArray[np.bool_]
    features: NDArray[np.float32]
    is_best: bool


def rank_candidates(
    offered: Sequence[MaskCandidates],
    labels: Sequence[int],
    maps: NDArray[np.float32],
    inner_hw: tuple[int, int],
    model: RankingModel | None = RankingModel(),
    heights: Sequence[float] = (),
) -> list[Candidate]:
    """Return the candidates of all prompts with their predicted IoU, in order of prompt.

    Without a model, quality is the segmenter's own estimate times the height of the map at the
    click: nothing in it is fitted, and it grows with both.

    :param offered: candidates of each prompt.
    :param labels: index into ``maps`` of each prompt's label.
    :param maps: (T, h, w) similarity of every label that is in the image.
    :param inner_hw: rows and columns of the logits that show the image.
    :param model: predicts the IoU.
    :param heights: of each prompt, 0 to 1, see ``points.height_at``; read without a model only.
    """
    if not offered:
        return []
    counts = [len(candidates.quality) for candidates in offered]
    prompts = np.repeat(np.arange(len(offered)), counts)
    label_of = np.repeat(np.asarray(labels, np.intp), counts)
    masks = rasterize(offered, inner_hw)
    own_quality = np.concatenate([candidates.quality for candidates in offered])
    raster_hw = (masks.shape[1], masks.shape[2])
    features = candidate_features(
        masks, own_quality, prompts, label_of, raster_maps(maps, raster_hw)
    )
    if model:
        quality = model.predicted_iou(features)
    else:
        quality = own_quality.clip(0, 1) * np.repeat(np.asarray(heights, np.float32), counts)
    pool: list[Candidate] = []
    for prompt, candidates in enumerate(offered):
        first = len(pool)
        best = first + int(quality[first : first + counts[prompt]].argmax())
        pool += [
            Candidate(
                Choice(prompt, logits, float(quality[row])),
                labels[prompt],
                masks[row],
                features[row],
                row == best,
            )
            for row, logits in enumerate(candidates.logits, first)
        ]
    return pool


def choose_objects(pool: Sequence[Candidate], min_quality: float = MIN_QUALITY) -> list[Choice]:
    """Return one choice per object: of each prompt the best candidate, then each object once.

    :param min_quality: that the second and further objects of a label need.
    :returns: in order of label, the best of each label first.
    """
    return [
        replace(candidate.choice, is_further=index > 0)
        for label in sorted({candidate.label for candidate in pool})
        for index, candidate in enumerate(
            _objects([candidate for candidate in pool if candidate.label == label], min_quality)
        )
    ]


def _objects(pool: Sequence[Candidate], min_quality: float) -> list[Candidate]:
    """Return the objects of one label, the best first."""
    best = [candidate for candidate in pool if candidate.is_best]
    whole = _distinct(best, min_quality)
    parts = [part for mask in whole for part in _split(mask, best, min_quality)]
    return _distinct(parts, min_quality)


def _distinct(candidates: Sequence[Candidate], min_quality: float) -> list[Candidate]:
    masks = [candidate.mask for candidate in candidates]
    quality = [candidate.choice.quality for candidate in candidates]
    return [candidates[index] for index in distinct(masks, quality, min_quality)]


def _split(merged: Candidate, best: Sequence[Candidate], min_quality: float) -> list[Candidate]:
    """Return the objects that a mask merges; the mask itself if it shows one object.

    A prompt between objects that look alike gives a mask of them all, which fits the map as well
    as a mask of each object. Then other prompts have the single objects as their best candidates.
    Only best candidates count as parts: SAM offers a part of nearly every object beside the whole.

    :param best: the best candidates of the label's prompts.
    """
    parts: list[Candidate] = []
    for candidate in sorted(best, key=lambda candidate: -candidate.choice.quality):
        is_part = candidate.choice.quality >= min_quality and _is_part(candidate.mask, merged.mask)
        if is_part and all(
            _shared_area(candidate.mask, part.mask) <= MAX_PART_OVERLAP for part in parts
        ):
            parts.append(candidate)
    covered = np.any([part.mask for part in parts], axis=0) & merged.mask
    is_covered = np.count_nonzero(covered) >= MIN_COVERAGE * np.count_nonzero(merged.mask)
    return parts if len(parts) > 1 and is_covered else [merged]


def _is_part(mask: NDArray[np.bool_], merged: NDArray[np.bool_]) -> bool:
    """Whether a mask is smaller than another one and inside it."""
    area = np.count_nonzero(mask)
    inside = np.count_nonzero(mask & merged)
    return bool(
        0 < area <= MAX_PART_AREA * np.count_nonzero(merged) and inside > MAX_CONTAINED * area
    )


def _shared_area(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the share of the smaller mask that lies in the other; neither is empty."""
    smaller = min(np.count_nonzero(a), np.count_nonzero(b))
    return np.count_nonzero(a & b) / smaller


def distinct(
    masks: Sequence[NDArray[np.bool_]],
    quality: Sequence[float],
    min_quality: float = MIN_QUALITY,
) -> list[int]:
    """Return the indices of masks that show different objects of one label, best first.

    The best mask always stays. The others stay from ``min_quality`` on, if they do not show the
    object of a better mask.

    :param masks: (R, C) each.
    """
    kept: list[int] = []
    for index in np.argsort(-np.asarray(quality), kind="stable").tolist():
        mask = masks[index]
        is_good = mask.any() and (not kept or quality[index] >= min_quality)
        if is_good and not any(_is_same_object(mask, masks[better]) for better in kept):
            kept.append(index)
    return kept


def _is_same_object(mask: NDArray[np.bool_], better: NDArray[np.bool_]) -> bool:
    inside = np.count_nonzero(mask & better) / np.count_nonzero(mask)
    return bool(inside > MAX_CONTAINED or overlap(mask, better) > MAX_IOU)
