"""What objects of the world are called."""

import collections

import numpy as np
import pytest

from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.words import (
    SYNONYMS,
    all_forms,
    article,
    caption,
    phrase,
    plural,
    random_form,
)


def test_each_word_belongs_to_one_name():
    counts = collections.Counter(word for name in NAMES for word in all_forms(name))
    assert [word for word, count in counts.items() if count > 1] == []
    assert set(SYNONYMS) <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "several"),
    [
        *(("mug", "mugs"), ("box", "boxes"), ("brick", "bricks"), ("plate", "plates")),
        *(("tomato", "tomatoes"), ("knife", "knives"), ("battery", "batteries")),
        *(("toothbrush", "toothbrushes"), ("wrench", "wrenches"), ("toy car", "toy cars")),
        *(("computer mouse", "computer mice"), ("pliers", "pliers"), ("dice", "dice")),
        *(("wine glass", "wine glasses"), ("key", "keys"), ("roll of tape", "rolls of tape")),
    ],
)
def test_plurals(name, several):
    assert plural(name) == several


def test_captions_name_all_things_with_their_attributes_and_counts():
    phrases = [phrase("mug", "orange"), phrase("bowl", "blue", "shiny"), phrase("pliers")]
    assert caption(phrases[:1], [1], ["mug"]) == "a photo of an orange mug"
    assert (
        caption(phrases, [1, 2, 7], ["mug", "bowl", "pliers"])
        == "a photo of an orange mug, two shiny blue bowls and four pliers"
    )


def test_random_forms_are_those_of_the_name_and_all_occur():
    rng = np.random.default_rng(0)
    assert {random_form("mug", rng) for _ in range(400)} == set(all_forms("mug"))


def test_the_article_follows_the_next_word():
    assert [article(word) for word in ("egg", "mug", "orange mug")] == ["an", "a", "an"]
