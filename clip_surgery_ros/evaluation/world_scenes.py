"""Examples of the rendered world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
from tqdm import tqdm

from clip_surgery_ros.evaluation.examples import ABSENT_PER_EXAMPLE, Example
from clip_surgery_ros.weights.fetching import weights_folder
from clip_surgery_ros.world.asking import Asked, ask, claims
from clip_surgery_ros.world.colours import COLOURS
from clip_surgery_ros.world.kept_views import KeptView, render_all
from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.sets import SETS, SIZE, SetView
from clip_surgery_ros.world.words import FINISH_WORDS, SYNONYMS


def views_folder() -> Path:
    """Return the folder where rendered views are kept: beside the weights."""
    return weights_folder() / "world_views"


class WorldScenes:
    """The sets of the rendered world. A scene follows from its set, its split and its number.

    ``names`` are all names that a network of the world knows, ``other_words`` further words, each
    for one of the names, ``attributes`` words that may stand before a name, ``sets`` the names of
    the sets.

    :param folder: where views are kept, as rendering one takes up to a second; by default that of
        :func:`views_folder`.
    :param size: width and height of the pictures, pixels.
    """

    names = NAMES
    other_words = MappingProxyType({word: name for name in SYNONYMS for word in SYNONYMS[name]})
    attributes = (*COLOURS, *(word for words in FINISH_WORDS.values() for word in words))
    sets = tuple(SETS)

    def __init__(self, folder: Path | None = None, size: tuple[int, int] = SIZE) -> None:
        self._folder, self._size = folder or views_folder(), size

    def examples(
        self, set_name: str, split: str, count: int, absent_count: int = ABSENT_PER_EXAMPLE
    ) -> Iterator[Example]:
        """Yield the first ``count`` examples of a set.

        :param split: ``development`` or ``held_out``.
        :param absent_count: absent labels queried per example, unless the set has its own.
        :raises KeyError: when there is no such set or split.
        """
        asks = SETS[set_name].asks
        for view in self._views(set_name, split, count):
            rng = np.random.default_rng([view.seed, 5])
            yield example_of(view, ask(asks, view.things, view.there(), rng, absent_count))

    def claims(self, set_name: str, split: str, count: int) -> Iterator[Example]:
        """Yield the same pictures with all labels whose presence is known, to fit presence on.

        They are too many for a query, and some mean the same objects.
        """
        for view in self._views(set_name, split, count):
            rng = np.random.default_rng([view.seed, 6])
            yield example_of(view, claims(view.things, view.there(), rng))

    def render(self, split: str, count: int, processes: int) -> None:
        """Render the first views of all sets, with a progress bar."""
        kept = [each for name in self.sets for each in self._kept(name, split, count)]
        for _ in tqdm(render_all(kept, processes), total=len(kept), unit="view"):
            pass

    def _kept(self, set_name: str, split: str, count: int) -> list[KeptView]:
        return [KeptView(self._folder, set_name, split, k, self._size) for k in range(count)]

    def _views(self, set_name: str, split: str, count: int) -> Iterator[SetView]:
        return (each.read() for each in self._kept(set_name, split, count))


def example_of(view: SetView, asked: Asked) -> Example:
    """Return the example of a view with the labels that are asked of it.

    What is seen of objects that are not there is ignored.
    """
    there = view.there()
    hidden = [thing.instance for thing in view.things if thing not in there]
    names = {thing.name for thing in view.things}
    return Example(
        view.rgb,
        tuple(thing.name for thing in there),
        tuple(view.mask(thing) for thing in there),
        tuple(each.text for each in asked.present),
        tuple(each.text for each in asked.absent),
        np.isin(view.ids, hidden),
        tuple(frozenset(p.text for p in asked.present if p.means(thing)) for thing in there),
        frozenset(each.text for each in asked.absent if each.name in names),
    )
