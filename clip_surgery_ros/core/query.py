"""Text query to labels."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query_text import names_in, names_in_entry
from clip_surgery_ros.core.types import Label, Query

MAX_LABELS = 254
"""Label indices must fit the class mask beside 255, "no label"."""
MAX_CHARACTERS = 20_000
"""A longer text is a mistake, such as a file sent as a query; it would take minutes to encode."""
MAX_PARTS = 1000
"""Most names of a query; ``a+b`` and ``a|b`` are two each, since every name is encoded."""
SYNONYM = "|"
"""Separates the names of one thing."""
_JOINED = re.compile(r"\s+(?:and|or|&)\s+", re.IGNORECASE)


def parse_query(text: str, sequence: int = 0) -> Query:
    """Return the query that a text means.

    ``,``, ``;`` and newlines separate labels. ``a+b`` is one label with two parts; ``a|b`` is one
    thing with two names. Lists as other tools write them are understood, see ``core.query_text``.
    White space is trimmed and empty labels are dropped; of labels that differ only in case, the
    first stays.

    :returns: the query; without labels for an empty text, which clears the query.
    :raises QueryError: when the text is too long, has too many labels or control characters, or
        has two possible meanings.

    >>> parse_query("red mug; mug|cup, Red Mug").names
    ('red mug', 'mug|cup')
    """
    _check_texts([text])
    return query_of_names(names_in(text), None, sequence)


def query_of(
    entries: Sequence[str], thresholds: Sequence[float] | None = None, sequence: int = 0
) -> Query:
    """Return the query of a list of labels, as messages and service calls contain it.

    Each entry is read like a text: ``mug, saw`` in one entry are two labels with its threshold.

    :param thresholds: raw-similarity threshold of each entry in [-1, 1], NaN for the default;
        None or empty for the default everywhere.
    :raises QueryError: when thresholds do not fit the entries, or a label cannot be used.

    >>> query = query_of(["mug, saw", "key"], [0.2, math.nan])
    >>> [(label.name, label.threshold) for label in query.labels]
    [('mug', 0.2), ('saw', 0.2), ('key', None)]
    """
    _check_texts(entries)
    values = _as_many(thresholds, entries)
    pairs = [
        (name, value)
        for entry, value in zip(entries, values, strict=True)
        for name in names_in_entry(entry)
    ]
    return query_of_names([name for name, _ in pairs], [value for _, value in pairs], sequence)


def query_of_names(
    names: Sequence[str], thresholds: Sequence[float] | None = None, sequence: int = 0
) -> Query:
    """Return the query of exactly these names, as data sets have them, with any characters.

    :param thresholds: as for :func:`query_of`.
    :raises QueryError: when thresholds do not fit the names, or a label cannot be used.
    """
    _check_texts(names)
    labels: dict[str, Label] = {}
    for name, threshold in zip(names, _as_many(thresholds, names), strict=True):
        label = _label(name, threshold)
        if label is not None:
            labels.setdefault(label.name.casefold(), label)
    if len(labels) > MAX_LABELS:
        raise QueryError(
            f"the query names {len(labels)} labels, at most {MAX_LABELS} fit the class mask; "
            "ask for fewer"
        )
    return Query(tuple(labels.values()), sequence)


def split_hint(name: str) -> str:
    """Return how to query two things that a name may contain; empty if it contains one.

    The name stays one label, as in "nuts and bolts" or "salt and pepper shaker".
    """
    parts = _JOINED.split(name, 1)
    return f"'{name[:60]}' is one label; for two write '{'; '.join(parts)[:60]}'" * (
        len(parts) > 1
    )


def _as_many(thresholds: Sequence[float] | None, names: Sequence[str]) -> Sequence[float]:
    """Return one threshold per name: NaN for all when none are given."""
    if not thresholds:
        return [math.nan] * len(names)
    if len(thresholds) != len(names):
        raise QueryError(
            f"{len(names)} labels came with {len(thresholds)} thresholds; send none or one each"
        )
    return thresholds


def _check_texts(names: Sequence[str]) -> None:
    """Refuse control characters, and queries that would take minutes to encode."""
    characters = sum(len(name) for name in names)
    if characters > MAX_CHARACTERS:
        raise QueryError(
            f"the query has {characters} characters, at most {MAX_CHARACTERS} are taken; "
            "send label names only"
        )
    parts = sum(name.count("+") + name.count(SYNONYM) + 1 for name in names)
    if parts > MAX_PARTS:
        raise QueryError(
            f"the query has {parts} names, at most {MAX_PARTS} are taken; ask for fewer"
        )
    for name in names:
        if any(unicodedata.category(c) in ("Cc", "Cs") and not c.isspace() for c in name):
            raise QueryError(f"the label {name[:40]!r} has control characters; send plain text")


def _label(name: str, threshold: float) -> Label | None:
    """Return the label of a name; None if it has only white space, ``+`` and ``|``."""
    parts = tuple(dict.fromkeys(filter(None, map(_part, name.split("+")))))
    if not parts:
        return None
    if not math.isnan(threshold) and not -1 <= threshold <= 1:
        raise QueryError(
            f"the threshold {threshold} of '{'+'.join(parts)[:40]}' is not a cosine; "
            "send -1 to 1, or NaN for the default"
        )
    return Label("+".join(parts), parts, None if math.isnan(threshold) else float(threshold))


def synonyms(part: str) -> list[str]:
    """Return the names of one part of a label."""
    return part.split(SYNONYM)


def _part(text: str) -> str:
    """Return the synonyms of a part, trimmed, each once; empty when there are none."""
    names = (" ".join(name.split()) for name in text.split(SYNONYM))
    return SYNONYM.join(dict.fromkeys(filter(None, names)))
