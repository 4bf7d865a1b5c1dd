"""Prompts of a frame: from the maps of its labels to the points that the segmenter gets."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.heatmap import thresholded
from clip_surgery_ros.core.points import combined_points, instance_points, reference_points
from clip_surgery_ros.core.recognition import Recognition
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.types import PointPrompts, Query


@dataclass(frozen=True)
class LabelPrompt:
    """Points to decode one set of candidates from.

    :param label: index into the query's labels.
    """

    label: int
    points: PointPrompts


def label_prompts(
    recognition: Recognition, query: Query, settings: Settings, absent: Collection[int]
) -> list[LabelPrompt]:
    """Return the prompts of all labels, in order of label.

    :param absent: indices of labels that get no prompt.
    """
    part_counts = [len(label.parts) for label in query.labels]
    parts = thresholded(recognition.part_maps, np.repeat(recognition.thresholds, part_counts))
    label_maps = thresholded(recognition.label_maps, recognition.thresholds)
    return [
        LabelPrompt(index, points)
        for index, part_maps in enumerate(np.split(parts, np.cumsum(part_counts)[:-1]))
        if index not in absent
        for points in _points(label_maps[index], part_maps, recognition.size_hw, settings)
    ]


def _points(
    label_map: NDArray[np.float32],
    part_maps: NDArray[np.float32],
    size_hw: tuple[int, int],
    settings: Settings,
) -> Iterator[PointPrompts]:
    """Yield the prompts of one label from its (h, w) map and its parts' (P, h, w) maps."""
    threshold, grid_hw = settings.point_threshold, label_map.shape
    flat = part_maps.reshape(len(part_maps), -1)
    if settings.recipe.points == "peaks":
        prompts = instance_points(label_map.reshape(-1), grid_hw, size_hw)
    elif len(part_maps) > 1:
        prompts = [combined_points(list(flat), grid_hw, size_hw, threshold)]
    else:
        prompts = [reference_points(flat[0], grid_hw, size_hw, threshold)]
    for xy, labels in prompts:
        if labels.any():
            yield PointPrompts(xy, labels.astype(np.bool_))
