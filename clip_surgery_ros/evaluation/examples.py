"""Pictures whose objects are all known, with the labels that are queried of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.scene_sets import SCENE_SETS, TWINS
from clip_surgery_ros.world.scenes import Scene
from clip_surgery_ros.world.sprites import NAMES

ABSENT_PER_EXAMPLE = 2
"""Labels queried per picture that are not in it. On 200 pictures, two let the rate of false alarms
be measured to 2.5 % (one standard error at 5 %: 1.1 %)."""


@dataclass(frozen=True)
class Example:
    """A picture, its objects, and the labels that are queried of it.

    :param image: (H, W, 3) uint8 RGB.
    :param names: of each object.
    :param masks: (H, W) bool each, the visible pixels of an object.
    :param present: queried labels that are in the picture.
    :param absent: queried labels that are not.
    :param ignored: (H, W) bool, pixels that no metric counts: borders, crowds.

    >>> left = np.array([[True, False]])
    >>> example = Example.of_objects(np.zeros((1, 2, 3), np.uint8), ["mug"], [left], ["saw"])
    >>> example.present, example.absent, example.queried
    (('mug',), ('saw',), ('mug', 'saw'))
    >>> len(example.masks_of("mug"))
    1
    """

    image: NDArray[np.uint8]
    names: tuple[str, ...]
    masks: tuple[NDArray[np.bool_], ...]
    present: tuple[str, ...]
    absent: tuple[str, ...]
    ignored: NDArray[np.bool_]

    @classmethod
    def of_objects(
        cls,
        image: NDArray[np.uint8],
        names: Sequence[str],
        masks: Sequence[NDArray[np.bool_]],
        absent: Sequence[str],
        ignored: NDArray[np.bool_] | None = None,
    ) -> Example:
        """Make an example that queries the name of every object, and the absent labels."""
        if ignored is None:
            ignored = np.zeros(image.shape[:2], np.bool_)
        present = tuple(dict.fromkeys(names))
        return cls(image, tuple(names), tuple(masks), present, tuple(absent), ignored)

    @property
    def queried(self) -> tuple[str, ...]:
        """All labels of the query."""
        return self.present + self.absent

    def masks_of(self, label: str) -> list[NDArray[np.bool_]]:
        """Return the masks of the objects of this name."""
        return [mask for mask, name in zip(self.masks, self.names, strict=True) if name == label]


def sample_absent(
    names: Sequence[str], present: Sequence[str], seed: int, count: int = ABSENT_PER_EXAMPLE
) -> tuple[str, ...]:
    """Draw names that are not present.

    The same seed gives the same names; a larger count adds names behind them.

    :param count: how many; fewer are returned where fewer are absent.
    """
    absent = [name for name in names if name not in present]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(absent))
    return tuple(absent[int(index)] for index in order[:count])


def scene_examples(
    set_name: str, split: str, count: int, absent_count: int = ABSENT_PER_EXAMPLE
) -> Iterator[Example]:
    """Return the first ``count`` examples of a scene set.

    :param absent_count: absent labels queried per example; those of ``twins`` are the twins of
        what is present instead.
    :raises KeyError: when there is no set of this name.
    """
    scenes = SCENE_SETS[set_name].scenes(split, count)
    return (_scene_example(scene, set_name, absent_count) for scene in scenes)


def _scene_example(scene: Scene, set_name: str, absent_count: int) -> Example:
    absent = sample_absent(NAMES, scene.names, scene.seed, absent_count)
    if set_name == "twins":
        twins = dict.fromkeys(TWINS[name] for name in scene.names)
        absent = tuple(name for name in twins if name not in scene.names)
    example = Example.of_objects(scene.image, scene.names, tuple(scene.masks), absent)
    return replace(example, present=()) if set_name == "absent" else example
