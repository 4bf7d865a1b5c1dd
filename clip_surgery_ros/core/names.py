"""From the names of a query to its parts and labels.

The label ``a|b+c`` has two parts, ``a|b`` and ``c``; the first part has two names. Values per name
become values per part, and these become values per label. Members of a group that are not in the
image are left out of its map while another member is in the image: an additional name never makes
an object harder to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.query import synonyms
from clip_surgery_ros.core.types import Query

Values = NDArray[np.float32]
Reduce = Callable[..., Values]
"""(n, ...) with ``axis=0`` to (...), such as ``np.max``."""


def names_of(query: Query) -> list[str]:
    """Return the names of all parts of all labels, in order."""
    return [name for label in query.labels for part in label.parts for name in synonyms(part)]


def per_part(values: Values, query: Query, reduce: Reduce) -> Values:
    """Reduce (names, ...) to (parts, ...)."""
    return np.stack([reduce(group, axis=0) for group in _split(values, _name_counts(query))])


def per_label(values: Values, query: Query, reduce: Reduce) -> Values:
    """Reduce (parts, ...) to (T, ...)."""
    return np.stack([reduce(group, axis=0) for group in _split(values, _part_counts(query))])


def join_maps(
    maps: Values, presence: Values, query: Query, presence_threshold: float
) -> tuple[Values, Values]:
    """Join maps of names: to the highest of a part's names, then to the mean of a label's parts.

    :param maps: (names, h, w).
    :param presence: (names,) 0 to 1.
    :param presence_threshold: presence from which a name counts as being in the image.
    :returns: (parts, h, w) and (T, h, w).
    """
    part_maps = _join(maps, presence, _name_counts(query), presence_threshold, np.max)
    part_presence = per_part(presence, query, np.max)
    return part_maps, _join(
        part_maps, part_presence, _part_counts(query), presence_threshold, np.mean
    )


def _join(
    maps: Values,
    presence: Values,
    counts: Sequence[int],
    presence_threshold: float,
    reduce: Reduce,
) -> Values:
    """Reduce (n, h, w) to (groups, h, w): of each group, the members that are in the image.

    If no member is, the one with the highest presence is used.
    """
    groups = zip(_split(maps, counts), _split(presence, counts), strict=True)
    return np.stack(
        [
            reduce(group[values >= min(presence_threshold, values.max())], axis=0)
            for group, values in groups
        ]
    )


def _split(values: Values, counts: Sequence[int]) -> list[Values]:
    return np.split(values, np.cumsum(counts)[:-1])


def _name_counts(query: Query) -> list[int]:
    """Return the number of names of each part."""
    return [len(synonyms(part)) for label in query.labels for part in label.parts]


def _part_counts(query: Query) -> list[int]:
    """Return the number of parts of each label."""
    return [len(label.parts) for label in query.labels]
