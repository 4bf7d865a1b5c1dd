"""Parse the names in a query's text, in the syntaxes of users and of other tools.

Commas, semicolons and newlines separate names, in full width too. Full stops separate names in the
syntax of GroundingDINO. Quotes, brackets of a list, bullets and numbers are removed. A text with
two possible meanings is an error that says how to write each meaning.
"""

from __future__ import annotations

import json
import re

from clip_surgery_ros.core.errors import QueryError

SEPARATORS = (
    r"[,;\n\r\u2028\u2029\x85\uff0c\uff1b\u3001\uff64\u3002\uff61"
    r"\ufe50\ufe51\ufe54\u060c\u061b\u2022]"
)
"""Regular expression of a separator: Latin, Chinese, Japanese or Arabic, or a bullet."""
_QUOTE_FAMILIES = (
    '"\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02',
    "'`\u00b4\u2018\u2019\u201a\u201b",
    "\u300c\u300d\u300e\u300f",
)
"""Quotation marks by family. Any mark of a family can open and close: languages differ."""
_ANY_QUOTE = "".join(_QUOTE_FAMILIES)
_MAX_QUOTED = 300
"""Characters of a name in quotes; without a limit, hostile texts would take seconds."""
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_MAX_DEPTH = 4
"""Levels of quotes and brackets that are removed; other tools write three at most."""


def _quoted(repetition: str) -> str:
    """Return the pattern of a text in quotes.

    Apostrophes inside a word and JSON's escaped quotes do not end it.

    :param repetition: number of characters inside, as in ``+`` or ``{1,9}``.
    """
    return "|".join(
        rf"[{quotes}](?:\\.|[^{quotes}\\]|(?<=\w)[{quotes}](?=\w)){repetition}?[{quotes}]"
        for quotes in _QUOTE_FAMILIES
    )


_WHOLLY_QUOTED = re.compile(_quoted("+"), re.DOTALL)
_FIELD = re.compile(
    rf"[\[({{\s]*(?:{_quoted(f'{{1,{_MAX_QUOTED}}}')})[\])}}\s.]*(?={SEPARATORS}|\Z)"
    rf"|(?:(?<=\w )\([^()]{{1,{_MAX_QUOTED}}}\)|[^{SEPARATORS[1:-1]}])+",
    re.DOTALL,
)
"""Text between separators. Separators in quotes, or in brackets after a word, are part of it."""
_BULLET = re.compile(r"[-*\u2013\u2014\u00b7\u2023\u25e6\u25aa\u25cf]\s+")
_NUMBER = re.compile(r"\(?(\d+)[.):]\s+")
_SPACED_STOP = re.compile(r"\s+\.+(?=\s|\Z)")
_STOP = re.compile(r"(?<!\.)\.+\s+(?=\S)")
_LIST_SIGN = re.compile(rf"{SEPARATORS}|\s\.\s|\.\s*\Z")
"""A sign that a text has several names."""
_STOP_WITHIN = re.compile(r"(?<=[^\W\d_]{2})\.(?=[^\W\d_]{2})")
_VALUE = re.compile(r"[=:]\s*[-+]?\d*\.\d+\W*\Z")
_YEAR = re.compile(r"['\u2018\u2019]\d")
_DOUBLE = re.compile(rf"(?<!\d)[{_QUOTE_FAMILIES[0]}]")
"""Double quotes, but not the sign for inches."""
_ABBREVIATIONS = frozenset(
    {
        *("st", "no", "nr", "nos", "mr", "mrs", "ms", "dr", "prof", "mt", "ft", "jr", "sr", "vs"),
        *("co", "corp", "inc", "ltd", "bros", "approx", "vol", "max", "min", "dia", "qty", "pt"),
        *("fig", "ed", "dept", "ave", "blvd", "gen", "sgt", "capt", "oz", "lb", "lbs", "etc"),
    }
)
"""Case-folded words whose full stop does not end a name."""
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060\u00ad\u200e\u200f"))
_WIDE = {ord("\uff0b"): "+", ord("\uff5c"): "|", ord("\uff0e"): "."}


def names_in(text: str) -> list[str]:
    """Return the names in a text, none of them empty.

    :raises QueryError: for a text with two possible meanings; it says how to write each.
    """
    for _ in range(_MAX_DEPTH):
        text = text.translate(_INVISIBLE).replace("\\n", "\n").strip()
        inside = _unquoted(text) if _WHOLLY_QUOTED.fullmatch(text) else ""
        if not _LIST_SIGN.search(inside):
            break
        text = inside  # quotes of a shell or of YAML
    return names_in_entry(text)


def names_in_entry(text: str) -> list[str]:
    """Return the names in an entry of a list.

    As :func:`names_in`, but an entry that is completely in quotes is one name.
    """
    text = _without_brackets(text.translate(_INVISIBLE).translate(_WIDE))
    fields = _without_numbers(
        [_BULLET.sub("", field.strip(), 1) for field in _FIELD.findall(text)]
    )
    return [name for field in fields for piece in _split_field(field) if (name := _name(piece))]


