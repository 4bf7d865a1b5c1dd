"""Masks: a segmenter's best candidate, measurements, and images of all segments."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import paste
from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.types import NO_LABEL, FrameResult, Segment


def best_candidate(candidates: MaskCandidates) -> tuple[torch.Tensor, float]:
    """Return the candidate with the segmenter's highest estimate of IoU, as the paper does.

    :returns: (l, l) logits, and the estimate.
    """
    index = int(candidates.quality.argmax())
    return candidates.logits[index], float(candidates.quality[index])


def remove_specks(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Return the (H, W) mask without its 8-connected parts smaller than ``min_area`` pixels."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    keep = (
        np.bincount(parts.ravel(), minlength=count) >= min_area
    )  # OpenCV's statistics take three times as long
    keep[0] = False  # the background
    return mask if keep[1:].all() else keep.take(parts)


def resize_map(similarity: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a (h, w) grid map to (H, W), bilinear; edges repeat, cell centres do not move."""
    return cv2.resize(similarity, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def mass_above_zero(similarity: NDArray[np.float32]) -> float:
    """Return the sum of a raw map's values above zero."""
    return float(np.maximum(similarity, 0).sum())


def agreement(
    mask: NDArray[np.bool_], similarity: NDArray[np.float32], total_mass: float
) -> tuple[float, float]:
    """Return how well a mask and a map agree. Both may be cut to a box that holds the mask.

    :param mask: (H, W), not empty.
    :param similarity: (H, W) raw.
    :param total_mass: :func:`mass_above_zero` of the whole map.
    :returns: mean similarity inside the mask, and the share of the map's mass above zero that
        lies inside, 0 to 1.
    """
    # Products, because selecting the pixels of a mask takes several times as long.
    inside, values = mask.ravel().astype(np.float32), similarity.ravel()
    mean = float(values @ inside) / int(np.count_nonzero(mask))
    share = float(np.maximum(values, 0) @ inside) / total_mass if total_mass else 0.0
    return mean, share


def class_mask(segments: Iterable[Segment], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (H, W) label indices, 255 for no label; in overlaps the higher score wins."""
    canvas = np.full(size_hw, NO_LABEL, np.uint8)
    for segment in _by_score(segments):
        paste(canvas, segment.mask, segment.box, segment.label)
    return canvas


MOST_INSTANCES = 65_535
"""Values of a picture of 16 bits beside 0."""


def instance_value(number: int) -> int:
    """Return what stands for an id in a picture of 16 bits: the id itself up to 65,535; then
    values begin again at 1. 0 stays 0.

    >>> instance_value(65_535), instance_value(65_536)
    (65535, 1)
    """
    return (number - 1) % MOST_INSTANCES + 1 if number else 0


def instance_map(segments: Iterable[Segment], size_hw: tuple[int, int]) -> NDArray[np.uint16]:
    """Return (H, W) :func:`instance_value` of segment ids, 0 for no segment; overlaps as in
    :func:`class_mask`.
    """
    canvas = np.zeros(size_hw, np.uint16)
    for segment in _by_score(segments):
        paste(canvas, segment.mask, segment.box, instance_value(segment.id))
    return canvas


def confidence_map(segments: Iterable[Segment], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (H, W) scores, 0 to 255, of the segments shown in :func:`class_mask`; else 0."""
    canvas = np.zeros(size_hw, np.uint8)
    for segment in _by_score(segments):
        paste(canvas, segment.mask, segment.box, round(255 * segment.score))
    return canvas


def combined_map(result: FrameResult) -> NDArray[np.float32]:
    """Return the (h, w) highest similarity of any label per token, 0 to 1.

    Values below the label's threshold become 0, and so do negative values, where the image is
    more similar to other labels. Cosines never exceed 1, so that nothing is clipped above.
    """
    above = result.similarity >= result.thresholds[:, None, None]
    return np.where(above, result.similarity, 0).max(axis=0, initial=0).astype(np.float32)


def combined_heatmap(result: FrameResult) -> NDArray[np.float32]:
    """Return :func:`combined_map` resized to (H, W), bilinear."""
    return resize_map(combined_map(result), result.size_hw)


def _by_score(segments: Iterable[Segment]) -> list[Segment]:
    """Sort for drawing: highest score last; of equal scores, the lowest id last."""
    return sorted(segments, key=lambda segment: (segment.score, -segment.id))


def innermost(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the pixel (x, y) of an (H, W) mask farthest from its edge and that of the image."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(column), int(row)
