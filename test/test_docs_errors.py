"""The code prints every message that ``docs/troubleshooting.md`` quotes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
FOLDERS = ("clip_surgery_ros", "launch")
HEADERS = ("diagnostics or log", "message", "sentence", "answer", "reason")
"""First cells of the tables whose first column quotes messages."""
OTHERS = (
    *("Wrong parameter type, expected", "Trying to set a read-only parameter"),  # rclpy
    *("No module named 'torch'", "end magic is invalid", "Bag index looks damaged"),
    "version 12 not supported",
)
"""Beginnings of messages that other packages print."""
PLACEHOLDER = "\0"
"""Stands for a value that the code inserts into the message."""
VALUE = re.compile(r"\.\.\.|(?<=')[^']+(?=')|[^\s',;:]*[\d/_][^\s',;:]*|\bstr\b")
"""A value in a quoted message: ``...``, quoted text, a number, a name or a path."""


def quoted_messages() -> Iterator[str]:
    """Yield the messages in the first column of the page's tables; counters are left out."""
    is_message_table = False
    for line in PAGE.read_text().splitlines():
        first = line.split("|")[1].strip() if line.startswith("|") else ""
        if not first:
            is_message_table = is_message_table and line.startswith("|")
        elif first in HEADERS:
            is_message_table = True
        elif is_message_table:
            for span in re.findall(r"`([^`]+)`", first):
                if " " in span and not span.startswith("frames "):
                    yield span


@cache
def constants() -> dict[str, str]:
    """Return the texts of the package's string constants by name."""
    return {
        target.id: node.value.value
        for tree in trees()
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@cache
def trees() -> list[ast.Module]:
    """Return the parsed sources."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return [ast.parse(path.read_text()) for path in paths]


def literal_text(node: ast.expr) -> str:
    """Return the text of a string literal, with :data:`PLACEHOLDER` for values in an f-string."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(literal_text, parts))
        case ast.FormattedValue(value=ast.Name(id=name)):
            return constants().get(name, PLACEHOLDER)
    return PLACEHOLDER


@cache
def literals() -> frozenset[str]:
    """Return all string literals but docstrings; implicit concatenation is one literal."""
    found = set()
    for tree in trees():
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in docs:
                found.add(literal_text(node))
    return frozenset(found)


def missing_parts(message: str) -> list[str]:
    """Return the parts of a message, between its values, that no literal has."""
    parts = [part for part in VALUE.split(message) if re.search("[A-Za-z]{2}", part)]
    return [part for part in parts if not any(part in literal for literal in literals())]


MESSAGES = [
    message for message in quoted_messages() if not message.lstrip(". ").startswith(OTHERS)
]


@pytest.mark.parametrize("message", MESSAGES)
def test_code_prints_the_quoted_message(message: str) -> None:
    assert not missing_parts(message), "quote what the code prints"


def test_page_quotes_more_than_forty_messages() -> None:
    assert len(MESSAGES) > 40


def test_message_that_no_code_prints_is_detected() -> None:
    assert not missing_parts("no image on /camera for 5 s")
    assert missing_parts("no picture on /camera for 5 s") == ["no picture on "]
