"""Closed vocabularies: match the names of a query with the names that a network knows.

A network that was trained on a list of names knows only these. All other words have the same text
feature, so the network cannot decide whether such a thing is in the image. The reason of an absent
label therefore says that its name is unknown, and suggests similar known names. Case, articles,
plurals and hyphens of a name do not matter. An additional word does, unless it is an attribute
that the network knows, as in "red mug".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.query import SYNONYM, split_hint, synonyms
from clip_surgery_ros.core.types import AbsentLabel, FrameResult, Label, Query

_WORD = re.compile(r"[^\W_]+")
_PROMPT = re.compile(r"(?:an? |the )?(?:photo|picture|image) of ", re.IGNORECASE)
"""A prefix that some tools add to a name; here the templates add it."""
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
_SINGULAR_ENDINGS = ("ss", "us", "is")
_SPELLINGS = {"gray": "grey", "grey": "gray"}
"""Attributes with two spellings; a network knows one of them."""
_FUNCTION_WORDS = _DETERMINERS | {"of", "on", "in", "at", "with", "for", "and", "or"}
"""Function words: text before a name that contains one of them is no list of attributes."""
_MIN_PLURAL_LETTERS = 4
_MAX_WORDS = 8
"""Words of a name that are compared with known names; longer texts are no names."""
_MAX_LETTERS = 60
"""Letters of a name that a message quotes."""
_MAX_COMPARED_LETTERS = 120
"""Letters of a name that are compared with known names."""
_MAX_SUGGESTIONS = 3
_CACHE_SIZE = 1024
"""Number of labels whose reading is cached, enough for four queries of the largest size."""
_ABOVE_ALL_VALUES = 1.0
"""A threshold that no value of a map exceeds."""


@dataclass(frozen=True)
class Reading:
    """How a network reads a label.

    :param label: the label with known names only; None if no name is known.
    :param unknown_note: the unknown names and similar known ones; empty if all names are known.
    :param reading_note: how names are read, as in ``'Mugs' is read as 'mug'``; empty if unchanged.
    """

    label: Label | None
    unknown_note: str = ""
    reading_note: str = ""


class Vocabulary:
    """The names that a network knows, and the words that may stand before them.

    :param names: empty for a network that knows general language; then queries do not change.
    :param attributes: single words, such as colours; a name can have several before it.
    :param other_words: further words, each for one of the names.

    >>> Vocabulary(["mug"], ["red", "shiny"], {"cup": "mug"}).known_name("The shiny red cups")
    'shiny red mug'
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        attributes: Sequence[str] = (),
        other_words: Mapping[str, str] | None = None,
    ) -> None:
        self.names, self.attributes = tuple(names), tuple(attributes)
        self.other_words = dict(other_words or {})
        named = {**{name: name for name in self.names}, **self.other_words}
        written = {word.casefold(): word for word in self.attributes}
        respelt = {_SPELLINGS[word]: written[word] for word in written if word in _SPELLINGS}
        self._attributes = {**respelt, **written}
        self._exact = {word.casefold(): name for word, name in reversed(named.items())}
        self._by_key = {
            key: name
            for word, name in reversed(named.items())
            for key in _keys(word)
            # The singular of "glasses" must not match "glass".
            if key == _keys(word)[0] or not key.endswith("ss")
        }
        self._letter_pairs = {name: _letter_pairs(name) for name in self.names}
        self._reading = lru_cache(_CACHE_SIZE)(self._read)

    def known_name(self, name: str) -> str:
        """Return the known name with its attributes; empty if the name is unknown."""
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
        """Return the known name without attributes; empty if the name is unknown."""
        if name.casefold() in self._exact:
            return self._exact[name.casefold()]
        return next((self._by_key[key] for key in _keys(name) if key in self._by_key), "")

    def _leading_attributes(self, words: Sequence[str]) -> int:
        """Return how many of the first words are attributes."""
        return next((k for k, w in enumerate(words) if w not in self._attributes), len(words))

    def run_known(self, query: Query, answer: Callable[[Query], FrameResult]) -> FrameResult:
        """Return the result for all labels of a query.

        Unknown labels are not computed: their maps, presence and probability are 0, and they are
        absent because they are unknown.

        :param answer: returns the result for known labels.
        """
        if not self.names:
            return answer(query)
        readings = self._readings(query)
        known = [index for index, reading in enumerate(readings) if reading.label is not None]
        labels = tuple(reading.label for reading in readings if reading.label is not None)
        result = answer(replace(query, labels=labels))
        return _for_all(result, query, known, [reading.unknown_note for reading in readings])

    def read(self, query: Query) -> list[Reading]:
        """Return how each label of a query is read."""
        return self._readings(query) if self.names else [Reading(each) for each in query.labels]

    def without_unknown(self, query: Query) -> Query:
        """Return the query without labels that :meth:`run_known` would not compute."""
        readings = self._readings(query) if self.names else []
        unknown = {query.labels[i] for i, reading in enumerate(readings) if reading.label is None}
        return replace(
            query, labels=tuple(label for label in query.labels if label not in unknown)
        )

    def unknown_notes(self, query: Query) -> list[str]:
        """Return a note for each label with unknown names, with similar known names."""
        return [reading.unknown_note for reading in self._readings(query) if reading.unknown_note]

    def reading_notes(self, query: Query) -> list[str]:
        """Return a note for each label whose meaning may differ from what the user meant."""
        if not self.names:
            return list(filter(None, map(split_hint, query.names)))
        return [reading.reading_note for reading in self._readings(query) if reading.reading_note]

    def _readings(self, query: Query) -> list[Reading]:
        """Return the readings of labels; one with the same names as an earlier one is dropped."""
        readings: dict[tuple[str, ...] | Label, Reading] = {}
        for label in query.labels:
            reading = self._reading(label)
            parts = reading.label.parts if reading.label else None
            if parts and parts in readings:
                note = f"'{label.name}' is read as '{'+'.join(parts)}'"
                reading, parts = Reading(None, f"{note}, which is asked for already"), None
            readings[parts or label] = reading
        return [*readings.values()]

    def _read(self, label: Label) -> Reading:
        """Match the names of a label with known names."""
        if not self.names:
            return Reading(label)
        parts_names = [synonyms(part) for part in label.parts]
        known = {name: self.known_name(name) for names in parts_names for name in names}
        parts = [
            dict.fromkeys(known[name] for name in names if known[name]) for names in parts_names
        ]
        texts = tuple(dict.fromkeys(SYNONYM.join(part) for part in parts if part))
        unknown = [name for name, known_name in known.items() if not known_name]
        unknown_note = "; ".join(self._unknown_note(name) for name in unknown[:_MAX_SUGGESTIONS])
        if texts and unknown_note:
            unknown_note += f"; '{label.name[:_MAX_LETTERS]}' is looked for without"
        reading_notes = [
            f"'{name}' is read as '{known_name}'"
            for name, known_name in known.items()
            if _differ(name, known_name)
        ]
        known_label = replace(label, parts=texts) if texts else None
        return Reading(known_label, unknown_note, ", ".join(reading_notes))

    def _unknown_note(self, name: str) -> str:
        """Return a message that a name is unknown, with a hint."""
        short = name[:_MAX_LETTERS]
        word, rest = self._unknown_attributes(short)
        hint = split_hint(name) or (f"it knows '{rest}': ask for that" if rest else "")
        return f"the network does not know the word '{word}'; {hint or self._similar_names(short)}"

    def _unknown_attributes(self, name: str) -> tuple[str, str]:
        """Return the unknown words before a known name, and the name with its known attributes.

        :returns: the whole name and an empty string if it does not end with a known name.
        """
        words = _words(name)[:_MAX_WORDS] if self._attributes else []
        for start in range(1, len(words)):
            bare = self._bare_name(" ".join(words[start:]))
            if bare and not _FUNCTION_WORDS & set(words[:start]):
                unknown = [word for word in words[:start] if word not in self._attributes]
                known = [self._attributes[w] for w in words[:start] if w in self._attributes]
                return " ".join(unknown), " ".join([*known, bare])
        return name, ""

    def _similar_names(self, name: str) -> str:
        """Return a hint with known names that are similar to an unknown one."""
        if self._attributes:
            described = _words(name)
            bare = described[self._leading_attributes(described) :]
            if described and not bare:
                return f"it stands before a name only, as in '{name} {self.names[0]}'"
            name = " ".join(bare) or name
        words = name.split()[:_MAX_WORDS]
        within = next(filter(None, map(self.known_name, _word_runs(words))), "")
        if within:
            return f"it knows '{within}', but none of its kinds or parts: ask for that"
        last = set(_keys(words[-1])) if words else set()
        alike = [known for known in self.names if last & set(_keys(known.split()[-1]))]
        if alike:
            return "nearest it knows " + " and ".join(
                f"'{known}'" for known in alike[:_MAX_SUGGESTIONS]
            )
        pairs = _letter_pairs(name)
        shares = {
            known: _dice(pairs, known_pairs) for known, known_pairs in self._letter_pairs.items()
        }
        spelt = max(shares, key=lambda known: shares[known])
        count = f"of the {len(self.names)} names that it knows"
        return f"{count} '{spelt}' is spelt nearest" if shares[spelt] else f"none {count} is near"


