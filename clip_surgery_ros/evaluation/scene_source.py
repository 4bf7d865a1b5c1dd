"""What fitting and measuring want of generated scenes, whatever they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from clip_surgery_ros.evaluation.examples import ABSENT_PER_EXAMPLE, Example


class SceneSource(Protocol):
    """Sets of generated scenes. A scene follows from its set, its split and its number."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a network of these scenes knows."""

    @property
    def other_words(self) -> Mapping[str, str]:
        """Further words, each for one of the names."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Words that may stand before a name."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets."""

    def examples(
        self, set_name: str, split: str, count: int, absent_count: int = ABSENT_PER_EXAMPLE
    ) -> Iterator[Example]:
        """Yield the first ``count`` examples of a set.

        :param split: ``development`` or ``held_out``.
        :param absent_count: absent labels queried per example, unless the set has its own.
        :raises KeyError: when there is no such set or split.
        """

    def claims(self, set_name: str, split: str, count: int) -> Iterator[Example]:
        """Yield the same pictures with all labels whose presence is known, to fit presence on.

        They are too many for a query, and some mean the same objects.
        """
