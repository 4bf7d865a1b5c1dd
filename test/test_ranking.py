"""Ranking of candidates: features by hand, and predicted quality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.judging import INNER_HW, random_candidates, rank_one_by_one
from clip_surgery_ros.core.choice import rank_candidates
from clip_surgery_ros.core.interfaces import CandidateBatch
from clip_surgery_ros.core.ranking import (
    FEATURES,
    WEIGHTS,
    RankingModel,
    RasterMaps,
    candidate_features,
    raster_maps,
    rasterize,
)
from clip_surgery_ros.evaluation.fitting import fit_logistic


def box(top: int, left: int, bottom: int, right: int, size: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def blob(mask: NDArray[np.bool_], height: float = 1.0) -> NDArray[np.float32]:
    return np.where(mask, np.float32(height), np.float32(0))


def features_of_one_prompt(
    masks: NDArray[np.bool_],
    quality: NDArray[np.float32],
    scaled: NDArray[np.float32],
    wins: NDArray[np.bool_],
) -> NDArray[np.float32]:
    none = np.zeros(len(masks), np.intp)
    return candidate_features(masks, quality, none, none, RasterMaps(scaled[None], wins[None]))


def test_features_of_a_mask_equal_values_by_hand() -> None:
    left, right = box(4, 0, 8, 4), box(4, 8, 8, 16)
    masks = np.stack([left, left | right, np.zeros_like(left)])
    quality = np.array([0.7, 0.8, 0.9], np.float32)

    rows = features_of_one_prompt(masks, quality, blob(left | right), ~box(4, 0, 6, 4))

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


def features_one_by_one(
    masks: NDArray[np.bool_], quality: NDArray[np.float32], maps: RasterMaps, label: int
) -> NDArray[np.float64]:
    """Return the features of one prompt's candidates by their definitions, cell by cell."""
    scaled, wins = maps.scaled[label].astype(np.float64), maps.wins[label]
    rows, columns = np.indices(scaled.shape)
    mass = np.maximum(scaled - 0.5, 0)
    result = np.zeros((len(masks), len(FEATURES)))
    for index, mask in enumerate(masks):
        if not mask.any():
            continue
        near = np.zeros_like(mask)
        for row, column in np.argwhere(mask):
            near |= (abs(rows - row) <= 3) & (abs(columns - column) <= 3)
        ring = near & ~mask
        ious = [(mask & x).sum() / (mask | x).sum() for i, x in enumerate(masks) if i != index]
        edges = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        result[index] = (
            quality[index],
            scaled[mask].mean(),
            scaled[ring].mean() if ring.any() else 0,
            scaled[~mask].mean() if not mask.all() else 0,
            mass[mask].sum() / mass.sum(),
            max(ious, default=0),
            wins[mask].mean(),
            edges.mean(),
            1,
        )
    return result


def test_features_of_all_candidates_at_once_equal_those_of_each_alone() -> None:
    """Prompts of three labels with one to three candidates, among them empty and full masks."""
    rng = np.random.default_rng(0)
    size_hw, counts, labels = (9, 16), (3, 1, 2, 3, 3), (2, 0, 2, 1, 0)
    maps = raster_maps(rng.random((3, 4, 4), np.float32), size_hw)
    prompts = np.repeat(np.arange(len(counts)), counts)
    shares = rng.uniform(0.01, 0.9, len(prompts))
    masks = rng.random((len(prompts), *size_hw)) < shares[:, None, None]
    masks[2], masks[5] = False, True
    quality = rng.random(len(prompts), np.float32)

    together = candidate_features(masks, quality, prompts, np.repeat(labels, counts), maps)

    for prompt, label in enumerate(labels):
        of_prompt = prompts == prompt
        alone = features_one_by_one(masks[of_prompt], quality[of_prompt], maps, label)
        np.testing.assert_allclose(together[of_prompt], alone, atol=1e-6, rtol=0)


def test_candidates_are_rasterized_in_order_of_prompt_from_parts_in_any_order() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 100, 100)))
    quality = np.arange(6, dtype=np.float32).reshape(3, 2)
    batch = CandidateBatch(quality, [logits[[2]], logits[[0, 1]]], [2, 0, 1])
    assert [candidates.quality.tolist() for candidates in batch] == quality.tolist()
    assert all((found.logits == one).all() for found, one in zip(batch, logits, strict=True))

    masks = rasterize(batch, (70, 100))

    assert (masks == (logits[:, :, :70:2, ::2] > 0).flatten(0, 1).numpy()).all()
    assert (masks == rasterize(list(batch), (70, 100))).all()


def test_raster_map_is_scaled_to_0_and_1_or_0_if_constant() -> None:
    rising, constant = np.array([[2.0, 3.0], [4.0, 6.0]], np.float32), np.full((2, 2), 0.3)
    scaled, flat = raster_maps(np.stack([rising, constant.astype(np.float32)]), (8, 8)).scaled
    assert scaled.shape == (8, 8) and scaled.min() == 0 and scaled.max() == 1
    assert (flat == 0).all()


def test_winning_label_is_decided_by_unscaled_maps() -> None:
    """The second map has a range of its own, but is lower than the first everywhere."""
    strong = np.array([[0.3, 0.5], [0.7, 0.9]], np.float32)
    weak = np.array([[0.2, 0.1], [0.0, -0.1]], np.float32)
    first, second = raster_maps(np.stack([strong, weak]), (8, 8)).wins
    assert first.all() and not second.any()
    assert raster_maps(weak[None], (8, 8)).wins.all()


def test_predicted_iou_is_highest_for_the_mask_on_the_map() -> None:
    matching, wide, beside = box(4, 4, 10, 10), box(2, 2, 14, 14), box(11, 11, 15, 15)
    scores = np.array([0.8, 0.8, 0.8], np.float32)
    masks, everywhere = np.stack([matching, wide, beside]), box(0, 0, 16, 16)

    quality = RankingModel().predicted_iou(
        features_of_one_prompt(masks, scores, blob(matching), everywhere)
    )

    assert quality[0] > quality[1] > quality[2]
    assert WEIGHTS.shape == (len(FEATURES), len(FEATURES))
    assert (np.tril(WEIGHTS, -1) == 0).all()


def test_probability_correct_grows_with_quality_and_fits_the_data() -> None:
    probability_correct = RankingModel().probability_correct
    for further in (False, True):
        values = [probability_correct(quality, further) for quality in (0.0, 0.3, 0.6, 1.0)]
        assert values == sorted(values) and values[0] < 0.1 and values[-1] > 0.9
    assert probability_correct(0.5, is_further=True) < probability_correct(0.5, is_further=False)
    rng = np.random.default_rng(0)
    quality = rng.random(20_000)
    correct = rng.random(20_000) < 1 / (1 + np.exp(2 - 5 * quality))
    assert fit_logistic(quality, correct) == pytest.approx((-2, 5), rel=0.1)


def test_one_by_one_of_the_benchmark_gives_the_same_quality() -> None:
    offered, labels, maps = random_candidates(2)
    together = rank_candidates(offered, labels, maps, INNER_HW)
    quality = [candidate.choice.quality for candidate in together]
    np.testing.assert_allclose(quality, rank_one_by_one(offered, labels, maps), atol=1e-6)
    assert len(quality) == 72 and max(quality) > 0
