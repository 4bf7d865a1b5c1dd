"""Examples of the sticker scenes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

from clip_surgery_ros.evaluation.examples import ABSENT_PER_EXAMPLE, Example, sample_absent
from clip_surgery_ros.world.scene_sets import SCENE_SETS, TWINS
from clip_surgery_ros.world.scenes import Scene
from clip_surgery_ros.world.sprites import NAMES


class StickerScenes:
    """The sticker scenes as a :class:`scene_source.SceneSource`.

    Absent labels of ``twins`` are the twins of what is present.
    """

    names = NAMES
    other_words = MappingProxyType(dict[str, str]())
    attributes = ()
    sets = tuple(SCENE_SETS)

    def examples(
        self, set_name: str, split: str, count: int, absent_count: int = ABSENT_PER_EXAMPLE
    ) -> Iterator[Example]:
        """See :class:`scene_source.SceneSource`."""
        scenes = SCENE_SETS[set_name].scenes(split, count)
        return (_example(scene, set_name, absent_count) for scene in scenes)

    def claims(self, set_name: str, split: str, count: int) -> Iterator[Example]:
        """See :class:`scene_source.SceneSource`."""
        for scene in SCENE_SETS[set_name].scenes(split, count):
            absent = [name for name in NAMES if name not in scene.names]
            yield Example.of_objects(scene.image, scene.names, tuple(scene.masks), absent)


def _example(scene: Scene, set_name: str, absent_count: int) -> Example:
    absent = sample_absent(NAMES, scene.names, scene.seed, absent_count)
    if set_name == "twins":
        twins = dict.fromkeys(TWINS[name] for name in scene.names)
        absent = tuple(name for name in twins if name not in scene.names)
    example = Example.of_objects(scene.image, scene.names, tuple(scene.masks), absent)
    return replace(example, present=()) if set_name == "absent" else example
