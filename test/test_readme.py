"""The README is short and agrees with the code and the pages."""

from __future__ import annotations

import re

from pages import ROOT, between, headings, rows

README = ROOT / "README.md"
MAX_LINES = 150
"""Length that a newcomer reads in three minutes."""


def test_readme_has_at_most_150_lines() -> None:
    assert len(README.read_text().splitlines()) <= MAX_LINES


def test_table_of_rooms_lists_the_folders_of_the_package() -> None:
    named = [name for row in rows(README, "rooms") for name in re.findall("`(.+?)`", row[0])]
    folders = [path.parent.name for path in (ROOT / "clip_surgery_ros").glob("*/__init__.py")]
    assert sorted(named) == sorted(folders)


def test_topics_are_in_the_page_of_topics() -> None:
    table = between(ROOT / "docs" / "topics.md", "topics")
    named = [name for row in rows(README, "topics at a glance") for name in _names(row[0])]
    assert named and [name for name in named if f"| `{name}`" not in table] == []


def _names(cell: str) -> list[str]:
    return re.findall("`(.+?)`", cell)


def test_readme_has_the_sections_that_messages_quote() -> None:
    sources = [path.read_text() for path in (ROOT / "clip_surgery_ros").rglob("*.py")]
    joined = re.sub(r'["\']\s*\n\s*f?["\']', "", "\n".join(sources))  # join adjacent literals
    sections = re.findall(r'README, \\?"(.+?)\\?"', joined)
    assert sections
    assert set(sections) <= set(headings(README))
