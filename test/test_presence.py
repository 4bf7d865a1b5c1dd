"""Presence of each label, with a fitted level or with distractors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.core.presence import (
    DISTRACTORS,
    PresenceLevel,
    distractor_level,
    presence_score,
)

TEXT = torch.eye(4)


def tokens_of(cls: Tensor, *tokens: Tensor) -> Tensor:
    """Return CLS and tokens as (1 + N, C) unit rows."""
    return F.normalize(torch.stack([cls, *tokens]), dim=-1)


TOKENS = tokens_of(torch.tensor([1.0, 1.0, 0.0, 0.0]), TEXT[0])


def test_presence_is_one_half_at_the_level_and_rises_with_the_cosine() -> None:
    level = PresenceLevel(scale=10.0, offset=math.sqrt(0.5))
    scores = presence_score(TOKENS, TEXT[:3], TEXT[3:], level)
    assert scores[0].item() == pytest.approx(0.5, abs=1e-6)
    assert scores[2].item() == pytest.approx(1 / (1 + math.exp(10 * math.sqrt(0.5))), abs=1e-6)


def test_present_labels_do_not_compete() -> None:
    for level in (PresenceLevel(), PresenceLevel(20.0, 0.3)):
        both = presence_score(TOKENS, TEXT[:2], TEXT[2:], level)
        alone = presence_score(TOKENS, TEXT[:1], TEXT[2:], level)
        assert both[0] == alone[0]
        assert both.min() > 0.95


def test_distractors_give_the_level_without_a_fitted_one() -> None:
    # Cosines 0.0 to 0.8: median 0.4; median absolute deviation 0.2.
    cosines = torch.arange(9) / 10
    expected = 0.4 + 2.0 * 1.4826 * 0.2
    assert distractor_level(cosines).item() == pytest.approx(expected, abs=1e-6)
    text = torch.tensor([[expected, 0.0], [expected + 0.1, 0.0]])
    distractors = torch.stack([cosines, torch.zeros(9)], dim=1)
    scores = presence_score(TEXT[:1, :2], text, distractors, PresenceLevel(scale=10))
    assert scores[0].item() == pytest.approx(0.5, abs=1e-5)
    assert scores[1].item() == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-5)


def test_present_distractor_does_not_lower_presence() -> None:
    names = torch.eye(20)
    picture = tokens_of(names[:3].sum(dim=0))  # three of the names
    score = presence_score(picture, names[:1], names[1:], PresenceLevel())
    absent = presence_score(picture, names[5:6], names[[0, *range(6, 20)]], PresenceLevel())
    assert score.item() > 0.95
    assert absent.item() <= 0.5


def test_evidence_is_cosine_of_cls_plus_weighted_peak_of_tokens() -> None:
    tokens = tokens_of(torch.tensor([0.6, 0.0, 0.0, 0.8]), TEXT[1], 0.6 * TEXT[0] + 0.8 * TEXT[1])
    level = PresenceLevel(scale=10.0, offset=0.5, peak_weight=2.0)
    scores = presence_score(tokens, TEXT[:3], TEXT[3:], level)
    # Evidence: cosine with CLS plus twice the highest with a token.
    for score, value in zip(scores.tolist(), (0.6 + 2 * 0.6, 2 * 1.0, 0.0), strict=True):
        assert score == pytest.approx(1 / (1 + math.exp(-10 * (value - 0.5))), abs=1e-6)


def test_level_of_a_single_distractor_is_its_cosine() -> None:
    assert distractor_level(torch.tensor([0.25])).item() == 0.25


def test_distractors_are_the_59_classes_of_pascal_context() -> None:
    assert len(DISTRACTORS) == len(set(DISTRACTORS)) == 59
