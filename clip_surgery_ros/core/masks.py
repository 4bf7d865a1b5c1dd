"""Masks: choosing among a segmenter's candidates, and segments to images for other nodes."""

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
    """The mask that the segmenter itself scores highest, as the published recipe takes it.

    :returns: (l, l) logits and its score.
    """
    index = int(candidates.quality.argmax())
    return candidates.logits[index], float(candidates.quality[index])


def remove_specks(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """The (H, W) mask without its 8-connected parts smaller than ``min_area`` pixels."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    keep = np.bincount(parts.ravel(), minlength=count) >= min_area  # OpenCV's own takes thrice
    keep[0] = False  # the background
    return mask if keep[1:].all() else keep.take(parts)


def resize_map(similarity: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A (h, w) grid map, bilinear at (H, W); edges repeat, cell centres stay where they are."""
    return cv2.resize(similarity, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def agreement(mask: NDArray[np.bool_], similarity: NDArray[np.float32]) -> tuple[float, float]:
    """How mask and map fit.

    :param mask: (H, W), not empty.
    :param similarity: (H, W) raw.
    :returns: mean similarity inside the mask, and the share of the map's mass above zero that
        lies inside, 0 to 1.
    """
    # As products: picking the pixels of a ragged mask takes several times as long.
    inside, values = mask.ravel().astype(np.float32), similarity.ravel()
    mass = np.maximum(values, 0)
    total = float(mass.sum())
    mean = float(values @ inside) / int(np.count_nonzero(mask))
    return mean, float(mass @ inside) / total if total else 0.0


def class_mask(segments: Iterable[Segment], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) label index per pixel, 255 for none; where segments overlap the higher score wins."""
    canvas = np.full(size_hw, NO_LABEL, np.uint8)
    for segment in _by_score(segments):
        paste(canvas, segment.mask, segment.box, segment.label)
    return canvas


def instance_map(segments: Iterable[Segment], size_hw: tuple[int, int]) -> NDArray[np.uint16]:
    """(H, W) segment id per pixel, 0 for none; overlaps as in :func:`class_mask`."""
    canvas = np.zeros(size_hw, np.uint16)
    for segment in _by_score(segments):
        paste(canvas, segment.mask, segment.box, segment.id)
    return canvas


def confidence_map(segments: Iterable[Segment], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) score of the segment shown in :func:`class_mask`, 0 to 255, 0 for none."""
    canvas = np.zeros(size_hw, np.uint8)
    for segment in _by_score(segments):
        paste(canvas, segment.mask, segment.box, round(255 * segment.score))
    return canvas


def combined_map(result: FrameResult) -> NDArray[np.float32]:
    """(h, w) highest label's raw similarity per token, 0 to 1; 0 below its threshold or below 0,
    where a place resembles other labels more. No value above is cut off: cosines end at 1.
    """
    above = result.similarity >= result.thresholds[:, None, None]
    return np.where(above, result.similarity, 0).max(axis=0, initial=0).astype(np.float32)


def combined_heatmap(result: FrameResult) -> NDArray[np.float32]:
    """(H, W) of :func:`combined_map`, bilinear."""
    return resize_map(combined_map(result), result.size_hw)


def _by_score(segments: Iterable[Segment]) -> list[Segment]:
    """Lowest score first, so that the highest is drawn last; of equals the first found wins."""
    return sorted(segments, key=lambda segment: (segment.score, -segment.id))
