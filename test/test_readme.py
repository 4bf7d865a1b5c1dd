"""The README is short, and what it says agrees with the code and with the pages."""

from __future__ import annotations

import re

from pages import ROOT, between, headings, rows

README = ROOT / "README.md"
MOST_LINES = 150
"""What a newcomer reads in three minutes."""


def test_it_can_be_read_in_three_minutes() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


def test_its_rooms_are_the_folders_of_the_package() -> None:
    named = [name for row in rows(README, "rooms") for name in re.findall("`(.+?)`", row[0])]
    folders = [path.parent.name for path in (ROOT / "clip_surgery_ros").glob("*/__init__.py")]
    assert sorted(named) == sorted(folders)


def test_its_topics_are_among_those_of_the_page_of_topics() -> None:
    table = between(ROOT / "docs" / "topics.md", "topics")
    named = [name for row in rows(README, "topics at a glance") for name in _names(row[0])]
    assert named and [name for name in named if f"| `{name}`" not in table] == []


def _names(cell: str) -> list[str]:
    return re.findall("`(.+?)`", cell)


def test_sections_that_messages_quote_exist() -> None:
    sources = [path.read_text() for path in (ROOT / "clip_surgery_ros").rglob("*.py")]
    joined = re.sub(r'["\']\s*\n\s*f?["\']', "", "\n".join(sources))  # of adjacent literals
    quoted = re.findall(r'README, \\?"(.+?)\\?"', joined)
    assert quoted
    assert set(quoted) <= set(headings(README))
