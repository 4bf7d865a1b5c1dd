"""This package computes the numbers of the authors' implementation (``golden/``)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.heatmap import (
    feature_surgery,
    normalized_map,
    zero_shot_probabilities,
)
from clip_surgery_ros.core.points import combined_points, reference_points
from clip_surgery_ros.networks.clip.backend import ClipBackend

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-4


def load_weights_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Case:
    """A golden file, and this package's results for its input."""

    data: Any
    state: dict[str, Tensor]
    image: NDArray[np.uint8]
    clip: ClipBackend
    tokens: Tensor
    text: Tensor
    redundant: Tensor

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.clip.grid_hw(self.clip.preprocess(self.image))

    @property
    def unit(self) -> Tensor:
        return F.normalize(self.tokens, dim=-1)


@pytest.fixture(scope="module", params=["vit", "resnet"])
def case(request: pytest.FixtureRequest) -> Case:
    data = np.load(GOLDEN / f"clip_surgery_{request.param}_small.npz")
    weights = load_weights_module()
    state = weights.state_dict(str(data["config"]), int(data["seed"]))
    image = weights.image(*data["image_hw"].tolist(), int(data["seed"]))
    clip = ClipBackend.from_state_dict(state, input_size=int(data["input_size"]))
    tokens = clip.surgery_tokens(clip.preprocess(image))
    labels = data["labels"].tolist()
    return Case(
        data, state, image, clip, tokens, clip.text_features(labels), clip.text_features([""])
    )


def close(actual: Tensor, expected: NDArray[np.float32]) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(expected), atol=TOLERANCE, rtol=0)


def test_surgery_tokens_equal_the_authors(case: Case) -> None:
    close(case.tokens, case.data["surgery_tokens"])


def test_text_features_equal_the_authors(case: Case) -> None:
    close(case.text, case.data["text_features"])
    close(case.redundant, case.data["redundant_features"])


def test_feature_surgery_across_labels_equals_the_authors(case: Case) -> None:
    similarity = feature_surgery(case.unit, case.text)
    close(similarity, case.data["similarity_multi"])
    maps = normalized_map(similarity[:, 1:], case.grid_hw, case.size_hw)
    close(maps, case.data["map_multi"])


def test_feature_surgery_of_one_text_equals_the_authors(case: Case) -> None:
    similarity = feature_surgery(case.unit, case.text[:1], case.redundant)
    close(similarity, case.data["similarity_single"])
    maps = normalized_map(similarity[:, 1:], case.grid_hw, case.size_hw)
    close(maps, case.data["map_single"])


@pytest.mark.parametrize("label", range(5))
def test_points_equal_the_authors_in_order(case: Case, label: int) -> None:
    similarity = feature_surgery(case.unit, case.text)[0, 1:, label].numpy()
    xy, labels = reference_points(similarity, case.grid_hw, case.size_hw)
    np.testing.assert_array_equal(xy, case.data[f"points_{label}"])
    np.testing.assert_array_equal(labels, case.data[f"point_labels_{label}"])


def test_combined_points_of_two_texts_equal_the_authors(case: Case) -> None:
    single = feature_surgery(case.unit, case.text[:2], case.redundant)[0, 1:].numpy()
    xy, labels = combined_points([single[:, 0], single[:, 1]], case.grid_hw, case.size_hw)
    np.testing.assert_array_equal(xy, case.data["points_combined"])
    np.testing.assert_array_equal(labels, case.data["point_labels_combined"])


def test_plain_similarity_and_zero_shot_equal_the_authors(case: Case) -> None:
    clip = ClipBackend.from_state_dict(case.state)
    plain = F.normalize(clip.plain_tokens(clip.preprocess(case.image)), dim=-1)
    assert list(plain.shape) == case.data["plain_tokens_shape"].tolist()
    close(plain @ case.text.T, case.data["plain_similarity"])
    close(zero_shot_probabilities(plain[:, 0], case.text), case.data["zero_shot_probs"])


def test_bfloat16_tokens_are_close_to_float32(case: Case) -> None:
    half = ClipBackend.from_state_dict(
        case.state, precision="bfloat16", input_size=int(case.data["input_size"])
    )
    tokens = half.surgery_tokens(half.preprocess(case.image))
    assert tokens.dtype == torch.float32
    assert F.cosine_similarity(tokens, case.tokens, dim=-1).min() > 0.98
