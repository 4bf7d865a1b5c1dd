"""Ranking of SAM's candidates: the IoU that each mask has with an object of the label.

SAM's own estimate picks the best of its three masks in about half of the cases, because SAM does
not know the label. A quadratic model of a few features, none of which is enough alone, predicts
the IoU from the label's map. Its weights were fitted on development scenes with the demo's
networks (``clip_surgery train-demo ranking``). The features are shares and ranges, so that they
have the same meaning for other networks, but the model was not measured with those yet.

All masks and maps here have the size of the coarse raster: SAM's low-resolution logits, thinned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.interfaces import MaskCandidates

RASTER = 64
"""Largest number of rows and columns of the raster: finer than any map, and fast."""
RING = 7
"""Side in cells of the square that dilates a mask to its surroundings: 3 cells on each side."""
MASS_FROM = 0.5
"""Share of a map's range from which values count as the map's mass."""
FEATURES: tuple[str, ...] = (
    "quality",  # the segmenter's own estimate of IoU
    "inside",  # mean of the label's map inside the mask
    "ring",  # mean around the mask
    "outside",  # mean outside the mask
    "coverage",  # share of the map's mass that lies inside
    "agreement",  # largest overlap with another candidate of the same prompt
    "wins",  # share of the mask where no map of another label in the image is higher
    "border",  # share of the image's border that the mask touches
    "constant",
)
"""Features of a candidate. Each map is scaled to 0 to 1."""
WEIGHTS = np.array(
    [
        [-0.015, 0.239, -0.053, 0.038, -0.057, 0.004, 0.213, 0.000, -0.104],  # quality
        [0.000, 0.483, -0.162, 0.051, -0.462, 0.157, 0.698, 0.001, -0.164],  # inside
        [0.000, 0.000, -0.095, -0.031, 0.035, -0.037, -0.187, 0.000, -0.108],  # ring
        [0.000, 0.000, 0.000, -0.016, 0.169, 0.049, -0.033, 0.000, 0.063],  # outside
        [0.000, 0.000, 0.000, 0.000, 0.011, 0.109, 0.273, 0.000, 0.291],  # coverage
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.008, 0.092, 0.000, -0.081],  # agreement
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.000, -0.377, -0.001, -0.038],  # wins
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000],  # border
        [0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.000, 0.021],  # constant
    ],
    np.float32,
)
"""Weight of the product of a row's feature with a column's. From
``train-demo ranking --scenes 60``, 300 development scenes, correlation with IoU 0.924."""
FIRST_LOGISTIC, FURTHER_LOGISTIC = (-3.40, 9.04), (-8.36, 15.14)
"""Offset and scale of the logistic models from predicted IoU to the probability that the mask has
an IoU of at least 0.5 with an object that no better mask shows. The first model is for a label's
best mask; the second for its further masks, which are more often parts or neighbours. From
``train-demo ranking --scenes 60``: 420 development scenes of all sets."""


def probability_correct(quality: float, is_further: bool) -> float:
    """Return the probability that a mask of this predicted IoU is correct (Platt 1999).

    :param is_further: whether its label has a better mask.

    >>> round(probability_correct(0.8, is_further=False), 2)
    0.98
    """
    offset, scale = FURTHER_LOGISTIC if is_further else FIRST_LOGISTIC
    return 1 / (1 + math.exp(-(offset + scale * quality)))


def rasterize(candidates: MaskCandidates, inner_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (M, R, C) masks of the image, with at most :data:`RASTER` rows and columns."""
    step = max(1, -(-max(inner_hw) // RASTER))
    logits = candidates.logits[:, : inner_hw[0] : step, : inner_hw[1] : step]
    return np.asarray((logits > 0).cpu().numpy())


@dataclass(frozen=True)
class RasterMap:
    """A label's map on the raster.

    :param scaled: (R, C) 0 to 1.
    :param wins: (R, C) bool, where no other label's map is higher.
    """

    scaled: NDArray[np.float32]
    wins: NDArray[np.bool_]


def raster_maps(maps: NDArray[np.float32], raster_hw: tuple[int, int]) -> list[RasterMap]:
    """Return the raster map of each label that is in the image; the labels compete for cells.

    Cosines decide who wins a cell, not scaled maps: scaled to 0 to 1, the map of a label that is
    hardly visible would be as high as the map of a clear one.

    :param maps: (T, h, w) similarity, cosines.
    """
    cosines = np.stack([_resize(values, raster_hw) for values in maps])
    highest = cosines.max(axis=0)
    return [
        RasterMap(_resize(_scale(values), raster_hw), resized >= highest)
        for values, resized in zip(maps, cosines, strict=True)
    ]


def _resize(values: NDArray[np.float32], raster_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a (h, w) map to (R, C), bilinear."""
    return np.asarray(cv2.resize(values, raster_hw[::-1], interpolation=cv2.INTER_LINEAR))


def _scale(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale values to 0 to 1; constant values become 0."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def candidate_features(
    masks: NDArray[np.bool_], quality: NDArray[np.float32], label: RasterMap
) -> NDArray[np.float32]:
    """Return the features of the candidates of one prompt.

    :param masks: (M, R, C) from :func:`rasterize`.
    :param quality: (M,), the segmenter's own estimates of IoU.
    :param label: map of the prompt's label.
    :returns: (M, F), columns :data:`FEATURES`; zeros for an empty mask.
    """
    features = np.zeros((len(masks), len(FEATURES)), np.float32)
    mass = np.maximum(label.scaled - MASS_FROM, 0)
    for index, mask in enumerate(masks):
        if mask.any():
            others = [other for i, other in enumerate(masks) if i != index]
            features[index] = (
                quality[index],
                label.scaled[mask].mean(),
                _mean(label.scaled, _ring(mask)),
                _mean(label.scaled, ~mask),
                mass[mask].sum() / max(float(mass.sum()), 1e-6),
                max((overlap(mask, other) for other in others), default=0.0),
                label.wins[mask].mean(),
                _border_share(mask),
                1.0,
            )
    return features


def predicted_iou(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (M,) predicted IoU with an object of the label, 0 to 1, from (M, F) features."""
    return np.clip(np.einsum("mf,fg,mg->m", features, WEIGHTS, features), 0, 1)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks; 0 for two empty masks."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def _ring(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells around a mask."""
    dilated = cv2.dilate(mask.astype(np.uint8), np.ones((RING, RING), np.uint8)) > 0
    return np.asarray(dilated & ~mask)


def _mean(values: NDArray[np.float32], cells: NDArray[np.bool_]) -> float:
    """Return the mean of the chosen cells; 0 for no cells."""
    return float(values[cells].mean()) if cells.any() else 0.0


def _border_share(mask: NDArray[np.bool_]) -> float:
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return sum(np.count_nonzero(edge) for edge in edges) / sum(len(edge) for edge in edges)
