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
"""More is a mistake (a file sent as a query), and would take minutes to encode."""
MAX_PARTS = 1000
"""Names, where ``a+b`` and ``a|b`` are two: each is encoded by itself."""
SYNONYM = "|"
"""Between names of one thing."""
_JOINED = re.compile(r"\s+(?:and|or|&)\s+", re.IGNORECASE)


def parse_query(text: str, sequence: int = 0) -> Query:
    """Labels separated by ``,`` ``;`` or newline; ``a+b`` is one label asked together, and ``a|b``
    one thing by two names.

    Lists of other tools are read as they are meant, see ``core.query_text``. White space is
    trimmed, empty labels are dropped, and of labels that differ only in case the first stays.

    :returns: the query; without labels when the text has none, which clears.
    :raises QueryError: when the text is too long, names too many labels, has control characters,
        or could be meant in two ways.
    """
    _check_texts([text])
    return query_of_names(names_in(text), None, sequence)


def query_of(
    entries: Sequence[str], thresholds: Sequence[float] | None = None, sequence: int = 0
) -> Query:
    """A query of a list of labels, as messages and calls have it.

    Each entry is read as a text is: ``mug, saw`` in one entry are two labels of its threshold.

    :param thresholds: raw-similarity threshold of each entry in [-1, 1], NaN for the default;
        None or empty for the default everywhere.
    :raises QueryError: when thresholds do not fit the entries, or a label cannot be used.
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
    """A query of exactly these names, as data sets have them, whatever signs are in them.

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
    """How to ask for two things that a name seems to hold; empty when it does not.

    It stays one label: there are nuts and bolts, and salt and pepper shakers.
    """
    parts = _JOINED.split(name, 1)
    return f"'{name[:60]}' is one label; for two write '{'; '.join(parts)[:60]}'" * (
        len(parts) > 1
    )


def _as_many(thresholds: Sequence[float] | None, names: Sequence[str]) -> Sequence[float]:
    """The thresholds, or as many NaN."""
    if not thresholds:
        return [math.nan] * len(names)
    if len(thresholds) != len(names):
        raise QueryError(
            f"{len(names)} labels came with {len(thresholds)} thresholds; send none or one each"
        )
    return thresholds


def _check_texts(names: Sequence[str]) -> None:
    """Refuse what is no text or would take minutes to encode, before it is looked at closely."""
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
    """One label, or None for nothing but white space, ``+`` and ``|``."""
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
    """The names of one thing, of a label's part."""
    return part.split(SYNONYM)


def _part(text: str) -> str:
    """Synonyms without needless white space, each once; empty when there are none."""
    names = (" ".join(name.split()) for name in text.split(SYNONYM))
    return SYNONYM.join(dict.fromkeys(filter(None, names)))
