"""Ranking of candidates: features by hand, and predicted quality."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_surgery_ros.core.ranking import (
    FEATURES,
    WEIGHTS,
    RasterMap,
    candidate_features,
    predicted_iou,
    probability_correct,
    raster_maps,
)
from clip_surgery_ros.training.fit_ranking import fit_logistic


def box(top: int, left: int, bottom: int, right: int, size: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def blob(mask: NDArray[np.bool_], height: float = 1.0) -> NDArray[np.float32]:
    return np.where(mask, np.float32(height), np.float32(0))


def test_features_of_a_mask_equal_values_by_hand() -> None:
    left, right = box(4, 0, 8, 4), box(4, 8, 8, 16)
    masks = np.stack([left, left | right, np.zeros_like(left)])
    label = RasterMap(blob(left | right), ~box(4, 0, 6, 4))

    rows = candidate_features(masks, np.array([0.7, 0.8, 0.9], np.float32), label)

    first = dict(zip(FEATURES, rows[0].tolist(), strict=True))
    assert first["quality"] == pytest.approx(0.7)
    assert first["inside"] == 1
    assert first["ring"] == 0  # the ring is three cells wide; the second box begins at the fourth
    assert first["outside"] == pytest.approx(32 / (256 - 16))
    assert first["coverage"] == pytest.approx(16 / 48)
    assert first["agreement"] == pytest.approx(16 / 48)
    assert first["wins"] == pytest.approx(1 / 2)
    assert first["border"] == pytest.approx(4 / 64)
    assert (rows[2] == 0).all()


def test_raster_map_is_scaled_to_0_and_1_or_0_if_constant() -> None:
    rising, constant = np.array([[2.0, 3.0], [4.0, 6.0]], np.float32), np.full((2, 2), 0.3)
    scaled, flat = raster_maps(np.stack([rising, constant.astype(np.float32)]), (8, 8))
    assert scaled.scaled.shape == (8, 8) and scaled.scaled.min() == 0 and scaled.scaled.max() == 1
    assert (flat.scaled == 0).all()


def test_winning_label_is_decided_by_unscaled_maps() -> None:
    """The second map has a range of its own, but is lower than the first everywhere."""
    strong = np.array([[0.3, 0.5], [0.7, 0.9]], np.float32)
    weak = np.array([[0.2, 0.1], [0.0, -0.1]], np.float32)
    first, second = raster_maps(np.stack([strong, weak]), (8, 8))
    assert first.wins.all() and not second.wins.any()
    (alone,) = raster_maps(weak[None], (8, 8))
    assert alone.wins.all()


def test_predicted_iou_is_highest_for_the_mask_on_the_map() -> None:
    matching, wide, beside = box(4, 4, 10, 10), box(2, 2, 14, 14), box(11, 11, 15, 15)
    scores = np.array([0.8, 0.8, 0.8], np.float32)
    masks, label = np.stack([matching, wide, beside]), RasterMap(blob(matching), box(0, 0, 16, 16))

    quality = predicted_iou(candidate_features(masks, scores, label))

    assert quality[0] > quality[1] > quality[2]
    assert WEIGHTS.shape == (len(FEATURES), len(FEATURES))
    assert (np.tril(WEIGHTS, -1) == 0).all()


def test_probability_correct_grows_with_quality_and_fits_the_data() -> None:
    for further in (False, True):
        values = [probability_correct(quality, further) for quality in (0.0, 0.3, 0.6, 1.0)]
        assert values == sorted(values) and values[0] < 0.1 and values[-1] > 0.9
    assert probability_correct(0.5, is_further=True) < probability_correct(0.5, is_further=False)
    rng = np.random.default_rng(0)
    quality = rng.random(20_000)
    correct = rng.random(20_000) < 1 / (1 + np.exp(2 - 5 * quality))
    assert fit_logistic(quality, correct) == pytest.approx((-2, 5), rel=0.1)