def as_entry(name: str) -> str:
    """Return a name as an entry of a list, in quotes if it would be parsed differently without."""
    try:
        is_plain = names_in_entry(name) == [name]
    except QueryError:
        is_plain = False
    return name if is_plain else json.dumps(name, ensure_ascii=False)


def _split_field(field: str) -> list[str]:
    """Split a field at the full stops that separate names."""
    field = " ".join(field.split())
    if _WHOLLY_QUOTED.fullmatch(field.strip(" .")):
        return [field]
    spaced = _SPACED_STOP.split(field)
    if len(spaced) == 1 and not field.endswith("."):
        if len(_split_at_stops(field)) > 1:
            raise _unclear(field, "has a full stop inside")
        return [field]
    return [piece for part in spaced for piece in _split_at_stops(_STOP_WITHIN.sub(". ", part))]


def _split_at_stops(text: str) -> list[str]:
    """Split a text at the full stops after words that are no abbreviations."""
    pieces, start = [], 0
    for stop in _STOP.finditer(text):
        word = text[text.rfind(" ", start, stop.start()) + 1 : stop.start()]
        if not _is_abbreviation(word):
            pieces.append(text[start : stop.end()])
            start = stop.end()
    return [*pieces, text[start:]]


def _is_abbreviation(word: str) -> bool:
    """Return whether a full stop after the word may be part of it: St, no, J, U.S."""
    return (len(word) == 1 and word.isalpha()) or "." in word or word.casefold() in _ABBREVIATIONS


def _name(piece: str) -> str:
    """Return a name without quotes, brackets and full stops around it; it may be empty."""
    bare = _bare(piece)
    if _WHOLLY_QUOTED.fullmatch(piece.strip()):
        return bare
    name = "".join(_bare(part) for part in re.split(r"([+|])", bare))
    _check(name)
    return name


def _bare(text: str) -> str:
    """Remove brackets, quotes and full stops around a text."""
    for _ in range(_MAX_DEPTH):
        text = _without_stop(_without_brackets(text))
        if not _WHOLLY_QUOTED.fullmatch(text):
            break
        text = _unquoted(text)
    return text if text.strip(_ANY_QUOTE + "-*. ") else ""


def _without_stop(text: str) -> str:
    bare = text.rstrip(".\u2026 ")
    last = bare.rpartition(" ")[2]
    is_part = "." in last or last.casefold() in _ABBREVIATIONS
    return f"{bare}." if is_part and text.endswith(".") else bare


def _without_brackets(text: str) -> str:
    """Remove brackets around the complete text."""
    text = text.strip()
    for _ in range(_MAX_DEPTH):
        closed = text.rstrip(" \n.,;")
        if not closed or _end_of_bracket(closed) != len(closed) - 1:
            break
        text = closed[1:-1].strip()
    return text


def _end_of_bracket(text: str) -> int:
    """Return the index where the first character's bracket closes; -1 if there is none."""
    expected = []
    for index, letter in enumerate(text):
        if letter in _BRACKETS:
            expected.append(_BRACKETS[letter])
        elif expected and letter == expected[-1]:
            expected.pop()
        if not expected:
            return index if index else -1
    return -1


def _unquoted(text: str) -> str:
    """Remove the quotes around a text; decode JSON's escapes."""
    if text[0] == '"' and "\\" in text:
        try:
            return str(json.loads(text, strict=False))
        except ValueError:
            pass  # a backslash that is no escape of JSON
    return text[1:-1]


def _without_numbers(fields: list[str]) -> list[str]:
    """Remove the numbers of a numbered list."""
    numbers = [_NUMBER.match(field) for field in fields]
    counted = [int(number[1]) for number in numbers if number]
    if not counted or counted not in ([*range(len(fields))], [*range(1, len(fields) + 1)]):
        return fields
    return [_NUMBER.sub("", field, 1) for field in fields]


def _check(name: str) -> None:
    """Check that a name has no remains of an unsupported syntax.

    :raises QueryError: for unbalanced quotes or brackets, and for a number at the end.
    """
    if name[:1] and name[0] in _ANY_QUOTE and not _YEAR.match(name):
        raise _unclear(name, "begins with a quote that does not end it")
    if len(_DOUBLE.findall(name)) % 2:
        raise _unclear(name, "has a quote that is not closed")
    for opening, closing in _BRACKETS.items():
        if name.count(opening) != name.count(closing):
            raise _unclear(name, "has one half of a pair of brackets")
    if _VALUE.search(name):
        raise QueryError(
            f"the label {name[:40]!r} ends in a number; a query has names only, such as "
            "'mug; saw': thresholds go into label_thresholds, or beside the labels of a message"
        )


def _unclear(name: str, problem: str) -> QueryError:
    """Return the error of a text that may be one name or several."""
    meant = re.sub(rf"[][{{}}{_QUOTE_FAMILIES[0]}]", "", name).strip(_ANY_QUOTE + "() ")
    return QueryError(
        f"the label {name[:40]!r} {problem}: is it one name or several? Part names by ; as in "
        f"'mug; saw', or write one in double quotes, as in '\"{meant[:40]}\"'"
    )
