"""Choosing masks and turning segments into images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.masks import (
    agreement,
    best_candidate,
    class_mask,
    combined_heatmap,
    confidence_map,
    instance_map,
    remove_specks,
)
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Segment

NO_POINTS = PointPrompts(np.zeros((0, 2), np.int32), np.zeros(0, np.bool_))


def segment(id_: int, label: int, score: float, box: Box) -> Segment:
    mask = np.ones((box.height, box.width), np.bool_)
    return Segment(id_, label, f"label {label}", score, 1, 0, 0, box, mask, NO_POINTS)


LOW = segment(1, 0, 0.4, Box(0, 0, 3, 2))
HIGH = segment(2, 4, 0.8, Box(2, 0, 2, 2))


@pytest.mark.parametrize("order", [(LOW, HIGH), (HIGH, LOW)])
def test_where_segments_overlap_the_higher_score_wins(order: tuple[Segment, ...]) -> None:
    assert class_mask(order, (3, 5)).tolist() == [[0, 0, 4, 4, 255]] * 2 + [[255] * 5]
    assert instance_map(order, (3, 5)).tolist() == [[1, 1, 2, 2, 0]] * 2 + [[0] * 5]
    assert confidence_map(order, (3, 5)).tolist() == [[102, 102, 204, 204, 0]] * 2 + [[0] * 5]


def test_without_segments_the_images_are_empty() -> None:
    assert (class_mask((), (2, 3)) == 255).all()
    assert not instance_map((), (2, 3)).any()
    assert not confidence_map((), (2, 3)).any()


def test_the_candidate_with_the_highest_score_is_taken() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 2, 2)
    chosen, score = best_candidate(MaskCandidates(np.array([0.2, 0.9, 0.3], np.float32), logits))
    assert (chosen == 2).all()
    assert score == pytest.approx(0.9)


def test_specks_are_removed_and_the_rest_stays() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[:4, :4] = True
    mask[8, 8] = True
    cleaned = remove_specks(mask, 5)
    assert cleaned[:4, :4].all()
    assert cleaned.sum() == 16
    assert not remove_specks(mask, 100).any()
    assert not remove_specks(np.zeros((4, 4), np.bool_), 1).any()


def test_agreement_is_the_share_of_positive_mass_inside() -> None:
    mask = np.array([[True, True, False]])
    similarity = np.array([[0.3, 0.1, 0.4]], np.float32)
    mean, share = agreement(mask, similarity)
    assert mean == pytest.approx(0.2)
    assert share == pytest.approx(0.5)
    assert agreement(mask, -similarity)[1] == 0


def test_a_box_is_tight_and_an_empty_mask_has_none() -> None:
    mask = np.zeros((6, 9), np.bool_)
    assert mask_box(mask) is None
    mask[2, 3] = mask[4, 7] = True
    assert mask_box(mask) == Box(3, 2, 5, 3)


def test_the_heatmap_is_the_highest_label_above_its_threshold() -> None:
    similarity = np.array([[[0.5, 0.1]], [[0.2, 0.3]]], np.float32)
    none = np.zeros(2, np.float32)
    result = FrameResult(
        parse_query("a; b"), (1, 2), similarity, none, none, np.array([0.2, 0.4], np.float32)
    )
    np.testing.assert_allclose(combined_heatmap(result), [[0.5, 0.0]], atol=1e-6)
