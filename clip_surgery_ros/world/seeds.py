"""Seeds: which belong to training, development and held-out scenes. They never meet."""

from __future__ import annotations

from clip_surgery_ros.core.errors import WorldError

SPLITS: dict[str, range] = {
    "train": range(0, 2**40),
    "development": range(2**40, 2**41),
    "held_out": range(2**41, 2**42),
}
"""Seeds of scenes. Constants are chosen on ``development``, measurements quoted on
``held_out``."""

VARIANTS: dict[str, range] = {
    "train": range(0, 48),
    "development": range(48, 56),
    "held_out": range(56, 64),
}
"""Seeds of the proportions of objects, so that no mug of a held-out scene was seen in training."""


def split_of(seed: int) -> str:
    """Return the split that a scene's seed belongs to.

    >>> split_of(2**41 + 7)
    'held_out'

    :raises WorldError: it belongs to none.
    """
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise WorldError(f"scene seed {seed}: seeds are 0 to {2**42 - 1}")
