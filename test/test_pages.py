"""The pages of ``docs/``: links have targets, and tables agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, anchors, between, broken_links, cells, links, rows

from clip_surgery_ros.parameters.config import markdown_table
from clip_surgery_ros.tools.cli import SUBCOMMANDS

DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_have_targets(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    "target",
    [
        "missing.md",
        "page.md#missing",
        "#missing",
        "picture.png",
        "picture.png#missing",
        "/etc/hosts",
    ],
)
def test_broken_link_is_detected(tmp_path: Path, monkeypatch, target: str) -> None:
    monkeypatch.setattr("pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        f"# Title\n[good](page.md#title) [here](#title) `[code](x)` ![bad]({target})\n"
    )
    assert broken_links(page) == [target]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ('Everything is "not there"', "everything-is-not-there"),
        ("Ask from C++", "ask-from-c"),
        ("Under Nav2's lifecycle manager", "under-nav2s-lifecycle-manager"),
        ("Grasp: a point in space", "grasp-a-point-in-space"),
        ("`feature_surgery` of [heatmap](a.py)", "feature_surgery-of-heatmap"),
    ],
)
def test_anchors_follow_github(tmp_path: Path, heading: str, anchor: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# {heading}\n```\n# no heading\n```\n## {heading}\n")
    assert anchors(page) == {anchor, f"{anchor}-1"}


def test_every_page_and_picture_is_linked() -> None:
    index = {target.partition("#")[0] for target in links(DOCS / "README.md")}
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= index
    linked = {Path(target).name for page in PAGES for target in links(page)}
    assert {picture.name for picture in DOCS.glob("*.png")} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_table_rows_have_as_many_cells_as_the_heading(page: Path) -> None:
    width = 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("|"):
            width = 0
            continue
        width = width or len(cells(line))
        assert len(cells(line)) == width, f"{page.name}:{number}"


def test_table_of_parameters_agrees_with_the_code() -> None:
    assert between(DOCS / "parameters.md", "parameters") == markdown_table()


def test_table_of_subcommands_agrees_with_the_code() -> None:
    names = [row[0].split()[1] for row in rows(DOCS / "command-line.md", "subcommands")]
    assert names == [*SUBCOMMANDS]


def test_metrics_of_the_demo_networks_agree_with_their_card() -> None:
    card = (ROOT / "clip_surgery_ros" / "weights" / "demo" / "CARD.md").read_text()
    table = card.split("held-out scenes |")[1].split("\n\n")[0]
    values = [cells(line)[1] for line in table.splitlines() if line.startswith("|")][1:]
    assert [row[1] for row in rows(DOCS / "quality.md", "demo networks")] == values


def test_python_code_of_the_recipes_compiles() -> None:
    recipes = (DOCS / "recipes.md").read_text()
    programs = re.findall(r"^```python\n(.*?)^```", recipes, re.MULTILINE | re.DOTALL)
    assert programs
    for program in programs:
        compile(program, "recipes.md", "exec")
