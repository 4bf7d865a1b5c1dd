"""Sets of scenes that each show one difficulty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from clip_surgery_ros.world.scenes import SPLITS, Scene, SceneGenerator, SceneStyle
from clip_surgery_ros.world.sprites import NAMES


@dataclass(frozen=True)
class SceneSet:
    """Scenes of one style.

    :param offset: of its seeds, so that sets share no background either.
    :param copies: least and most copies of a scene's first object; a scene of copies shows one
        other object at most.
    :param names: of the objects drawn from; empty for all.
    """

    style: SceneStyle
    offset: int
    copies: tuple[int, int] = (1, 1)
    names: tuple[str, ...] = ()

    def scenes(self, split: str, count: int) -> Iterator[Scene]:
        """The first ``count`` scenes of a split, always the same."""
        start = SPLITS[split].start + self.offset
        return (self.scene(seed) for seed in range(start, start + count))

    def scene(self, seed: int) -> Scene:
        """The scene of a seed."""
        drawn_from = [NAMES.index(name) for name in self.names] or None
        generator = SceneGenerator(self.style, drawn_from)
        if self.copies == (1, 1):
            return generator.scene(seed)
        rng = np.random.Generator(np.random.PCG64(seed))
        one, other = (int(index) for index in rng.choice(len(NAMES), 2, replace=False))
        low, high = self.copies
        objects = [one] * int(rng.integers(low, high + 1))
        return generator.compose(objects + [other] * int(rng.integers(2)), rng, seed)


_PAIRS = (
    ("red apple", "green apple"), ("lemon", "orange"), ("peach", "tomato"), ("milk", "juice box"),
    ("hammer", "axe"), ("pencil", "paintbrush"), ("wine glass", "beer mug"), ("bed", "couch"),
    ("television", "laptop"), ("telephone", "mobile phone"), ("camera", "radio"),
    ("sunflower", "tulip"), ("soccer ball", "basketball"), ("guitar", "violin"), ("dress", "coat"),
    ("sneaker", "boot"), ("cap", "top hat"), ("backpack", "handbag"), ("car", "taxi"),
    ("bus", "truck"),
)  # fmt: skip
TWINS: Mapping[str, str] = dict(_PAIRS) | {other: one for one, other in _PAIRS}
"""Names to those most easily taken for them."""

_APART = 10_000_000

SCENE_SETS: Mapping[str, SceneSet] = {
    "mixed": SceneSet(SceneStyle(), 0),
    "single": SceneSet(SceneStyle(count=(1, 1)), _APART),
    "cluttered": SceneSet(SceneStyle(count=(5, 7), scale=(0.25, 0.45)), 2 * _APART),
    "occluded": SceneSet(SceneStyle(count=(3, 5), scale=(0.4, 0.6), max_hidden=0.55), 3 * _APART),
    "several": SceneSet(SceneStyle(scale=(0.28, 0.42)), 4 * _APART, copies=(2, 4)),
    "small": SceneSet(SceneStyle(count=(2, 5), scale=(0.15, 0.25)), 5 * _APART),
    "twins": SceneSet(SceneStyle(count=(1, 3)), 6 * _APART, names=tuple(TWINS)),
    "absent": SceneSet(SceneStyle(), 7 * _APART),
}
"""By name. ``mixed`` holds the scenes of the networks' card; of ``twins`` the other of each pair
is asked as well, and of ``absent`` nothing that is there."""
