"""The names in a query's text, as people and other tools write them.

Commas, semicolons and new lines part names, in full width too; so do full stops where they are
written as GroundingDINO wants them. Quotes, the brackets of a list, bullets and numbers are taken
off. What could be meant in two ways is refused with how to write either.
"""

from __future__ import annotations

import json
import re

from clip_surgery_ros.core.errors import QueryError

SEPARATORS = (
    r"[,;\n\r\u2028\u2029\x85\uff0c\uff1b\u3001\uff64\u3002\uff61"
    r"\ufe50\ufe51\ufe54\u060c\u061b\u2022]"
)
"""Between labels, as a regular expression: Latin, Chinese, Japanese and Arabic ones, bullets."""
_FAMILIES = (
    '"\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02',
    "'`\u00b4\u2018\u2019\u201a\u201b",
    "\u300c\u300d\u300e\u300f",
)
"""Quotes: one opens, another of its family closes. Languages differ in which does what."""
_ANY_QUOTE = "".join(_FAMILIES)
_LONGEST = 300
"""Characters of a name in quotes; without a limit hostile texts would take seconds."""
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_DEEPEST = 4
"""Wrappings taken off: a list in a list in quotes is the most that other tools write."""


def _quoted(most: str) -> str:
    """Pattern of something in quotes; ``most`` is how often a sign may come inside, of ``{1,9}``.

    An apostrophe is inside a word, and JSON's escapes may hide a quote.
    """
    return "|".join(
        rf"[{quotes}](?:\\.|[^{quotes}\\]|(?<=\w)[{quotes}](?=\w)){most}?[{quotes}]"
        for quotes in _FAMILIES
    )


_WHOLLY_QUOTED = re.compile(_quoted("+"), re.DOTALL)
_FIELD = re.compile(
    rf"[\[({{\s]*(?:{_quoted(f'{{1,{_LONGEST}}}')})[\])}}\s.]*(?={SEPARATORS}|\Z)"
    rf"|(?:(?<=\w )\([^()]{{1,{_LONGEST}}}\)|[^{SEPARATORS[1:-1]}])+",
    re.DOTALL,
)
"""What is between separators; those in quotes, and in brackets behind a word, belong to a name."""
_BULLET = re.compile(r"[-*\u2013\u2014\u00b7\u2023\u25e6\u25aa\u25cf]\s+")
_NUMBER = re.compile(r"\(?(\d+)[.):]\s+")
_SPACED_STOP = re.compile(r"\s+\.+(?=\s|\Z)")
_STOP = re.compile(r"(?<!\.)\.+\s+(?=\S)")
_SEVERAL = re.compile(rf"{SEPARATORS}|\s\.\s|\.\s*\Z")
"""What several names have in them, and seldom one."""
_STOP_WITHIN = re.compile(r"(?<=[^\W\d_]{2})\.(?=[^\W\d_]{2})")
_VALUE = re.compile(r"[=:]\s*[-+]?\d*\.\d+\W*\Z")
_YEAR = re.compile(r"['\u2018\u2019]\d")
_DOUBLE = re.compile(rf"(?<!\d)[{_FAMILIES[0]}]")
"""Quotes, but not the sign of inches."""
_ABBREVIATIONS = frozenset(
    {
        *("st", "no", "nr", "nos", "mr", "mrs", "ms", "dr", "prof", "mt", "ft", "jr", "sr", "vs"),
        *("co", "corp", "inc", "ltd", "bros", "approx", "vol", "max", "min", "dia", "qty", "pt"),
        *("fig", "ed", "dept", "ave", "blvd", "gen", "sgt", "capt", "oz", "lb", "lbs", "etc"),
    }
)
"""Words, folded, whose full stop ends no name."""
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060\u00ad\u200e\u200f"))
_WIDE = {ord("\uff0b"): "+", ord("\uff5c"): "|", ord("\uff0e"): "."}


def names_in(text: str) -> list[str]:
    """The names in a text, none of them empty.

    :raises QueryError: quoting what could be meant in two ways, with how to write either.
    """
    for _ in range(_DEEPEST):
        text = text.translate(_INVISIBLE).replace("\\n", "\n").strip()
        inside = _unquoted(text) if _WHOLLY_QUOTED.fullmatch(text) else ""
        if not _SEVERAL.search(inside):
            break
        text = inside  # the quotes are a shell's or YAML's
    return names_in_entry(text)


