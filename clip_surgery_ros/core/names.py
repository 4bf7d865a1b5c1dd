"""From the names that a query asks for to its parts and labels.

A label ``a|b+c`` has two parts, of which the first has two names. What is known of names becomes
what is known of parts and then of labels. A member that is not in the picture has no say as long
as another one is: a name more never makes a thing harder to find.
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
    """The names of all parts of all labels, in order."""
    return [name for label in query.labels for part in label.parts for name in synonyms(part)]


def per_part(values: Values, query: Query, reduce: Reduce) -> Values:
    """(names, ...) to (parts, ...)."""
    return np.stack([reduce(group, axis=0) for group in _groups(values, _names_each(query))])


def per_label(values: Values, query: Query, reduce: Reduce) -> Values:
    """(parts, ...) to (T, ...)."""
    return np.stack([reduce(group, axis=0) for group in _groups(values, _parts_each(query))])


def join_maps(maps: Values, presence: Values, query: Query, least: float) -> tuple[Values, Values]:
    """Maps of parts and of labels: the highest of a part's names, the mean of a label's parts.

    :param maps: (names, h, w).
    :param presence: (names,) 0 to 1.
    :param least: presence from which a name counts as being in the picture.
    :returns: (parts, h, w) and (T, h, w).
    """
    parts = _joined(maps, presence, _names_each(query), least, np.max)
    of_parts = per_part(presence, query, np.max)
    return parts, _joined(parts, of_parts, _parts_each(query), least, np.mean)


def _joined(
    maps: Values, presence: Values, sizes: Sequence[int], least: float, reduce: Reduce
) -> Values:
    """(n, h, w) to (groups, h, w), of each group's members that are there, else the likeliest."""
    groups = zip(_groups(maps, sizes), _groups(presence, sizes), strict=True)
    return np.stack(
        [reduce(group[said >= min(least, said.max())], axis=0) for group, said in groups]
    )


def _groups(values: Values, sizes: Sequence[int]) -> list[Values]:
    return np.split(values, np.cumsum(sizes)[:-1])


def _names_each(query: Query) -> list[int]:
    return [len(synonyms(part)) for label in query.labels for part in label.parts]


def _parts_each(query: Query) -> list[int]:
    return [len(label.parts) for label in query.labels]
