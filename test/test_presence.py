"""Presence: on its own for each label, calibrated or against distractors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from clip_surgery_ros.core.presence import DISTRACTORS, PresenceLevel, presence_score

CLS = F.normalize(torch.tensor([1.0, 1.0, 0.0, 0.0]), dim=0)
TEXT = torch.eye(4)


def test_at_the_level_presence_is_one_half_and_rises_with_the_cosine() -> None:
    level = PresenceLevel(scale=10.0, offset=math.sqrt(0.5))
    scores = presence_score(CLS, TEXT[:3], TEXT[3:], level)
    assert scores[0].item() == pytest.approx(0.5, abs=1e-6)
    assert scores[2].item() == pytest.approx(1 / (1 + math.exp(10 * math.sqrt(0.5))), abs=1e-6)


def test_labels_that_are_both_there_do_not_compete() -> None:
    for level in (PresenceLevel(), PresenceLevel(20.0, 0.3)):
        both = presence_score(CLS, TEXT[:2], TEXT[2:], level)
        alone = presence_score(CLS, TEXT[:1], TEXT[2:], level)
        assert both[0] == alone[0]
        assert both.min() > 0.95


def test_without_a_level_it_is_the_zero_shot_probability_among_distractors() -> None:
    scores = presence_score(CLS, TEXT[:1], TEXT[1:], PresenceLevel(scale=3.0))
    every = (3.0 * (TEXT @ CLS)).softmax(dim=0)
    assert scores[0].item() == pytest.approx(every[0].item(), abs=1e-6)


def test_the_distractors_are_the_59_of_pascal_context() -> None:
    assert len(DISTRACTORS) == len(set(DISTRACTORS)) == 59
