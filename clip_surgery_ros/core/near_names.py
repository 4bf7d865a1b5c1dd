"""Names that are nearly right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

MOST = 3
"""Names suggested: more are a list, which the commands named in the messages give."""


def did_you_mean(asked: str, names: Iterable[str]) -> str:
    """``; did you mean 'a' or 'b'?``, or nothing where no name is near."""
    return suggest(nearest(asked, names))


def suggest(names: Iterable[str]) -> str:
    """The question for names that were found near; empty for none."""
    found = [f"'{name}'" for name in dict.fromkeys(names)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def nearest(asked: str, names: Iterable[str]) -> list[str]:
    """At most :data:`MOST` names that may be meant, the likeliest first.

    They are those of the same words, whatever parts them and in whatever order; else those that
    have these words and more, in the order given; else those that have the most of these words
    and no other; else those that are spelt alike.
    """
    known = list(dict.fromkeys(names))
    words = _words(asked)
    same = [name for name in known if _words(name) == words]
    more = [name for name in known if words and words < _words(name)]
    within = sorted((n for n in known if _words(n) < words), key=lambda n: -len(_words(n)))
    alike = get_close_matches(asked.casefold(), [name.casefold() for name in known], n=MOST)
    spelt = [name for one in alike for name in known if name.casefold() == one]
    return list(dict.fromkeys(same or more or within or spelt))[:MOST]


def _words(name: str) -> frozenset[str]:
    """Runs of letters and runs of digits: ``ViTB16`` has those of ``vit-b/16``."""
    return frozenset(re.findall(r"[a-z]+|[0-9]+", name.casefold().replace("vit", "vit ")))
