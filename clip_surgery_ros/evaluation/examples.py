"""Pictures of which every object is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.scene_sets import SCENE_SETS, TWINS, SceneSet
from clip_surgery_ros.world.scenes import Scene
from clip_surgery_ros.world.sprites import NAMES

ABSENT_ASKED = 2
"""Names asked of every picture that are not in it: as many as let false alarms be counted on 200
pictures to 2.5 % (one standard error at 5 %: 1.1 %)."""


@dataclass(frozen=True)
class Example:
    """A picture, its objects, and what is asked of it.

    :param image: (H, W, 3) uint8 RGB.
    :param names: of each object.
    :param masks: (H, W) bool each, the visible pixels of an object.
    :param present: labels asked that are there.
    :param absent: labels asked that are not.
    :param ignored: (H, W) bool, pixels that no figure counts: borders, crowds.
    """

    image: NDArray[np.uint8]
    names: tuple[str, ...]
    masks: tuple[NDArray[np.bool_], ...]
    present: tuple[str, ...]
    absent: tuple[str, ...]
    ignored: NDArray[np.bool_]

    @property
    def asked(self) -> tuple[str, ...]:
        """All labels of the query."""
        return self.present + self.absent

    def objects(self, name: str) -> list[NDArray[np.bool_]]:
        """Masks of the objects of this name."""
        return [mask for mask, one in zip(self.masks, self.names, strict=True) if one == name]


def example(
    image: NDArray[np.uint8],
    names: Sequence[str],
    masks: Sequence[NDArray[np.bool_]],
    absent: Sequence[str],
    ignored: NDArray[np.bool_] | None = None,
) -> Example:
    """An example of which every name there is asked for."""
    nothing = np.zeros(image.shape[:2], np.bool_)
    return Example(
        image,
        tuple(names),
        tuple(masks),
        tuple(dict.fromkeys(names)),
        tuple(absent),
        nothing if ignored is None else ignored,
    )


def some_absent(
    names: Sequence[str], present: Sequence[str], seed: int, count: int = ABSENT_ASKED
) -> tuple[str, ...]:
    """``count`` names that are not there, or all of them; the same for a seed, and the first of
    those that a larger count gives.
    """
    others = [name for name in names if name not in present]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(others))
    return tuple(others[int(index)] for index in order[:count])


def generated(
    name: str, split: str, count: int, absent_asked: int = ABSENT_ASKED
) -> Iterator[Example]:
    """The first ``count`` examples of a scene set.

    :param absent_asked: names asked of each that are not in it; of ``twins`` these are the twins.
    :raises KeyError: when there is no set of this name.
    """
    scenes: SceneSet = SCENE_SETS[name]
    return (_of_scene(scene, name, absent_asked) for scene in scenes.scenes(split, count))


def _of_scene(scene: Scene, set_name: str, absent_asked: int) -> Example:
    absent = some_absent(NAMES, scene.names, scene.seed, absent_asked)
    if set_name == "twins":
        twins = dict.fromkeys(TWINS[name] for name in scene.names)
        absent = tuple(name for name in twins if name not in scene.names)
    whole = example(scene.image, scene.names, tuple(scene.masks), absent)
    return replace(whole, present=()) if set_name == "absent" else whole
