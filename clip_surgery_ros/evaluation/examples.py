"""Pictures whose objects are all known, with the labels that are queried of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    :param ignored: (H, W) bool, pixels that no metric counts: borders, crowds, hidden objects.
    :param phrases: of each object, labels other than its name that mean it; empty for none.
    :param misleading: those of ``absent`` whose name is in the picture, but not as the label says.

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
    phrases: tuple[frozenset[str], ...] = ()
    misleading: frozenset[str] = frozenset()

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
        """Return the masks of the objects that a label means: by their name or a phrase."""
        phrases = self.phrases or (frozenset[str](),) * len(self.names)
        return [
            mask
            for mask, name, others in zip(self.masks, self.names, phrases, strict=True)
            if name == label or label in others
        ]


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
