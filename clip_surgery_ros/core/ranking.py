"""Which of SAM's candidate masks are the label's objects: judged by the map, not by SAM alone.

SAM's own score picks the best of its three masks about half of the time, since it does not know
what was asked. A quadratic model of a few features, none of which would do alone, predicts a
candidate's IoU with an object of the label. Its weights are fitted on development scenes with the
demo's networks (``clip_surgery train-demo ranking``); the features are shares and ranges, so that
they mean the same for other networks, but nobody has measured those yet.

Everything happens on the coarse raster of SAM's low-resolution logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
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
    "wins",  # share of the mask where no map of another label that is there is higher
    "border",  # share of the picture's border that the mask touches
    "one",
)
"""Maps are scaled to 0 to 1 each."""
WEIGHTS = np.array(
    [
        [-0.015, 0.239, -0.053, 0.038, -0.057, 0.004, 0.213, 0.000, -0.104],  # score
        [0.000, 0.483, -0.162, 0.051, -0.462, 0.157, 0.698, 0.001, -0.164],  # inside
        [0.000, 0.000, -0.095, -0.031, 0.035, -0.037, -0.187, 0.000, -0.108],  # ring
        [0.000, 0.000, 0.000, -0.016, 0.169, 0.049, -0.033, 0.000, 0.063],  # outside
        [0.000, 0.000, 0.000, 0.000, 0.011, 0.109, 0.273, 0.000, 0.291],  # coverage
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.008, 0.092, 0.000, -0.081],  # agreement
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.000, -0.377, -0.001, -0.038],  # wins
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000],  # border
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.021],  # one
    ],
    np.float32,
)
"""Of the product of a row's feature with a column's: ``train-demo ranking --scenes 60``, 300
development scenes, correlation with IoU 0.924."""
CHANCE, CHANCE_FURTHER = (-3.40, 9.04), (-8.36, 15.14)
"""Offset and scale of the logistic models that make predicted IoU the chance of IoU 0.5 with an
object that no better mask has: of a label's best mask, and of its others, which are parts or
neighbours more often. ``train-demo ranking --scenes 60``: 420 development scenes of all sets."""


def probability_correct(quality: float, further: bool) -> float:
    """How likely a mask of this predicted IoU is right, 0 to 1 (Platt 1999).

    :param further: whether its label has a better one.
    """
    offset, scale = CHANCE_FURTHER if further else CHANCE
    return 1 / (1 + math.exp(-(offset + scale * quality)))


def rasterize(candidates: MaskCandidates, inner_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(M, R, C) masks of the image, thinned to at most :data:`RASTER` rows and columns."""
    step = max(1, -(-max(inner_hw) // RASTER))
    shown = candidates.logits[:, : inner_hw[0] : step, : inner_hw[1] : step]
    return np.asarray((shown > 0).cpu().numpy())


@dataclass(frozen=True)
class RasterMap:
    """A label's map on the raster.

    :param own: (R, C) scaled to 0 to 1.
    :param wins: (R, C) bool, where no rival's map is higher.
    """

    own: NDArray[np.float32]
    wins: NDArray[np.bool_]


def raster_maps(maps: NDArray[np.float32], raster_hw: tuple[int, int]) -> list[RasterMap]:
    """One for each label that is in the picture; the others are its rivals.

    Who wins is told by the maps as they are: stretched to 0 to 1, the map of something that is
    hardly there would be as high as that of what is.

    :param maps: (T, h, w) similarity, cosines.
    """
    raw = np.stack([_on_raster(one, raster_hw) for one in maps])
    highest = raw.max(axis=0)
    return [
        RasterMap(_on_raster(_stretched(one), raster_hw), here >= highest)
        for one, here in zip(maps, raw, strict=True)
    ]


def _on_raster(values: NDArray[np.float32], raster_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A (h, w) map, bilinear at (R, C)."""
    return np.asarray(cv2.resize(values, raster_hw[::-1], interpolation=cv2.INTER_LINEAR))


def _stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled to 0 to 1; constant values become 0."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def candidate_features(
    masks: NDArray[np.bool_], scores: NDArray[np.float32], label: RasterMap
) -> NDArray[np.float32]:
    """What is known of the candidates of one prompt.

    :param masks: (M, R, C) :func:`rasterize`.
    :param scores: (M,), the segmenter's own.
    :param label: of the label that the prompt asks for.
    :returns: (M, F), columns :data:`FEATURES`; zeros for an empty mask.
    """
    features = np.zeros((len(masks), len(FEATURES)), np.float32)
    mass = np.maximum(label.own - MASS_FROM, 0)
    for index, mask in enumerate(masks):
        if mask.any():
            features[index] = (
                scores[index],
                label.own[mask].mean(),
                _mean(label.own, _ring(mask)),
                _mean(label.own, ~mask),
                mass[mask].sum() / max(float(mass.sum()), 1e-6),
                max((overlap(mask, other) for other in _others(masks, index)), default=0.0),
                label.wins[mask].mean(),
                _border_share(mask),
                1.0,
            )
    return features


def predicted_iou(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, F) to (M,) IoU with an object of the label, as the model expects it, 0 to 1."""
    return np.clip(np.einsum("mf,fg,mg->m", features, WEIGHTS, features), 0, 1)


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union; 0 of two empty masks."""
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
