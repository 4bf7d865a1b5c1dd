"""Text query to labels."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.types import Label, Query

MAX_LABELS = 254
"""Label indices must fit the class mask beside 255, "no label"."""
MAX_CHARACTERS = 20_000
"""More is a mistake (a file sent as a query), and would take minutes to encode."""
MAX_PARTS = 1000
"""Names, where ``a+b`` and ``a|b`` are two: each is encoded by itself."""
SEPARATORS = r"[,;\n]"
"""Between labels, as a regular expression."""
SYNONYM = "|"
"""Between names of one thing."""


def parse_query(text: str, sequence: int = 0) -> Query:
    """Labels separated by ``,`` ``;`` or newline; ``a+b`` is one label asked together, and ``a|b``
    one thing by two names.

    White space is trimmed, empty labels are dropped, and of labels that differ only in case the
    first stays.

    :returns: the query; without labels when the text has none, which clears.
    :raises QueryError: when the text is too long, names too many labels or has control characters.
    """
    return query_of(re.split(SEPARATORS, text), None, sequence)


def query_of(
    names: Sequence[str], thresholds: Sequence[float] | None = None, sequence: int = 0
) -> Query:
    """A query of these labels.

    :param thresholds: raw-similarity threshold of each label in [-1, 1], NaN for the default;
        None or empty for the default everywhere.
    :raises QueryError: when thresholds do not fit the labels, or a label cannot be used.
    """
    _check_length(names)
    if not thresholds:
        thresholds = [math.nan] * len(names)
    if len(thresholds) != len(names):
        raise QueryError(
            f"{len(names)} labels came with {len(thresholds)} thresholds; send none or one each"
        )
    labels: dict[str, Label] = {}
    for name, threshold in zip(names, thresholds, strict=True):
        label = _label(name, threshold)
        if label is not None:
            labels.setdefault(label.name.casefold(), label)
    if len(labels) > MAX_LABELS:
        raise QueryError(
            f"the query names {len(labels)} labels, at most {MAX_LABELS} fit the class mask; "
            "ask for fewer"
        )
    return Query(tuple(labels.values()), sequence)


def _check_length(names: Sequence[str]) -> None:
    """Refuse what would take minutes to encode, before anything else is done with it."""
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


def _label(name: str, threshold: float) -> Label | None:
    """One label, or None for nothing but white space, ``+`` and ``|``."""
    if any(unicodedata.category(c) in ("Cc", "Cs") and not c.isspace() for c in name):
        raise QueryError(f"the label {name[:40]!r} has control characters; send plain text")
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