def _for_all(
    result: FrameResult, query: Query, known: Sequence[int], notes: Sequence[str]
) -> FrameResult:
    """Extend the result for the ``known`` labels of a query, by index, to all labels."""
    extend = partial(_extend, known=known, count=len(query.labels))
    plain, segments = result.plain_similarity, result.segments
    if len(known) < len(query.labels):
        segments = tuple(replace(segment, label=known[segment.label]) for segment in segments)
    return replace(
        result,
        query=query,
        similarity=extend(result.similarity),
        presence=extend(result.presence),
        probabilities=extend(result.probabilities),
        thresholds=extend(result.thresholds, default=_ABOVE_ALL_VALUES),
        segments=segments,
        absent=tuple(_absent(result, query, known, notes)),
        plain_similarity=None if plain is None else extend(plain),
    )


def _absent(
    result: FrameResult, query: Query, known: Sequence[int], notes: Sequence[str]
) -> Iterator[AbsentLabel]:
    """Yield the absent labels with the result's reason and the note about unknown names."""
    absent_labels = {absent.name: absent for absent in result.absent}
    for index, label in enumerate(query.labels):
        absent = absent_labels.get(label.name, AbsentLabel(label.name, ""))
        if absent.reason or index not in known:
            reason = "; ".join(filter(None, [absent.reason, notes[index]]))
            yield replace(absent, reason=reason)


