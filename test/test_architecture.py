"""``docs/architecture.md``: its table and picture agree with the code; its files exist."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from pages import ROOT, prose, rows
from PIL import Image

PACKAGE = ROOT / "clip_surgery_ros"
PAGE = ROOT / "docs" / "architecture.md"
DRAWING = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "draw_rooms.py")))
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]


def allowed_imports() -> dict[str, set[str]]:
    """Return the rooms that the import linter lets each room import."""
    layers = DRAWING.layers()
    allowed = {
        room: {lower for row in layers[index + 1 :] for lower in row}
        for index, row in enumerate(layers)
        for room in row
    }
    for contract in CONTRACTS:
        if contract["type"] == "forbidden":
            (room,) = (name.split(".")[1] for name in contract["source_modules"])
            allowed[room] -= {name.split(".")[1] for name in contract["forbidden_modules"]}
    return allowed


def test_table_of_rooms_agrees_with_the_import_linter() -> None:
    layers = DRAWING.layers()
    below = {
        room: {r for row in layers[i + 1 :] for r in row}
        for i, row in enumerate(layers)
        for room in row
    }
    shown = {
        name.strip("`"): below[name.strip("`")]
        if may_import == "everything below it"
        else set(re.findall("`(.+?)`", may_import))
        for name, _, may_import in rows(PAGE, "rooms")
    }
    assert shown == allowed_imports()


def test_linter_and_picture_have_every_room() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(allowed_imports()) == set(DRAWING.ROOMS)


def test_picture_shows_the_current_imports() -> None:
    arrows = DRAWING.as_text(DRAWING.without_detours(DRAWING.imports()))
    with Image.open(DRAWING.PICTURE) as picture:
        assert picture.text[DRAWING.METADATA] == arrows, "run: python docs/draw_rooms.py"


def test_picture_has_no_arrow_across_a_room() -> None:
    layers = DRAWING.layers()
    height = {room: -index for index, row in enumerate(layers) for room in row}
    for start, end in DRAWING.without_detours(DRAWING.imports()):
        (x0, _), (x1, _), y0, y1 = (
            DRAWING.ROOMS[start],
            DRAWING.ROOMS[end],
            height[start],
            height[end],
        )
        for room, (x, _) in DRAWING.ROOMS.items():
            for border in (height[room] - 0.25, height[room], height[room] + 0.25):
                if room not in (start, end) and y1 < border < y0:
                    at_border = x0 + (x1 - x0) * (y0 - border) / (y0 - y1)
                    assert abs(at_border - x) > 0.88, f"{start} -> {end} crosses {room}"


@pytest.mark.parametrize(
    ("arrows", "kept"),
    [
        ([("a", "b"), ("b", "c")], [("a", "b"), ("b", "c")]),
        ([("a", "b"), ("a", "c"), ("b", "c")], [("a", "b"), ("b", "c")]),
        ([("a", "b"), ("a", "d"), ("b", "c"), ("c", "d")], [("a", "b"), ("b", "c"), ("c", "d")]),
    ],
)
def test_picture_omits_implied_arrows(arrows: list, kept: list) -> None:
    assert DRAWING.without_detours(arrows) == kept


def named_paths() -> list[str]:
    """Return everything in backticks on the page that looks like a file."""
    return re.findall(r"`([\w/-]+(?:/[\w-]+)*\.(?:py|md|msg|srv|toml|txt))`", prose(PAGE))


def test_files_named_on_the_page_exist() -> None:
    paths = named_paths()
    assert len(set(paths)) > 60
    missing = [p for p in paths if not (PACKAGE / p).is_file() and not (ROOT / p).is_file()]
    assert missing == []


def test_files_contain_the_names_beside_them() -> None:
    beside = re.findall(r"`([\w/.]+\.py)` \(([^)]*`[^)]*)\)", PAGE.read_text())
    assert len(beside) > 15
    for path, names in beside:
        file: Path = PACKAGE / path if (PACKAGE / path).is_file() else ROOT / path
        for name in re.findall("`(.+?)`", names):
            assert name.split(".")[-1] in file.read_text(), f"{path}: {name}"


def test_page_lists_at_least_twenty_changes() -> None:
    assert len(rows(PAGE, "changes")) >= 20
