"""Reads the project's Markdown pages for tests of their content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def between(page: Path, name: str) -> str:
    """Return the text between ``<!-- name -->`` and ``<!-- /name -->`` of a page."""
    return page.read_text().split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0].strip()


def rows(page: Path, name: str) -> list[list[str]]:
    """Return the cells of each row of the table between two markers, without its heading."""
    lines = between(page, name).splitlines()
    return [cells(line) for line in lines if line.startswith("|")][2:]


def cells(row: str) -> list[str]:
    """Return the cells of a row; ``\\|`` is not a border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])]


def prose(page: Path) -> str:
    """Return a page without code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    """Return the headings of a page, without ``#``."""
    return re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, by GitHub's rule."""
    found: set[str] = set()
    for heading in headings(page):
        text = re.sub(r"!?\[(.*?)\]\(.*?\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.casefold()).replace(" ", "-")
        repeated = (f"{name}-{number}" for number in range(1, 100))
        found.add(name if name not in found else next(n for n in repeated if n not in found))
    return found


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and pictures, except those on other sites."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for target in re.findall(r"\]\(\s*(\S+?)\s*\)", text):
        if not re.match("[a-z]+:", target):
            yield target


def broken_links(page: Path) -> list[str]:
    """Return the links of a page whose file or heading does not exist."""
    return [target for target in links(page) if not _target_exists(page, target)]


def _target_exists(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_file() or not file.is_relative_to(ROOT):
        return False
    return not anchor or (file.suffix == ".md" and anchor in anchors(file))
