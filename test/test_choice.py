"""Which candidates become segments: objects told apart, none twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.choice import (
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

    chosen = choose_objects(rank_candidates(offered, [0, 0, 0, 1], maps, (12, 16)))

    assert sorted(choice.prompt for choice in chosen) in ([0, 1, 3], [1, 2, 3])
    found = {choice.prompt: (choice.logits > 0).numpy() for choice in chosen}
    assert (found[1] == two).all() and (found[3] == third).all()
    assert all(0 <= choice.quality <= 1 for choice in chosen)
    assert [choice.is_further for choice in chosen] == [False, True, False]


def test_a_mask_of_two_objects_gives_way_to_what_clicks_on_each_like_best() -> None:
    one, two = box(2, 2, 8, 7), box(2, 7, 8, 12)
    both, nothing = one | two, np.zeros((16, 16), np.bool_)
    maps = blob(both)[None]

    def found(*offered: MaskCandidates) -> list[NDArray[np.bool_]]:
        chosen = choose_objects(rank_candidates(offered, [0] * len(offered), maps, (16, 16)))
        return [(choice.logits > 0).numpy() for choice in chosen]

    apart = found(candidates(both), candidates(one, nothing), candidates(two, nothing))
    assert len(apart) == 2 and (np.any(apart, axis=0) == both).all()
    # Where nothing shows the other half, the whole stays.
    (whole,) = found(candidates(both), candidates(one, nothing), candidates(one, nothing))
    assert (whole == both).all()


def test_parts_that_a_click_offers_beside_a_whole_that_it_likes_better_are_no_objects() -> None:
    """SAM's three masks are nested as a rule: a part, more of it, the whole."""
    whole = box(2, 2, 14, 14)
    halves = box(2, 2, 14, 8), box(2, 8, 14, 14)
    quarters = box(2, 2, 8, 8), box(8, 8, 14, 14)
    offered = [
        candidates(quarter, half, whole) for quarter, half in zip(quarters, halves, strict=True)
    ]
    (chosen,) = choose_objects(rank_candidates(offered, [0, 0], blob(whole)[None], (16, 16)))
    assert ((chosen.logits > 0).numpy() == whole).all()


def one_of_a_pool(mask: NDArray[np.bool_], quality: float, prompt: int, best: bool) -> Candidate:
    features = np.zeros(len(FEATURES), np.float32)
    return Candidate(Choice(prompt, torch.zeros(1), quality), 0, mask, features, best)


@pytest.mark.parametrize("half", [0.46, 0.55, 0.79])
def test_a_part_is_an_object_only_as_the_best_answer_of_its_own_click(half: float) -> None:
    whole, left, right = box(4, 4, 12, 12), box(4, 4, 12, 8), box(4, 8, 12, 12)
    nested = [
        one_of_a_pool(mask, quality, prompt, mask is whole)
        for prompt, part in enumerate((left, right))
        for mask, quality in ((whole, 0.8), (part, half))
    ]
    assert [choice.quality for choice in choose_objects(nested)] == [0.8]
    told_apart = [
        one_of_a_pool(whole, 0.8, 0, True),
        one_of_a_pool(left, half, 1, True),
        one_of_a_pool(right, half, 2, True),
    ]
    assert [choice.quality for choice in choose_objects(told_apart)] == [half, half]
