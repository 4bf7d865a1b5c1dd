"""Feature surgery and maps against a literal loop, and with degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.heatmap import (
    feature_surgery,
    min_max,
    normalized_map,
    surgery_cosines,
    thresholded,
)


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def literal_feature_surgery(tokens: Tensor, text: Tensor) -> Tensor:
    """Compute the paper's feature surgery (section 3.4) element by element."""
    batch, count, channels = tokens.shape
    texts = len(text)
    result = torch.zeros(batch, count, texts)
    for b in range(batch):
        weights = (2 * tokens[b, 0] @ text.T).softmax(dim=0) * texts
        for i in range(count):
            for c in range(channels):
                product = [tokens[b, i, c] * text[t, c] * weights[t] for t in range(texts)]
                mean = sum(product) / texts
                for t in range(texts):
                    result[b, i, t] += product[t] - mean
    return result


def test_feature_surgery_equals_the_literal_loop() -> None:
    tokens, text = unit(2, 5, 8, seed=1), unit(4, 8, seed=2)
    torch.testing.assert_close(
        feature_surgery(tokens, text), literal_feature_surgery(tokens, text), atol=1e-6, rtol=0
    )


def test_surgery_cosines_are_feature_surgery_with_unit_directions() -> None:
    tokens, text = unit(2, 50, 8, seed=1), unit(4, 8, seed=2)
    published = literal_feature_surgery(tokens, text)
    cosines = surgery_cosines(tokens, text)
    factors = published / cosines
    assert (factors > 0).all()
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), atol=1e-3, rtol=1e-3)
    # One-hot tokens give the components of the directions that tokens are compared with.
    directions = surgery_cosines(torch.cat([tokens[:1, :1], torch.eye(8)[None]], dim=1), text)
    lengths = directions[0, 1:].square().sum(dim=0)
    torch.testing.assert_close(lengths, torch.ones(4), atol=1e-5, rtol=0)


def test_equal_texts_have_zero_maps() -> None:
    tokens, equal_texts = unit(1, 5, 8, seed=1), unit(1, 8, seed=2).repeat(3, 1)
    assert surgery_cosines(tokens, equal_texts).abs().max() < 1e-3


def test_single_text_without_common_feature_is_rejected() -> None:
    for surgery in (feature_surgery, surgery_cosines):
        with pytest.raises(ConfigError, match="at least 2 texts"):
            surgery(unit(1, 5, 8, seed=1), unit(1, 8, seed=2))


def test_surgery_of_one_text_subtracts_the_common_feature() -> None:
    tokens, text, common = unit(1, 5, 8, seed=1), unit(1, 8, seed=2), unit(1, 8, seed=3)
    expected = [[float(t @ text[0] - t @ common[0])] for t in tokens[0]]
    torch.testing.assert_close(
        feature_surgery(tokens, text, common)[0], torch.tensor(expected), atol=1e-6, rtol=0
    )


def test_each_image_is_weighted_by_its_own_cls_token() -> None:
    tokens, text = unit(2, 5, 8, seed=1), unit(3, 8, seed=2)
    separate = [feature_surgery(tokens[i : i + 1], text) for i in range(2)]
    torch.testing.assert_close(feature_surgery(tokens, text), torch.cat(separate))


def test_constant_map_normalizes_to_zero() -> None:
    maps = normalized_map(torch.full((1, 6, 1), 0.3), (2, 3), (20, 30))
    assert maps.shape == (1, 20, 30, 1)
    assert torch.equal(maps, torch.zeros_like(maps))


def test_map_of_a_wide_grid_keeps_rows_and_columns() -> None:
    similarity = torch.zeros(1, 2 * 4, 1)
    similarity[0, 1 * 4 + 3] = 1  # row 1, column 3
    maximum = normalized_map(similarity, (2, 4), (20, 80))[0, :, :, 0].argmax().item()
    assert divmod(maximum, 80)[0] >= 10
    assert divmod(maximum, 80)[1] >= 60


def test_min_max_scales_to_zero_and_one() -> None:
    scaled = min_max(torch.tensor([[1.0, 3.0], [2.0, 5.0], [5.0, 4.0]]), dim=0)
    assert scaled.tolist() == [[0.0, 0.0], [0.25, 1.0], [1.0, 0.5]]


def test_values_below_the_threshold_are_set_to_it() -> None:
    maps = np.array([[[0.1, 0.3]], [[-0.2, 0.05]]], np.float32)
    result = thresholded(maps, np.array([0.2, 0.1], np.float32))
    np.testing.assert_allclose(result, [[[0.2, 0.3]], [[0.1, 0.1]]], rtol=1e-6)
