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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.interfaces import CandidateBatch, MaskCandidates
from clip_surgery_ros.core.transfer import download

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


@dataclass(frozen=True, eq=False)
class RankingModel:
    """How features become a predicted IoU, and this the probability that a mask is correct.

    :param weights: (F, F) as :data:`WEIGHTS`.
    :param first: offset and scale as :data:`FIRST_LOGISTIC`, of a label's best mask.
    :param further: the same of its further masks.

    >>> round(RankingModel().probability_correct(0.8, is_further=False), 2)
    0.98
    """

    weights: NDArray[np.float32] = field(default_factory=lambda: WEIGHTS)
    first: tuple[float, float] = FIRST_LOGISTIC
    further: tuple[float, float] = FURTHER_LOGISTIC

    def predicted_iou(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (M,) predicted IoU with an object of the label, 0 to 1.

        :param features: (M, F) of :func:`candidate_features`.
        """
        return np.clip(np.einsum("mf,fg,mg->m", features, self.weights, features), 0, 1)

    def probability_correct(self, quality: float, is_further: bool) -> float:
        """Return the probability that a mask of this predicted IoU is correct (Platt 1999).

        :param is_further: whether its label has a better mask.
        """
        offset, scale = self.further if is_further else self.first
        return 1 / (1 + math.exp(-(offset + scale * quality)))


def rasterize(offered: Sequence[MaskCandidates], inner_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (M, R, C) masks: all candidates of all prompts, in order of prompt.

    A GPU copies them to the host in one piece.

    :param offered: candidates of each prompt, at least one prompt.
    :param inner_hw: rows and columns of the logits that show the image.
    :returns: with at most :data:`RASTER` rows and columns.
    """
    step = max(1, -(-max(inner_hw) // RASTER))
    thin = (..., slice(0, inner_hw[0], step), slice(0, inner_hw[1], step))
    batch = offered if isinstance(offered, CandidateBatch) else None
    parts = batch.parts if batch else [candidates.logits for candidates in offered]
    thinned = [(part[thin] > 0).flatten(0, -3) for part in parts]
    masks = download(torch.cat(thinned))
    return masks[batch.rows] if batch else masks


@dataclass(frozen=True)
class RasterMaps:
    """The maps of labels on the raster.

    :param scaled: (T, R, C) 0 to 1.
    :param wins: (T, R, C) bool, where no other label's map is higher.
    """

    scaled: NDArray[np.float32]
    wins: NDArray[np.bool_]


def raster_maps(maps: NDArray[np.float32], raster_hw: tuple[int, int]) -> RasterMaps:
    """Return the maps on the raster of the labels in the image; the labels compete for cells.

    Cosines decide who wins a cell, not scaled maps: scaled to 0 to 1, the map of a label that is
    hardly visible would be as high as the map of a clear one.

    :param maps: (T, h, w) similarity, cosines.
    """
    cosines = np.stack([_resize(values, raster_hw) for values in maps])
    scaled = np.stack([_resize(_scale(values), raster_hw) for values in maps])
    return RasterMaps(scaled, cosines >= cosines.max(axis=0))


def _resize(values: NDArray[np.float32], raster_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a (h, w) map to (R, C), bilinear."""
    return np.asarray(cv2.resize(values, raster_hw[::-1], interpolation=cv2.INTER_LINEAR))


def _scale(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale values to 0 to 1; constant values become 0."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def candidate_features(
    masks: NDArray[np.bool_],
    quality: NDArray[np.float32],
    prompts: NDArray[np.intp],
    labels: NDArray[np.intp],
    maps: RasterMaps,
) -> NDArray[np.float32]:
    """Return the features of all candidates.

    Means over a mask are products of masks and maps, because selecting the cells of each mask
    takes several times as long.

    :param masks: (M, R, C) from :func:`rasterize`.
    :param quality: (M,), the segmenter's own estimates of IoU.
    :param prompts: (M,) index of each candidate's prompt; those of a prompt follow each other.
    :param labels: (M,) index of each candidate's label.
    :param maps: of all labels.
    :returns: (M, F), columns :data:`FEATURES`; zeros for an empty mask.
    """
    inside, ring = (
        cells.reshape(len(masks), -1).astype(np.float32) for cells in (masks, _rings(masks))
    )
    edges = _border_weights(masks.shape[1:])
    features = np.zeros((len(masks), len(FEATURES)), np.float32)
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        scaled, wins = maps.scaled[label].reshape(-1), maps.wins[label].reshape(-1)
        mass, one = np.maximum(scaled - MASS_FROM, 0), np.ones_like(scaled)
        within = inside[of_label]
        area, similarity, mass_inside, won, touched = _sums(within, one, scaled, mass, wins, edges)
        outside_area, outside = _sums(1 - within, one, scaled)
        ring_area, around = _sums(ring[of_label], one, scaled)
        features[of_label] = (
            np.stack(
                [
                    quality[of_label],
                    _divide(similarity, area),
                    _divide(around, ring_area),
                    _divide(outside, outside_area),
                    mass_inside / max(float(mass.sum()), 1e-6),
                    _agreement(within, area, prompts[of_label]),
                    _divide(won, area),
                    touched / edges.sum(),
                    np.ones_like(area),
                ],
                axis=1,
            )
            * (area > 0)[:, None]
        )
    return features


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks; 0 for two empty masks."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def _sums(
    masks: NDArray[np.float32], *values: NDArray[np.generic]
) -> Iterator[NDArray[np.float32]]:
    """Yield for each (cells,) array of values its (M,) sums inside the (M, cells) masks."""
    table = np.stack(values).astype(np.float32)  # rows: the product is slow for its transpose
    return iter((masks @ table.T).T)


def _agreement(
    inside: NDArray[np.float32], area: NDArray[np.float32], prompts: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the largest IoU of each (M, cells) mask with another of its prompt; 0 for none."""
    largest = np.zeros_like(area)
    for step in range(1, int(np.bincount(prompts).max())):
        shared = np.einsum("mc,mc->m", inside[:-step], inside[step:])
        iou = _divide(shared, area[:-step] + area[step:] - shared)
        iou[prompts[:-step] != prompts[step:]] = 0
        np.maximum(largest[:-step], iou, out=largest[:-step])
        np.maximum(largest[step:], iou, out=largest[step:])
    return largest


def _rings(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells around each (M, R, C) mask.

    All masks are dilated as one image, with rows between them that keep them apart.
    """
    count, rows, columns = masks.shape
    image = np.zeros((count, rows + RING // 2, columns), np.uint8)
    image[:, :rows] = masks
    dilated = cv2.dilate(image.reshape(-1, columns), np.ones((RING, RING), np.uint8))
    return (dilated.reshape(image.shape)[:, :rows] > 0) & ~masks


def _border_weights(raster_hw: tuple[int, ...]) -> NDArray[np.float32]:
    """Return for each cell of the raster, flat, how many of the four edges it belongs to."""
    weights = np.zeros(raster_hw, np.float32)
    for edge in (weights[0], weights[-1], weights[:, 0], weights[:, -1]):
        edge += 1
    return weights.reshape(-1)


def _divide(values: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the quotients; 0 where the count is 0."""
    return np.where(counts > 0, values / np.maximum(counts, 1), np.float32(0))