def names_in_entry(text: str) -> list[str]:
    """The names in an entry of a list, as :func:`names_in` but for an entry all in quotes, which
    is one name, whatever it has in it.
    """
    text = _without_brackets(text.translate(_INVISIBLE).translate(_WIDE))
    fields = _without_numbers([_BULLET.sub("", one.strip(), 1) for one in _FIELD.findall(text)])
    return [name for field in fields for piece in _pieces(field) if (name := _name(piece))]


def as_entry(name: str) -> str:
    """A name as an entry of a list, in quotes where it would be read otherwise without."""
    try:
        is_plain = names_in_entry(name) == [name]
    except QueryError:
        is_plain = False
    return name if is_plain else json.dumps(name, ensure_ascii=False)


def _pieces(field: str) -> list[str]:
    """A field at the full stops that part names."""
    field = " ".join(field.split())
    if _WHOLLY_QUOTED.fullmatch(field.strip(" .")):
        return [field]
    spaced = _SPACED_STOP.split(field)
    if len(spaced) == 1 and not field.endswith("."):
        if len(_at_stops(field)) > 1:
            raise _unclear(field, "has a full stop inside")
        return [field]
    return [piece for part in spaced for piece in _at_stops(_STOP_WITHIN.sub(". ", part))]


def _at_stops(text: str) -> list[str]:
    """A text at the full stops that end a word which is no abbreviation."""
    pieces, start = [], 0
    for stop in _STOP.finditer(text):
        word = text[text.rfind(" ", start, stop.start()) + 1 : stop.start()]
        if not _is_abbreviation(word):
            pieces.append(text[start : stop.end()])
            start = stop.end()
    return [*pieces, text[start:]]


def _is_abbreviation(word: str) -> bool:
    """Whether a full stop after the word may belong to it: St, no, J, U.S."""
    return (len(word) == 1 and word.isalpha()) or "." in word or word.casefold() in _ABBREVIATIONS


def _name(piece: str) -> str:
    """A name without what is around it; empty when it has nothing else."""
    bare = _bare(piece)
    if _WHOLLY_QUOTED.fullmatch(piece.strip()):
        return bare
    name = "".join(_bare(part) for part in re.split(r"([+|])", bare))
    _check(name)
    return name


def _bare(text: str) -> str:
    """Without brackets, quotes and full stops around."""
    for _ in range(_DEEPEST):
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
    """Without brackets that are around all of the text."""
    text = text.strip()
    for _ in range(_DEEPEST):
        closed = text.rstrip(" \n.,;")
        if not closed or _end_of_bracket(closed) != len(closed) - 1:
            break
        text = closed[1:-1].strip()
    return text


def _end_of_bracket(text: str) -> int:
    """Where the bracket closes that a text begins with; -1 where it does not."""
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
    """What is in the quotes around a text."""
    if text[0] == '"' and "\\" in text:
        try:
            return str(json.loads(text, strict=False))
        except ValueError:
            pass  # a backslash that is none of JSON's
    return text[1:-1]


def _without_numbers(fields: list[str]) -> list[str]:
    """Without the numbers of a numbered list."""
    numbers = [_NUMBER.match(field) for field in fields]
    counted = [int(number[1]) for number in numbers if number]
    if not counted or counted not in ([*range(len(fields))], [*range(1, len(fields) + 1)]):
        return fields
    return [_NUMBER.sub("", field, 1) for field in fields]


def _check(name: str) -> None:
    """:raises QueryError: for what no name has, the rest of a format that is not read."""
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


def _unclear(name: str, what: str) -> QueryError:
    """What to write instead of a name that may be several."""
    meant = re.sub(rf"[][{{}}{_FAMILIES[0]}]", "", name).strip(_ANY_QUOTE + "() ")
    return QueryError(
        f"the label {name[:40]!r} {what}: is it one name or several? Part names by ; as in "
        f"'mug; saw', or write one in double quotes, as in '\"{meant[:40]}\"'"
    )
