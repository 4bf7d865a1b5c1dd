"""What a network of a closed vocabulary makes of the names asked for.

A network that was trained on a list of names knows those and nothing else: any other word is the
same to it, and it cannot tell that the thing is not there. Such a name is told from one that is
absent, with the nearest that is known. How a name is written (case, articles, plurals, hyphens)
makes no difference; a word more does, unless it is an attribute that the network knows: "red mug".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.query import SYNONYM, split_hint, synonyms
from clip_surgery_ros.core.types import AbsentLabel, FrameResult, Label, Query

_WORD = re.compile(r"[^\W_]+")
_PROMPT = re.compile(r"(?:an? |the )?(?:photo|picture|image) of ", re.IGNORECASE)
"""What some tools write before a name; here the templates do."""
_DETERMINERS = frozenset(
    {
        *("a", "an", "the", "some", "this", "that", "these", "those"),
        *("my", "your", "his", "her", "its", "our", "their"),
    }
)
_IRREGULAR = {
    **{"mice": "mouse", "people": "person", "men": "man", "women": "woman"},
    **{"children": "child", "feet": "foot", "teeth": "tooth", "geese": "goose"},
}
_NO_PLURALS = ("ss", "us", "is")
_SPELLINGS = {"gray": "grey", "grey": "gray"}
"""Attributes with two spellings; a network knows one."""
_JOINING = _DETERMINERS | {"of", "on", "in", "at", "with", "for", "and", "or"}
"""Words that describe nothing: what is before a name along with one of them is no attribute."""
_SHORTEST_PLURAL = 4
_MOST_WORDS = 8
"""Of a name that is compared with those known: longer texts are no names."""
_MOST_LETTERS = 60
"""Of a name in a sentence."""
_COMPARED = 120
"""Letters of a name that is looked up."""
_MOST_NEAR = 3
_CACHED = 1024
"""Labels whose reading is kept, so that it costs a frame nothing: four of the longest queries."""
_NOTHING_COUNTS = 1.0
"""A threshold that no value of a map is above."""


@dataclass(frozen=True)
class Reading:
    """How a network reads a label.

    :param label: with names that the network knows; None when it knows none of them.
    :param remark: what it does not know, and what it knows instead, in a sentence; else empty.
    :param said: the names that are read as others, as in ``'Mugs' is read as 'mug'``.
    """

    label: Label | None
    remark: str = ""
    said: str = ""


class Vocabulary:
    """The names that a network knows, and the words that may stand before them.

    :param names: none for a network that knows language at large: it reads labels as they are.
    :param attributes: single words, such as colours, of which any number may precede a name.

    >>> Vocabulary(["mug"], ["red", "shiny"]).known_name("The shiny red mugs")
    'shiny red mug'
    """

    def __init__(self, names: Sequence[str] = (), attributes: Sequence[str] = ()) -> None:
        self.names, self.attributes = tuple(names), tuple(attributes)
        own = {word.casefold(): word for word in self.attributes}
        others = {_SPELLINGS[word]: own[word] for word in own if word in _SPELLINGS}
        self._attributes = {**others, **own}
        self._exact = {name.casefold(): name for name in reversed(self.names)}
        self._written = {
            key: name
            for name in reversed(self.names)
            for key in _keys(name)
            # One of a pair of glasses is no glass.
            if key == _keys(name)[0] or not key.endswith("ss")
        }
        self._pairs = {name: _pairs(name) for name in self.names}
        self._reading = lru_cache(_CACHED)(self._read)

    def known_name(self, name: str) -> str:
        """The name as the network knows it, attributes before it; empty when it does not."""
        bare = self._bare_name(name)
        if bare or not self._attributes:
            return bare
        words = _words(name)
        for count in range(1, self._leading_attributes(words) + 1):
            bare = self._bare_name(" ".join(words[count:]))
            if bare:
                return " ".join([*(self._attributes[word] for word in words[:count]), bare])
        return ""

    def _bare_name(self, name: str) -> str:
        """The name as the network knows it without attributes; empty when it does not."""
        if name.casefold() in self._exact:
            return self._exact[name.casefold()]
        return next((self._written[key] for key in _keys(name) if key in self._written), "")

    def _leading_attributes(self, words: Sequence[str]) -> int:
        """How many words at the front are attributes."""
        return next((k for k, w in enumerate(words) if w not in self._attributes), len(words))

    def run_known(self, query: Query, answer: Callable[[Query], FrameResult]) -> FrameResult:
        """A result for all labels of a query.

        Of labels that the network does not know nothing is computed: their maps, presence and
        probability are 0, and they are absent for that reason.

        :param answer: gives the result for labels that the network knows.
        """
        if not self.names:
            return answer(query)
        readings = self._readings(query)
        kept = [index for index, one in enumerate(readings) if one.label is not None]
        labels = tuple(one.label for one in readings if one.label is not None)
        result = answer(replace(query, labels=labels))
        return _for_all(result, query, kept, [one.remark for one in readings])

    def without_unknown(self, query: Query) -> Query:
        """The query without labels of which nothing would be computed, the others as they are."""
        readings = self._readings(query) if self.names else []
        unknown = {query.labels[i] for i, one in enumerate(readings) if one.label is None}
        return replace(query, labels=tuple(one for one in query.labels if one not in unknown))

    def unknown_notes(self, query: Query) -> list[str]:
        """For each label that the network does not know, wholly or in part, what it knows."""
        return [one.remark for one in self._readings(query) if one.remark]

    def reading_notes(self, query: Query) -> list[str]:
        """For each label, how it is read where that may be otherwise than it is meant."""
        if not self.names:
            return list(filter(None, map(split_hint, query.names)))
        return [one.said for one in self._readings(query) if one.said]

    def _readings(self, query: Query) -> list[Reading]:
        """Of each label; one that reads as another before it is not asked again."""
        readings: dict[tuple[str, ...] | Label, Reading] = {}
        for label in query.labels:
            reading = self._reading(label)
            parts = reading.label.parts if reading.label else None
            if parts and parts in readings:
                read = f"'{label.name}' is read as '{'+'.join(parts)}'"
                reading, parts = Reading(None, f"{read}, which is asked for already"), None
            readings[parts or label] = reading
        return [*readings.values()]

    def _read(self, label: Label) -> Reading:
        if not self.names:
            return Reading(label)
        asked = [synonyms(part) for part in label.parts]
        known = {name: self.known_name(name) for part in asked for name in part}
        parts = [dict.fromkeys(known[name] for name in part if known[name]) for part in asked]
        texts = tuple(dict.fromkeys(SYNONYM.join(part) for part in parts if part))
        unknown = [name for name, own in known.items() if not own]
        remark = "; ".join(self._unknown(name) for name in unknown[:_MOST_NEAR])
        if texts and remark:
            remark += f"; '{label.name[:_MOST_LETTERS]}' is looked for without"
        said = [
            f"'{name}' is read as '{own}'" for name, own in known.items() if _differ(name, own)
        ]
        return Reading(replace(label, parts=texts) if texts else None, remark, ", ".join(said))

    def _unknown(self, name: str) -> str:
        short = name[:_MOST_LETTERS]
        word, rest = self._unknown_attributes(short)
        hint = split_hint(name) or (f"it knows '{rest}': ask for that" if rest else "")
        return f"the network does not know the word '{word}'; {hint or self._near(short)}"

    def _unknown_attributes(self, name: str) -> tuple[str, str]:
        """The words before a known name that are not known, and the label without them.

        The name as it is and nothing, where it is no known name with other words before it.
        """
        words = _words(name)[:_MOST_WORDS] if self._attributes else []
        for start in range(1, len(words)):
            bare = self._bare_name(" ".join(words[start:]))
            if bare and not _JOINING & set(words[:start]):
                unknown = [word for word in words[:start] if word not in self._attributes]
                known = [self._attributes[w] for w in words[:start] if w in self._attributes]
                return " ".join(unknown), " ".join([*known, bare])
        return name, ""

    def _near(self, name: str) -> str:
        """What is known and nearest to a name that is not."""
        if self._attributes:
            described = _words(name)
            bare = described[self._leading_attributes(described) :]
            if described and not bare:
                return f"it stands before a name only, as in '{name} {self.names[0]}'"
            name = " ".join(bare) or name
        words = name.split()[:_MOST_WORDS]
        within = next(filter(None, map(self.known_name, _runs(words))), "")
        if within:
            return f"it knows '{within}', but none of its kinds or parts: ask for that"
        last = set(_keys(words[-1])) if words else set()
        alike = [one for one in self.names if last & set(_keys(one.split()[-1]))]
        if alike:
            return "nearest it knows " + " and ".join(f"'{one}'" for one in alike[:_MOST_NEAR])
        pairs = _pairs(name)
        spelt, share = max(
            ((one, _shared(pairs, own)) for one, own in self._pairs.items()), key=lambda it: it[1]
        )
        count = f"of the {len(self.names)} names that it knows"
        return f"{count} '{spelt}' is spelt nearest" if share else f"none {count} is near"


def _for_all(
    result: FrameResult, query: Query, kept: Sequence[int], remarks: Sequence[str]
) -> FrameResult:
    """A result for all labels of a query from that of those ``kept``, in this order."""
    spread = partial(_spread, kept=kept, count=len(query.labels))
    plain, segments = result.plain_similarity, result.segments
    if len(kept) < len(query.labels):
        segments = tuple(replace(one, label=kept[one.label]) for one in segments)
    return replace(
        result,
        query=query,
        similarity=spread(result.similarity),
        presence=spread(result.presence),
        probabilities=spread(result.probabilities),
        thresholds=spread(result.thresholds, rest=_NOTHING_COUNTS),
        segments=segments,
        absent=tuple(_absent(result, query, kept, remarks)),
        plain_similarity=None if plain is None else spread(plain),
    )


def _absent(
    result: FrameResult, query: Query, kept: Sequence[int], remarks: Sequence[str]
) -> Iterator[AbsentLabel]:
    """The labels that were not found, with all that is known of why."""
    reasons = {one.name: one.reason for one in result.absent}
    for index, label in enumerate(query.labels):
        reason = reasons.get(label.name, "")
        if reason or index not in kept:
            yield AbsentLabel(label.name, "; ".join(filter(None, [reason, remarks[index]])))


def _spread(
    values: NDArray[np.float32], kept: Sequence[int], count: int, rest: float = 0.0
) -> NDArray[np.float32]:
    """(K, ...) to (count, ...): at the places ``kept``, elsewhere ``rest``."""
    if len(kept) == count:
        return values
    whole = np.full((count, *values.shape[1:]), rest, np.float32)
    whole[list(kept)] = values
    return whole


def _runs(words: Sequence[str]) -> Iterator[str]:
    """Runs of words that are fewer than all, the longest first, of those the last first."""
    for length in range(len(words) - 1, 0, -1):
        for start in range(len(words) - length, -1, -1):
            yield " ".join(words[start : start + length])


def _pairs(name: str) -> set[str]:
    """Neighbouring letters, with the ends of the name."""
    letters = f" {name.casefold()} "
    return {letters[index : index + 2] for index in range(len(letters) - 1)}


def _shared(one: set[str], other: set[str]) -> float:
    """Dice's coefficient, 0 to 1: difflib's ratio takes 50 times as long, per name and label."""
    return 2 * len(one & other) / (len(one) + len(other))


def _differ(name: str, own: str) -> bool:
    return bool(own) and name.casefold() != own.casefold()


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without an article before them."""
    words = _WORD.findall(_PROMPT.sub("", name[:_COMPARED], 1).casefold())
    while len(words) > 1 and words[0] in _DETERMINERS:
        del words[0]
    return words


def _keys(name: str) -> list[str]:
    """A name as it is compared: without case, spaces, hyphens, articles; then in the singular."""
    words = _words(name)
    if not words:
        return []
    *first, last = words
    ones = ["".join([*first, one]) for one in _singulars(last)]
    each = "".join((*_singulars(word), word)[0] for word in words)  # nuts and bolts
    return [*dict.fromkeys(["".join(words), *ones, each])]


def _singulars(word: str) -> list[str]:
    """What an English plural may be the plural of; empty for what is none."""
    if word in _IRREGULAR:
        return [_IRREGULAR[word]]
    if len(word) < _SHORTEST_PLURAL or not word.endswith("s") or word.endswith(_NO_PLURALS):
        return []
    if word.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]
    if word.endswith("ves"):
        return [word[:-3] + "f", word[:-3] + "fe", word[:-1]]
    return [word[:-1], *([word[:-2]] if word.endswith("es") else [])]
