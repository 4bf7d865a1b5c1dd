"""Pasted objects are where the ids say, and leave enough of the others."""

from __future__ import annotations

import numpy as np
import pytest

from clip_surgery_ros.training import pasting
from clip_surgery_ros.training.pasting import LEAST_PIXELS, MOST, with_objects_of
from clip_surgery_ros.training.world_views import View
from clip_surgery_ros.world.frame import NamedObject

SIZE = (60, 80)
BACKGROUND, BALL, BOX, TINY = (10, 10, 10), (200, 0, 0), (0, 0, 200), (0, 200, 0)


def view(*items: tuple[str, tuple[int, int, int], tuple[int, int, int, int]]) -> View:
    """Make a view of rectangles: name, colour, and left, top, width, height."""
    rgb = np.full((*SIZE, 3), BACKGROUND, np.uint8)
    ids = np.zeros(SIZE, np.uint8)
    objects = []
    for instance, (name, colour, (left, top, width, height)) in enumerate(items, 1):
        part = slice(top, top + height), slice(left, left + width)
        rgb[part], ids[part] = colour, instance
        objects.append(NamedObject(instance, name, "red", ""))
    return View(rgb, ids, tuple(objects))


OWN = view(("box", BOX, (5, 5, 20, 20)))
OTHER = view(("ball", BALL, (30, 20, 14, 14)), ("key", TINY, (60, 40, 5, 5)))


@pytest.mark.parametrize("seed", range(20))
def test_pasted_object_has_its_colour_its_name_and_an_id_of_its_own(seed: int) -> None:
    made = with_objects_of(OWN, OTHER, np.random.default_rng(seed))
    assert [item.name for item in made.objects] == ["box", "ball"], "the key is too small"
    assert [item.instance for item in made.objects] == [1, 2]
    assert (made.rgb[made.ids == 2] == BALL).all() and (made.rgb[made.ids == 1] == BOX).all()
    assert (made.rgb[made.ids == 0] == BACKGROUND).all()
    low, high = (14 * scale for scale in pasting.SCALES)
    assert (low - 1) ** 2 <= (made.ids == 2).sum() <= (high + 1) ** 2
    assert (made.ids == 1).sum() >= 20 * 20 / 2


def test_views_that_are_pasted_into_stay_as_they_were() -> None:
    before = OWN.rgb.copy(), OWN.ids.copy(), OTHER.rgb.copy()
    for seed in range(5):
        with_objects_of(OWN, OTHER, np.random.default_rng(seed))
    assert all((a == b).all() for a, b in zip(before, (OWN.rgb, OWN.ids, OTHER.rgb), strict=True))


def test_object_that_would_hide_another_is_left_out() -> None:
    filled = view(("box", BOX, (0, 0, 80, 60)))
    small = view(*(("key", TINY, (8 * k, 8 * j, 6, 6)) for k in range(10) for j in range(7)))
    huge = view(("ball", BALL, (0, 0, 56, 42)))
    for seed in range(10):
        assert len(with_objects_of(small, huge, np.random.default_rng(seed)).objects) == 70
        pasted = with_objects_of(filled, huge, np.random.default_rng(seed))
        assert (pasted.ids == 1).sum() >= 0.5 * 80 * 60


def test_at_most_a_few_objects_are_pasted_and_none_of_an_empty_view() -> None:
    many = view(*(("ball", BALL, (20 * k, 15 * j, 14, 12)) for k in range(4) for j in range(4)))
    assert LEAST_PIXELS <= 14 * 12
    counts = {len(with_objects_of(OWN, many, np.random.default_rng(s)).objects) for s in range(40)}
    assert counts <= set(range(1, MOST + 2)) and max(counts) == MOST + 1
    assert with_objects_of(OWN, view(), np.random.default_rng(0)).objects == OWN.objects
    assert [o.name for o in with_objects_of(view(), OTHER, np.random.default_rng(0)).objects] == [
        "ball"
    ]
