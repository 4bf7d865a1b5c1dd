"""Which of SAM's candidate masks are the label's objects: judged by the map, not by SAM alone.

SAM's own score picks the best of its three masks about half of the time, since it does not know
what was asked. A linear model of a few features, none of which would do alone, predicts a
candidate's IoU with an object of the label. Its weights are fitted on development scenes with the
demo's networks (``clip_surgery train-demo ranking``); the features are shares and ranges, so that
they mean the same for other networks, but nobody has measured those yet.

Everything happens on the coarse raster of SAM's low-resolution logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.interfaces import MaskCandidates

RASTER = 64
"""Most rows and columns that candidates are judged on: finer than any map, and fast."""
RING = 7
"""Side in cells of the square that a mask is widened by to see its surroundings: three cells."""
MASS_FROM = 0.5
"""Share of a map's range from which it counts as the object's mass."""
FEATURES: tuple[str, ...] = (
    "score",  # the segmenter's own estimate
    "inside",  # mean of the label's map inside
    "ring",  # and around
    "outside",  # and everywhere else
    "coverage",  # share of the map's mass that lies inside
    "agreement",  # largest overlap with another candidate of the same prompt
    "wins",  # share of the mask where no other label's map is higher
    "border",  # share of the picture's border that the mask touches
    "one",
)
"""Maps are scaled to 0 to 1 each."""
WEIGHTS = np.array([0.149, 1.213, -0.621, 0.663, 0.326, 0.083, 0.154, 0.311, -0.700], np.float32)
"""``train-demo ranking --scenes 150``: 450 development scenes, correlation with IoU 0.893."""
CHANCE = (-7.21, 13.82)
"""Offset and scale of the logistic model that makes predicted IoU the chance of IoU 0.5 with an
object that no better mask has; from the same command."""
LEAST_QUALITY = 0.5
"""Of a label's second and further objects: right more often than not."""
OVERLAP, CONTAINED = 0.5, 0.8
"""Two masks of a label are of one object from this IoU on, or this share of the later inside the
one before."""
PART, APART, WHOLE = 0.7, 0.3, 0.8
"""Masks are objects that another mask takes for one when each has at most this share of its area,
they share at most this of the smaller's, and together they cover this of it."""


@dataclass(frozen=True)
class Choice:
    """A candidate taken for an object.

    :param prompt: index of its prompt.
    :param logits: (l, l).
    :param quality: predicted IoU, 0 to 1.
    """

    prompt: int
    logits: torch.Tensor
    quality: float


def chance(quality: float) -> float:
    """How likely a mask of this predicted IoU is right, 0 to 1 (Platt 1999)."""
    offset, scale = CHANCE
    return 1 / (1 + math.exp(-(offset + scale * quality)))


def instances(
    offered: Sequence[MaskCandidates],
    labels: Sequence[int],
    maps: NDArray[np.float32],
    inner_hw: tuple[int, int],
) -> list[Choice]:
    """The objects among the candidates of all prompts: the best of each, then none twice.

    :param offered: of one prompt each.
    :param labels: index into ``maps`` of each prompt's label.
    :param maps: (T, h, w) similarity of every label asked for.
    :param inner_hw: rows and columns of the logits that show the image.
    :returns: in order of label, the best first.
    """
    pools: dict[int, list[_Candidate]] = {}
    for prompt, (candidates, label) in enumerate(zip(offered, labels, strict=True)):
        masks = _rastered(candidates, inner_hw)
        quality = predicted_iou(_judged(masks, candidates.scores, maps, label))
        best = int(quality.argmax())
        pools.setdefault(label, []).extend(
            _Candidate(Choice(prompt, logits, float(value)), mask, index == best)
            for index, (logits, value, mask) in enumerate(
                zip(candidates.logits, quality, masks, strict=True)
            )
        )
    return [one.choice for _, pool in sorted(pools.items()) for one in _objects(pool)]


@dataclass(frozen=True)
class _Candidate:
    """A candidate with its mask on the raster; is it the best of its prompt?"""

    choice: Choice
    mask: NDArray[np.bool_]
    best: bool


def _objects(pool: Sequence[_Candidate]) -> list[_Candidate]:
    """The objects among all candidates of a label, the best first."""
    found = _distinct([one for one in pool if one.best])
    return _distinct([part for whole in found for part in _apart(whole, pool)])


