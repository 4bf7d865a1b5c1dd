"""What objects of the world are called: names, synonyms, plurals, phrases and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "donut": ("doughnut",),
    "light bulb": ("bulb",),
    "hat": ("cap",),
    "soap": ("bar of soap",),
    "spool": ("spool of thread",),
    "mug": ("cup", "coffee mug"),
    "can": ("tin", "tin can"),
    "frying pan": ("pan", "skillet"),
    "rolling pin": ("dough roller",),
    "spatula": ("turner",),
    "pen": ("ballpoint pen",),
    "phone": ("smartphone", "mobile phone"),
    "computer mouse": ("mouse",),
    "remote control": ("remote",),
    "clock": ("alarm clock",),
    "lamp": ("desk lamp",),
    "block": ("toy block",),
    "dice": ("die",),
    "tape roll": ("tape", "roll of tape"),
    "traffic cone": ("road cone",),
    "toy car": ("car",),
    "wrench": ("spanner",),
    "nut": ("hex nut",),
    "bolt": ("screw",),
    "gear": ("cog",),
    "flashlight": ("torch",),
    "paintbrush": ("brush",),
}
"""Other words for a name; each belongs to one name."""
FINISH_WORDS: Mapping[str, tuple[str, ...]] = {
    "matte": ("matte",),
    "glossy": ("shiny", "glossy"),
    "metallic": ("metallic", "metal"),
}
"""Words for a finish."""
COUNT_WORDS = ("no", "one", "two", "three", "four")
_IRREGULAR = {
    "battery": "batteries",
    "knife": "knives",
    "computer mouse": "computer mice",
    "mouse": "mice",
    "bar of soap": "bars of soap",
    "spool of thread": "spools of thread",
    "roll of tape": "rolls of tape",
    "die": "dice",
}
_UNCHANGED = ("dice", "scissors", "pliers", "bread", "cheese", "tape")


def plural(name: str) -> str:
    """Return the plural of a name or synonym.

    >>> plural("box"), plural("knife"), plural("tomato"), plural("toy car"), plural("pliers")
    ('boxes', 'knives', 'tomatoes', 'toy cars', 'pliers')
    """
    if name in _UNCHANGED:
        return name
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    return name + ("es" if name.endswith(("x", "s", "ch", "sh", "tomato")) else "s")


def article(words: str) -> str:
    """Return the indefinite article before words.

    >>> article("orange mug"), article("mug")
    ('an', 'a')
    """
    return "an" if words[0] in "aeiou" else "a"


def phrase(name: str, colour: str = "", finish: str = "") -> str:
    """Return a name with the attributes that are given.

    >>> phrase("mug", "red", "shiny")
    'shiny red mug'
    """
    return " ".join(word for word in (finish, colour, name) if word)


def caption(phrases: Sequence[str], counts: Sequence[int], names: Sequence[str]) -> str:
    """Return a sentence that names several things.

    >>> caption(["red mug", "blue bowl"], [1, 2], ["mug", "bowl"])
    'a photo of a red mug and two blue bowls'

    :param phrases: one for each kind of thing; each ends with its name.
    :param counts: of each, at least 1.
    :param names: with which the phrases end.
    """
    parts = []
    for words, count, name in zip(phrases, counts, names, strict=True):
        if count == 1:
            parts.append(f"{article(words)} {words}")
        else:
            many = words[: len(words) - len(name)] + plural(name)
            parts.append(f"{COUNT_WORDS[min(count, 4)]} {many}")
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"a photo of {listed}"


def random_form(name: str, rng: np.random.Generator) -> str:
    """Return a name as users may write it: mostly as it is, or a synonym, or a plural."""
    form = name
    if name in SYNONYMS and rng.random() < 0.25:
        form = str(rng.choice(SYNONYMS[name]))
    return plural(form) if rng.random() < 0.1 else form


def all_forms(name: str) -> tuple[str, ...]:
    """Return a name, its synonyms, and their plurals, each once."""
    words = (name, *SYNONYMS.get(name, ()))
    return tuple(dict.fromkeys([*words, *map(plural, words)]))
