"""Which labels are asked of a view, and which objects each means.

A label is a phrase: a name, its plural or a synonym, with a colour and a word for a finish before
it or without. It means all objects that have the name and what else it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from clip_surgery_ros.world.frame import NamedObject, ObjectTruth
from clip_surgery_ros.world.objects import KINDS, NAMES
from clip_surgery_ros.world.words import FINISH_WORDS, SYNONYMS, phrase, random_form

Rng = np.random.Generator

LEAST_VISIBLE = 0.35
"""Visible share of an object that is there. One of which less is seen is not asked for, and its
pixels count neither way."""
LEAST_ACROSS = 0.05
"""Side of a square as large as the smallest object that is there, as a share of the picture's
shorter side: 12 pixels of 240."""
MOST_SWAPS = 2
"""Labels asked that name an object in the colour of another."""
WRONG_COLOURS = 2
"""Claims of a wrong colour for each object, beside those that other objects have."""


class Asks(Enum):
    """Which labels a set asks of its views."""

    ANY = "every name that is there: as a name, with its colour, or with its finish"
    COLOURS = "every name that is there, with its colour if it has one"
    SWAPS = "names that are there, in the colours of other things that are there"
    NOTHING = "names that are not there"


@dataclass(frozen=True)
class Thing(NamedObject):
    """An object of a view.

    :param pixels: how many it has.
    :param visible: its pixels over those that it would have alone, 0 to 1.
    """

    pixels: int
    visible: float

    @classmethod
    def of(cls, truth: ObjectTruth) -> Thing:
        """Return what labels say of an object, without its place."""
        return cls(
            truth.instance, truth.name, truth.colour, truth.finish, truth.pixels, truth.visible
        )


def is_there(thing: Thing, side: int) -> bool:
    """Return whether so much of an object is seen that a label which means it is present.

    :param side: shorter side of the picture, pixels.
    """
    return thing.visible >= LEAST_VISIBLE and thing.pixels >= (LEAST_ACROSS * side) ** 2


@dataclass(frozen=True)
class Phrase:
    """A label and what it says.

    >>> mug = Thing(1, "mug", "red", "glossy", 900, 1.0)
    >>> Phrase("shiny cup", "mug", finish="glossy").means(mug)
    True
    >>> Phrase("blue mug", "mug", "blue").means(mug)
    False

    :param text: the label.
    :param name: key of ``catalogue.KINDS``.
    :param colour: key of ``colours.COLOURS``, or empty for any.
    :param finish: one of ``colours.FINISHES``, or empty for any.
    """

    text: str
    name: str
    colour: str = ""
    finish: str = ""

    def means(self, thing: Thing) -> bool:
        """Return whether a thing is what the label says."""
        return self.name == thing.name and self._looks_like(thing)

    def might_mean(self, thing: Thing) -> bool:
        """Return whether a person could say so: a traffic cone is a cone, a teacup a cup."""
        return _share_a_word(self.name, thing.name) and self._looks_like(thing)

    def _looks_like(self, thing: Thing) -> bool:
        """Return whether a thing has the colour and the finish that the label says, if any."""
        return self.colour in ("", thing.colour) and self.finish in ("", thing.finish)


@dataclass(frozen=True)
class Asked:
    """The labels that are asked of a view.

    :param present: each means an object that is there.
    :param absent: these mean nothing in the scene, not even what is hidden, and not by a wider
        name either.
    """

    present: tuple[Phrase, ...]
    absent: tuple[Phrase, ...]


def ask(
    asks: Asks, things: Sequence[Thing], there: Sequence[Thing], rng: Rng, absent_count: int
) -> Asked:
    """Choose the labels of a view.

    :param things: all of its scene.
    :param there: those of which enough is seen.
    :param absent_count: labels that mean nothing in the scene; :data:`MOST_SWAPS` at most where
        these are swaps.
    """
    present: list[Phrase] = []
    if asks in (Asks.ANY, Asks.COLOURS):
        for name in dict.fromkeys(thing.name for thing in there):
            same = [thing for thing in there if thing.name == name]
            present += _phrases(same, rng, asks is Asks.COLOURS)
    if asks is Asks.SWAPS:
        found = swaps(things, there)
        absent = [found[int(k)] for k in rng.permutation(len(found))[:MOST_SWAPS]]
    else:
        absent = list(_elsewhere(things, rng, absent_count))
    return Asked(tuple(present), tuple(absent))


def _phrases(same: Sequence[Thing], rng: Rng, coloured: bool) -> list[Phrase]:
    """Return one label for things of one name, or one for each of their colours."""
    form, draw = random_form(same[0].name, rng), rng.random()
    first = same[int(rng.integers(len(same)))]
    if first.colour and (coloured or draw < 0.4):
        colours = list(dict.fromkeys(thing.colour for thing in same))
        chosen = colours if rng.random() < 0.5 else [first.colour]
        return [Phrase(phrase(form, colour), first.name, colour) for colour in chosen]
    if first.finish and draw < 0.55:
        word = str(rng.choice(FINISH_WORDS[first.finish]))
        colour = first.colour if rng.random() < 0.7 else ""
        return [Phrase(phrase(form, colour, word), first.name, colour, first.finish)]
    return [Phrase(form, first.name)]


def _elsewhere(things: Sequence[Thing], rng: Rng, count: int) -> Iterator[Phrase]:
    """Yield labels of names that are not in a scene; a larger count adds labels behind them."""
    others = _names_elsewhere(things)
    for name in (others[int(k)] for k in rng.permutation(len(others))[:count]):
        form, colours = random_form(name, rng), KINDS[name].colours
        colour = str(rng.choice(colours)) if colours and rng.random() < 0.4 else ""
        yield Phrase(phrase(form, colour), name, colour)


def swaps(things: Sequence[Thing], there: Sequence[Thing]) -> list[Phrase]:
    """Return the labels that name one thing in the colour of another, and mean none.

    Of a blue mug and a red bowl these are "red mug" and "blue bowl".

    :param things: all of a scene.
    :param there: those of which enough is seen.
    """
    phrases = {
        Phrase(phrase(named.name, painted.colour), named.name, painted.colour): None
        for named in there
        for painted in there
        if named.name != painted.name and painted.colour in KINDS[named.name].colours
    }
    return [each for each in phrases if not any(map(each.might_mean, things))]


def claims(things: Sequence[Thing], there: Sequence[Thing], rng: Rng) -> Asked:
    """Return all that can be said of a view: names, and phrases that nearly are right.

    True are all names and synonyms of what is there, and names with colours and finishes. Absent
    are all other names; right names in wrong colours; and wrong names in colours that are there.

    :param things: all of a scene.
    :param there: those of which enough is seen.
    """
    seen = {thing.name for thing in there}
    pairs = {(thing.name, thing.colour) for thing in there if thing.colour}
    present = [Phrase(word, name) for name in NAMES if name in seen for word in _words(name)]
    present += [Phrase(phrase(_word(n, rng), c), n, c) for n, c in sorted(pairs)]
    for name, colour, finish in sorted({(t.name, t.colour, t.finish) for t in there if t.finish}):
        text = phrase(_word(name, rng), colour, str(rng.choice(FINISH_WORDS[finish])))
        present.append(Phrase(text, name, colour, finish))
    elsewhere = _names_elsewhere(things)
    absent = [Phrase(word, name) for name in elsewhere for word in _words(name)]
    wrong = {(each.name, each.colour) for each in swaps(things, there)}
    for name, colour in sorted(pairs):
        others = [other for other in KINDS[name].colours if other != colour]
        wrong |= {(name, others[int(k)]) for k in rng.permutation(len(others))[:WRONG_COLOURS]}
        beside = [other for other in elsewhere if colour in KINDS[other].colours]
        wrong.add((beside[int(rng.integers(len(beside)))], colour))
    near = [Phrase(phrase(_word(n, rng), c), n, c) for n, c in sorted(wrong)]
    absent += [each for each in near if not any(map(each.might_mean, things))]
    return Asked(tuple(present), tuple(absent))


def _names_elsewhere(things: Sequence[Thing]) -> list[str]:
    """Return the names by which a person would call nothing of a scene."""
    return [name for name in NAMES if not any(map(Phrase(name, name).might_mean, things))]


@lru_cache(maxsize=len(NAMES) ** 2)
def _share_a_word(first: str, second: str) -> bool:
    """Return whether a phrase for either name ends with the last word of a phrase for the other:
    "teacup" with "cup", "traffic cone" with "cone".
    """
    pairs = ((a, b) for a in _words(first) for b in _words(second))
    return any(a.endswith(b.split()[-1]) or b.endswith(a.split()[-1]) for a, b in pairs)


def _words(name: str) -> tuple[str, ...]:
    """Return a name and its synonyms."""
    return (name, *SYNONYMS.get(name, ()))


def _word(name: str, rng: Rng) -> str:
    """Return a name or, one time in four, a synonym."""
    return str(rng.choice(_words(name))) if rng.random() < 0.25 else name
