"""Which candidates become segments: features by hand, and objects told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.ranking import (
    FEATURES,
    WEIGHTS,
    candidate_features,
    chance,
    distinct,
    instances,
    on_raster,
    predicted_iou,
)
from clip_surgery_ros.demo.fit_ranking import logistic


def box(top: int, left: int, bottom: int, right: int, size: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def blob(mask: NDArray[np.bool_], height: float = 1.0) -> NDArray[np.float32]:
    return np.where(mask, np.float32(height), np.float32(0))


def test_features_of_a_mask_are_what_a_ruler_gives() -> None:
    left, right = box(4, 0, 8, 4), box(4, 8, 8, 16)
    own = blob(left | right)
    rival = blob(box(4, 0, 6, 4), 2.0)
    masks = np.stack([left, left | right, np.zeros_like(left)])

    rows = candidate_features(masks, np.array([0.7, 0.8, 0.9], np.float32), own, rival)

    first = dict(zip(FEATURES, rows[0].tolist(), strict=True))
    assert first["score"] == pytest.approx(0.7)
    assert first["inside"] == 1
    assert first["ring"] == 0  # three cells around: the other begins at the fourth
    assert first["outside"] == pytest.approx(32 / (256 - 16))
    assert first["coverage"] == pytest.approx(16 / 48)
    assert first["agreement"] == pytest.approx(16 / 48)
    assert first["wins"] == pytest.approx(1 / 2)
    assert first["border"] == pytest.approx(4 / 64)
    assert (rows[2] == 0).all()


def test_a_map_on_the_raster_goes_from_0_to_1_and_a_constant_one_is_0() -> None:
    scaled = on_raster(np.array([[2.0, 3.0], [4.0, 6.0]], np.float32), (8, 8))
    assert scaled.shape == (8, 8) and scaled.min() == 0 and scaled.max() == 1
    assert (on_raster(np.full((2, 2), 0.3, np.float32), (8, 8)) == 0).all()


def test_a_mask_on_the_map_is_predicted_to_be_better_than_one_beside_it() -> None:
    right, wide, beside = box(4, 4, 10, 10), box(2, 2, 14, 14), box(11, 11, 15, 15)
    scores = np.array([0.8, 0.8, 0.8], np.float32)
    masks, nothing = np.stack([right, wide, beside]), np.zeros((16, 16), np.float32)

    quality = predicted_iou(candidate_features(masks, scores, blob(right), nothing))

    assert quality[0] > quality[1] > quality[2]
    assert len(WEIGHTS) == len(FEATURES)


def test_masks_of_one_object_are_one_and_masks_apart_are_two() -> None:
    whole, most, part, other = box(0, 0, 8, 8), box(0, 0, 8, 7), box(0, 0, 3, 3), box(8, 8, 16, 16)
    assert distinct([part, most, whole, other], [0.6, 0.7, 0.9, 0.8]) == [2, 3]


def test_the_best_is_kept_however_poor_and_no_other_poor_one() -> None:
    masks = [box(0, 0, 4, 4), box(8, 8, 12, 12)]
    assert distinct(masks, [0.1, 0.2]) == [1]
    assert distinct([np.zeros((4, 4), np.bool_)], [0.9]) == []


def candidates(*masks: NDArray[np.bool_]) -> MaskCandidates:
    logits = torch.from_numpy(np.stack(masks).astype(np.float32)) - 0.5
    return MaskCandidates(np.full(len(masks), 0.8, np.float32), logits)


def test_each_object_of_a_label_becomes_one_choice_and_padding_is_not_looked_at() -> None:
    """Two objects of the first label, one of them clicked twice; rows from 12 on are padding."""
    one, two, third = box(1, 1, 5, 5), box(1, 10, 5, 15), box(7, 1, 11, 5)
    padding = box(12, 0, 16, 16)
    maps = np.stack([blob(one | two), blob(third)])[:, :12]
    everything = np.ones((16, 16), np.bool_)
    offered = [
        candidates(everything, one | padding, third),
        candidates(third, everything, two),
        candidates(one, third, everything),
        candidates(third, one, everything),
    ]

    chosen = instances(offered, [0, 0, 0, 1], maps, (12, 16))

    assert sorted(choice.prompt for choice in chosen) in ([0, 1, 3], [1, 2, 3])
    found = {choice.prompt: (choice.logits > 0).numpy() for choice in chosen}
    assert (found[1] == two).all() and (found[3] == third).all()
    assert all(0 <= choice.quality <= 1 for choice in chosen)


def test_a_mask_of_two_objects_gives_way_to_candidates_that_show_each() -> None:
    one, two = box(2, 2, 8, 7), box(2, 7, 8, 12)
    both, nothing = one | two, np.zeros((16, 16), np.bool_)
    maps = blob(both)[None]

    def found(*offered: MaskCandidates) -> list[NDArray[np.bool_]]:
        chosen = instances(offered, [0] * len(offered), maps, (16, 16))
        return [(choice.logits > 0).numpy() for choice in chosen]

    apart = found(candidates(both, one, nothing), candidates(both, two, nothing))
    assert len(apart) == 2 and (np.any(apart, axis=0) == both).all()
    # Where nothing shows the other half, the whole stays.
    (whole,) = found(candidates(both, one, nothing), candidates(both, one, nothing))
    assert (whole == both).all()


def test_the_chance_of_being_right_grows_with_quality_and_is_fitted_as_data_say() -> None:
    values = [chance(quality) for quality in (0.0, 0.3, 0.6, 1.0)]
    assert values == sorted(values) and values[0] < 0.1 and values[-1] > 0.9
    rng = np.random.default_rng(0)
    quality = rng.random(20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(2 - 5 * quality))
    assert logistic(quality, right) == pytest.approx((-2, 5), rel=0.1)
