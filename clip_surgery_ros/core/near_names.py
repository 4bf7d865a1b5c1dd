"""Suggestions for misspelt names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

MAX_SUGGESTIONS = 3
"""Names that a message suggests; the commands in the messages list all of them."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'a' or 'b'?``, or an empty string if no known name is near.

    >>> did_you_mean("vit-b", ["vit_b", "vit_h"])
    "; did you mean 'vit_b'?"
    """
    return suggest(nearest(name, known))


def suggest(names: Iterable[str]) -> str:
    """Return the question with these names; empty without names."""
    quoted = [f"'{name}'" for name in dict.fromkeys(names)]
    return f"; did you mean {' or '.join(quoted)}?" if quoted else ""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return at most :data:`MAX_SUGGESTIONS` known names that a name may stand for, best first.

    These are the known names with the same words, in any order and with any signs between them.
    If there are none: names that have these words and more, in the order of ``known``; else names
    that have only words of this name, those with the most first; else names that are spelt alike.
    """
    unique = list(dict.fromkeys(known))
    words = _words(name)
    same = [entry for entry in unique if _words(entry) == words]
    longer = [entry for entry in unique if words and words < _words(entry)]
    shorter = [entry for entry in unique if _words(entry) < words]
    shorter.sort(key=lambda entry: -len(_words(entry)))
    folded = [entry.casefold() for entry in unique]
    close = get_close_matches(name.casefold(), folded, n=MAX_SUGGESTIONS)
    alike = [entry for match in close for entry in unique if entry.casefold() == match]
    return list(dict.fromkeys(same or longer or shorter or alike))[:MAX_SUGGESTIONS]


def _words(name: str) -> frozenset[str]:
    """Return the runs of letters and of digits: ``ViTB16`` has those of ``vit-b/16``."""
    return frozenset(re.findall(r"[a-z]+|[0-9]+", name.casefold().replace("vit", "vit ")))
