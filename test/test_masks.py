"""Choice of mask candidates, and images made from segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clip_surgery_ros.core.geometry import crop, mask_box
from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.masks import (
    agreement,
    best_candidate,
    class_mask,
    combined_heatmap,
    confidence_map,
    innermost,
    instance_map,
    mass_above_zero,
    remove_specks,
)
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.segmentation import clean_mask
from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Segment

NO_POINTS = PointPrompts(np.zeros((0, 2), np.int32), np.zeros(0, np.bool_))


def segment(id_: int, label: int, score: float, box: Box) -> Segment:
    mask = np.ones((box.height, box.width), np.bool_)
    return Segment(id_, label, f"label {label}", score, 1, 0, 0, box, mask, NO_POINTS)


LOW = segment(1, 0, 0.4, Box(0, 0, 3, 2))
HIGH = segment(2, 4, 0.8, Box(2, 0, 2, 2))


@pytest.mark.parametrize("order", [(LOW, HIGH), (HIGH, LOW)])
def test_overlapping_segments_show_the_one_with_the_higher_score(
    order: tuple[Segment, ...],
) -> None:
    assert class_mask(order, (3, 5)).tolist() == [[0, 0, 4, 4, 255]] * 2 + [[255] * 5]
    assert instance_map(order, (3, 5)).tolist() == [[1, 1, 2, 2, 0]] * 2 + [[0] * 5]
    assert confidence_map(order, (3, 5)).tolist() == [[102, 102, 204, 204, 0]] * 2 + [[0] * 5]


@pytest.mark.parametrize(("id_", "value"), [(0, 0), (65_535, 65_535), (65_536, 1), (131_071, 1)])
def test_ids_above_16_bits_begin_again_at_1(id_: int, value: int) -> None:
    assert instance_map((segment(id_, 0, 0.5, Box(0, 0, 1, 1)),), (1, 2)).tolist() == [[value, 0]]


def test_images_without_segments_are_empty() -> None:
    assert (class_mask((), (2, 3)) == 255).all()
    assert not instance_map((), (2, 3)).any()
    assert not confidence_map((), (2, 3)).any()


def test_best_candidate_has_the_highest_score() -> None:
    candidates = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 2, 2)
    logits, score = best_candidate(
        MaskCandidates(np.array([0.2, 0.9, 0.3], np.float32), candidates)
    )
    assert (logits == 2).all()
    assert score == pytest.approx(0.9)


def test_specks_below_the_minimal_area_are_removed() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[:4, :4] = True
    mask[8, 8] = True
    cleaned = remove_specks(mask, 5)
    assert cleaned[:4, :4].all()
    assert cleaned.sum() == 16
    assert not remove_specks(mask, 100).any()
    assert not remove_specks(np.zeros((4, 4), np.bool_), 1).any()


def test_agreement_is_the_fraction_of_positive_similarity_inside_the_mask() -> None:
    mask = np.array([[True, True, False]])
    similarity = np.array([[0.3, 0.1, 0.4]], np.float32)
    mean, fraction = agreement(mask, similarity, mass_above_zero(similarity))
    assert mean == pytest.approx(0.2)
    assert fraction == pytest.approx(0.5)
    assert agreement(mask, -similarity, mass_above_zero(-similarity))[1] == 0
    inside_box = agreement(mask[:, :2], similarity[:, :2], mass_above_zero(similarity))
    assert inside_box == pytest.approx((mean, fraction))


def test_mask_box_is_tight_and_none_for_an_empty_mask() -> None:
    mask = np.zeros((6, 9), np.bool_)
    assert mask_box(mask) is None
    mask[2, 3] = mask[4, 7] = True
    assert mask_box(mask) == Box(3, 2, 5, 3)


def test_combined_heatmap_is_the_maximum_of_labels_above_their_thresholds() -> None:
    similarity = np.array([[[0.5, 0.1]], [[0.2, 0.3]]], np.float32)
    zeros = np.zeros(2, np.float32)
    result = FrameResult(
        parse_query("a; b"), (1, 2), similarity, zeros, zeros, np.array([0.2, 0.4], np.float32)
    )
    np.testing.assert_allclose(combined_heatmap(result), [[0.5, 0.0]], atol=1e-6)


def test_innermost_pixel_is_the_centre_of_a_disc() -> None:
    y, x = np.mgrid[0:40, 0:60]
    assert innermost((y - 20) ** 2 + (x - 33) ** 2 < 81) == (33, 20)


def test_specks_inside_the_box_are_those_of_the_whole_mask() -> None:
    rng = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.4):
        mask = np.zeros((30, 40), np.bool_)
        mask[5:22, 9:33] = rng.random((17, 24)) < share
        for min_area in (1, 3, 8):
            whole = remove_specks(mask, min_area)
            box = mask_box(whole)
            found = clean_mask(mask, min_area)
            if box is None:
                assert found is None
            else:
                assert found is not None and found[0] == box
                assert (found[1] == crop(whole, box)).all()
    assert clean_mask(np.zeros((4, 4), np.bool_), 1) is None
