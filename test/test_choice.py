"""Which mask candidates become segments: each object once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.choice import (
    MIN_OWN_QUALITY,
    Candidate,
    Choice,
    choose_objects,
    distinct,
    rank_candidates,
)
from clip_surgery_ros.core.interfaces import MaskCandidates
from clip_surgery_ros.core.ranking import FEATURES


def box(top: int, left: int, bottom: int, right: int, size: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def blob(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return mask.astype(np.float32)


def test_distinct_keeps_one_mask_per_object() -> None:
    whole, most, part, second = (
        box(0, 0, 8, 8),
        box(0, 0, 8, 7),
        box(0, 0, 3, 3),
        box(8, 8, 16, 16),
    )
    assert distinct([part, most, whole, second], [0.6, 0.7, 0.9, 0.8]) == [2, 3]


def test_distinct_keeps_the_best_of_poor_masks() -> None:
    masks = [box(0, 0, 4, 4), box(8, 8, 12, 12)]
    assert distinct(masks, [0.1, 0.2]) == [1]
    assert distinct([np.zeros((4, 4), np.bool_)], [0.9]) == []


def candidates(*masks: NDArray[np.bool_]) -> MaskCandidates:
    logits = torch.from_numpy(np.stack(masks).astype(np.float32)) - 0.5
    return MaskCandidates(np.full(len(masks), 0.8, np.float32), logits)


def test_each_object_of_a_label_is_chosen_once_and_padding_is_ignored() -> None:
    """The first label has two objects, a click on each and one more; rows from 12 are padding."""
    first, second, third = box(1, 1, 5, 5), box(1, 10, 5, 15), box(7, 1, 11, 5)
    padding = box(12, 0, 16, 16)
    maps = np.stack([blob(first | second), blob(third)])[:, :12]
    everything = np.ones((16, 16), np.bool_)
    offered = [
        candidates(everything, first | padding, third),
        candidates(third, everything, second),
        candidates(first, third, everything),
        candidates(third, first, everything),
    ]

    chosen = choose_objects(rank_candidates(offered, [0, 0, 0, 1], maps, (12, 16)))

    assert sorted(choice.prompt for choice in chosen) in ([0, 1, 3], [1, 2, 3])
    found = {choice.prompt: (choice.logits > 0).numpy() for choice in chosen}
    assert (found[1] == second).all() and (found[3] == third).all()
    assert all(0 <= choice.quality <= 1 for choice in chosen)
    assert [choice.is_further for choice in chosen] == [False, True, False]


def test_without_a_model_own_quality_and_the_height_of_the_click_decide() -> None:
    part, whole, second = box(1, 1, 3, 5), box(1, 1, 7, 7), box(10, 10, 15, 15)
    logits = [torch.from_numpy(np.stack(two).astype(np.float32)) - 0.5 for two in ((part, whole),)]
    first = MaskCandidates(np.array([0.6, 0.9], np.float32), logits[0])
    maps = blob(part)[None]  # the demo's ranking takes the part, which the map shows
    for height, expected in ((0.8, [0.9, 0.64]), (0.7, [0.9])):
        offered = [first, candidates(second)]
        pool = rank_candidates(offered, [0, 0], maps, (16, 16), None, [1.0, height])
        chosen = choose_objects(pool, MIN_OWN_QUALITY)
        assert [choice.quality for choice in chosen] == pytest.approx(expected)
        assert ((chosen[0].logits > 0).numpy() == whole).all()


def test_mask_of_two_objects_loses_to_the_best_masks_of_each() -> None:
    first, second = box(2, 2, 8, 7), box(2, 7, 8, 12)
    both, nothing = first | second, np.zeros((16, 16), np.bool_)
    maps = blob(both)[None]

    def found(*offered: MaskCandidates) -> list[NDArray[np.bool_]]:
        chosen = choose_objects(rank_candidates(offered, [0] * len(offered), maps, (16, 16)))
        return [(choice.logits > 0).numpy() for choice in chosen]

    separate = found(candidates(both), candidates(first, nothing), candidates(second, nothing))
    assert len(separate) == 2 and (np.any(separate, axis=0) == both).all()
    # Without a mask of the second half, the mask of both stays.
    (whole,) = found(candidates(both), candidates(first, nothing), candidates(first, nothing))
    assert (whole == both).all()


def test_parts_are_not_chosen_beside_a_better_whole_of_the_same_click() -> None:
    """SAM's three masks are usually nested: a part, a larger part, the whole."""
    whole = box(2, 2, 14, 14)
    halves = box(2, 2, 14, 8), box(2, 8, 14, 14)
    quarters = box(2, 2, 8, 8), box(8, 8, 14, 14)
    offered = [
        candidates(quarter, half, whole) for quarter, half in zip(quarters, halves, strict=True)
    ]
    (chosen,) = choose_objects(rank_candidates(offered, [0, 0], blob(whole)[None], (16, 16)))
    assert ((chosen.logits > 0).numpy() == whole).all()


def candidate(mask: NDArray[np.bool_], quality: float, prompt: int, best: bool) -> Candidate:
    features = np.zeros(len(FEATURES), np.float32)
    return Candidate(Choice(prompt, torch.zeros(1), quality), 0, mask, features, best)


@pytest.mark.parametrize("half", [0.46, 0.55, 0.79])
def test_part_is_chosen_only_as_the_best_mask_of_its_click(half: float) -> None:
    whole, left, right = box(4, 4, 12, 12), box(4, 4, 12, 8), box(4, 8, 12, 12)
    nested = [
        candidate(mask, quality, prompt, mask is whole)
        for prompt, part in enumerate((left, right))
        for mask, quality in ((whole, 0.8), (part, half))
    ]
    assert [choice.quality for choice in choose_objects(nested)] == [0.8]
    separate = [
        candidate(whole, 0.8, 0, True),
        candidate(left, half, 1, True),
        candidate(right, half, 2, True),
    ]
    assert [choice.quality for choice in choose_objects(separate)] == [half, half]