def _extend(
    values: NDArray[np.float32], known: Sequence[int], count: int, default: float = 0.0
) -> NDArray[np.float32]:
    """Extend (K, ...) to (count, ...): values at the indices ``known``, else ``default``."""
    if len(known) == count:
        return values
    extended = np.full((count, *values.shape[1:]), default, np.float32)
    extended[list(known)] = values
    return extended


def _word_runs(words: Sequence[str]) -> Iterator[str]:
    """Yield shorter runs of the words: the longest first, and of these the last first."""
    for length in range(len(words) - 1, 0, -1):
        for start in range(len(words) - length, -1, -1):
            yield " ".join(words[start : start + length])


def _letter_pairs(name: str) -> set[str]:
    """Return the pairs of neighbouring letters; a space marks each end of the name."""
    letters = f" {name.casefold()} "
    return {letters[index : index + 2] for index in range(len(letters) - 1)}


def _dice(first: set[str], second: set[str]) -> float:
    """Return Dice's coefficient, 0 to 1; difflib's ratio would take 50 times as long."""
    return 2 * len(first & second) / (len(first) + len(second))


def _differ(name: str, known_name: str) -> bool:
    return bool(known_name) and name.casefold() != known_name.casefold()


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case, without an article before them."""
    words = _WORD.findall(_PROMPT.sub("", name[:_MAX_COMPARED_LETTERS], 1).casefold())
    while len(words) > 1 and words[0] in _DETERMINERS:
        del words[0]
    return words


def _keys(name: str) -> list[str]:
    """Return the forms in which a name is compared: its letters, then those of its singulars."""
    words = _words(name)
    if not words:
        return []
    *first, last = words
    singulars = ["".join([*first, singular]) for singular in _singulars(last)]
    all_singular = "".join((*_singulars(word), word)[0] for word in words)  # nuts and bolts
    return [*dict.fromkeys(["".join(words), *singulars, all_singular])]


def _singulars(word: str) -> list[str]:
    """Return possible singulars of an English plural; empty if the word is no plural."""
    if word in _IRREGULAR:
        return [_IRREGULAR[word]]
    if (
        len(word) < _MIN_PLURAL_LETTERS
        or not word.endswith("s")
        or word.endswith(_SINGULAR_ENDINGS)
    ):
        return []
    if word.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]
    if word.endswith("ves"):
        return [word[:-3] + "f", word[:-3] + "fe", word[:-1]]
    return [word[:-1], *([word[:-2]] if word.endswith("es") else [])]
