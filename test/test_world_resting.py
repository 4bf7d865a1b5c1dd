"""Objects lean, are stacked and lie in bowls, and rest there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from world_physics import faults

from clip_surgery_ros.world.objects import KINDS
from clip_surgery_ros.world.scene import Scene, SceneStyle, make_scene
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.world_object import WorldObject

LEANING = SceneStyle((5, 7), ("phone", "sponge", "stool", "box"), on_others=0.7)
STACKED = SceneStyle((3, 4), ("block", "book", "brick", "can", "dice", "mug"), on_others=1)
IN_BOWLS = SceneStyle((3, 4), ("bowl", "basket", "apple", "dice", "egg", "bolt"), on_others=1)

DEEP = 0.0015
"""Metres that edges may be in round sides: contact is looked for on a grid of 2 mm."""


def leans(item: WorldObject, scene: Scene) -> bool:
    """Is a flat object's nearest axis 9 to 25 degrees from upright?"""
    upright = np.abs(item.pose[2, :3]).max()
    return KINDS[item.name].leans and np.cos(np.radians(25)) < upright < np.cos(np.radians(9))


def within(inner: WorldObject, outer: WorldObject) -> bool:
    """Is the footprint of an object inside another's?"""
    (low, high), (least, most) = (
        (v.min(0)[:2], v.max(0)[:2]) for v in (inner.vertices(), outer.vertices())
    )
    return bool((low > least).all() and (high < most).all())


def is_in_a_bowl(item: WorldObject, scene: Scene) -> bool:
    """Is it inside a vessel, its lowest point below the rim?"""
    bottom = item.vertices()[:, 2].min()
    return any(
        KINDS[other.name].holds
        and within(item, other)
        and bottom < other.vertices()[:, 2].max() - 0.01
        for other in scene.objects.values()
    )


def is_stacked(item: WorldObject, scene: Scene) -> bool:
    """Is its lowest point at another's highest one, above the table?"""
    bottom = item.vertices()[:, 2].min()
    tops = [other.vertices()[:, 2].max() for other in scene.objects.values()]
    return bottom > 0.005 and any(abs(bottom - top) < 0.001 for top in tops)


def scenes_with(
    style: SceneStyle, what: Callable[[WorldObject, Scene], bool], count: int
) -> Iterator[Scene]:
    """Return the first scenes in which an object does this, of at most 30."""
    start = SPLITS["development"].start + 500
    found = 0
    for seed in range(start, start + 30):
        scene = make_scene(seed, style)
        if any(what(item, scene) for item in scene.objects.values()):
            found += 1
            yield scene
        if found == count:
            return
    raise AssertionError(f"{found} of 30 scenes; {count} were expected")


@pytest.mark.parametrize(
    ("style", "what"), [(LEANING, leans), (STACKED, is_stacked), (IN_BOWLS, is_in_a_bowl)]
)
def test_objects_on_others_occur_and_rest(
    style: SceneStyle, what: Callable[[WorldObject, Scene], bool]
) -> None:
    for scene in scenes_with(style, what, 4):
        assert not faults(scene, DEEP)