def _distinct(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    kept = distinct([one.mask for one in candidates], [one.choice.quality for one in candidates])
    return [candidates[index] for index in kept]


def _apart(whole: _Candidate, pool: Sequence[_Candidate]) -> list[_Candidate]:
    """The objects that a mask takes for one; itself when it is of one object.

    A click between objects that look alike gives a mask of them all, which fits the map as well
    as theirs do; but then other candidates show each by itself.
    """
    parts: list[_Candidate] = []
    for one in sorted(pool, key=lambda one: -one.choice.quality):
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


def features_of(
    candidates: MaskCandidates,
    label: int,
    maps: NDArray[np.float32],
    inner_hw: tuple[int, int],
) -> NDArray[np.float32]:
    """(M, F) :func:`candidate_features` of one prompt; parameters as in :func:`instances`."""
    return _judged(_rastered(candidates, inner_hw), candidates.scores, maps, label)


def _rastered(candidates: MaskCandidates, inner_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(M, R, C) masks of the image, thinned to at most :data:`RASTER` rows and columns."""
    step = max(1, -(-max(inner_hw) // RASTER))
    shown = candidates.logits[:, : inner_hw[0] : step, : inner_hw[1] : step]
    return np.asarray((shown > 0).cpu().numpy())


def _judged(
    masks: NDArray[np.bool_],
    scores: NDArray[np.float32],
    maps: NDArray[np.float32],
    label: int,
) -> NDArray[np.float32]:
    own, rival = _own_and_rival(maps, label, (masks.shape[1], masks.shape[2]))
    return candidate_features(masks, scores, own, rival)


def _own_and_rival(
    maps: NDArray[np.float32], label: int, raster_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The label's map on the raster, and the highest of the others'; zeros where none is."""
    scaled = [on_raster(one, raster_hw) for one in maps]
    rivals = [one for index, one in enumerate(scaled) if index != label]
    return scaled[label], np.max(rivals, axis=0) if rivals else np.zeros_like(scaled[label])


def on_raster(values: NDArray[np.float32], raster_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A (h, w) map scaled to 0 to 1, bilinear at (R, C); a constant one is 0."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.asarray(cv2.resize(scaled, raster_hw[::-1], interpolation=cv2.INTER_LINEAR))


def candidate_features(
    masks: NDArray[np.bool_],
    scores: NDArray[np.float32],
    own: NDArray[np.float32],
    rival: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What is known of the candidates of one prompt.

    :param masks: (M, R, C).
    :param scores: (M,), the segmenter's own.
    :param own: (R, C) map of the label asked for, 0 to 1.
    :param rival: (R, C) highest of the other labels' maps, 0 to 1.
    :returns: (M, F), columns :data:`FEATURES`; zeros for an empty mask.
    """
    features = np.zeros((len(masks), len(FEATURES)), np.float32)
    mass = np.maximum(own - MASS_FROM, 0)
    for index, mask in enumerate(masks):
        if mask.any():
            features[index] = (
                scores[index],
                own[mask].mean(),
                _mean(own, _ring(mask)),
                _mean(own, ~mask),
                mass[mask].sum() / max(float(mass.sum()), 1e-6),
                max((_overlap(mask, other) for other in _others(masks, index)), default=0.0),
                (own[mask] > rival[mask]).mean(),
                _border_share(mask),
                1.0,
            )
    return features


def predicted_iou(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, F) to (M,) IoU with an object of the label, as the model expects it, 0 to 1."""
    return np.clip(features @ WEIGHTS, 0, 1)


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
    return bool(inside > CONTAINED or _overlap(mask, before) > OVERLAP)


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def _others(masks: NDArray[np.bool_], index: int) -> list[NDArray[np.bool_]]:
    return [mask for place, mask in enumerate(masks) if place != index]


def _ring(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((RING, RING), np.uint8)) > 0
    return np.asarray(wide & ~mask)


def _mean(values: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Mean of the chosen cells, 0 of none."""
    return float(values[where].mean()) if where.any() else 0.0


def _border_share(mask: NDArray[np.bool_]) -> float:
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return sum(np.count_nonzero(edge) for edge in edges) / sum(len(edge) for edge in edges)
