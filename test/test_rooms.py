"""Allowed imports between rooms, and limits for the length of files, classes and functions."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clip_surgery_ros"
MAX_LINES = {"file": 400, "class": 250, "function": 50}
"""Maximal lengths; longer code gives its reason in a comment (:data:`EXCUSE`)."""
EXCUSE = "# Longer than {} lines: "


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the import linter on the package in a folder."""
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(command), "--no-logo", "--no-cache", str(ROOT / "pyproject.toml")],
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    """Copy the package into a folder where a test can change it."""
    ignore = shutil.ignore_patterns("__pycache__", "*.png", "*.safetensors")
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=ignore)
    return tmp_path


def test_rooms_import_only_allowed_rooms() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("core/types.py", "networks.factory"),
        ("world/scene.py", "pictures.render"),
        ("ros/qos.py", "weights.catalogue"),
        ("demo/run.py", "evaluation.outcome"),
    ],
)
def test_forbidden_import_is_named(package_copy: Path, file: str, module: str) -> None:
    path = package_copy / PACKAGE.name / file
    path.write_text(f"{path.read_text()}\nimport {PACKAGE.name}.{module}\n")
    done = lint(package_copy)
    assert done.returncode == 1
    source = f"{PACKAGE.name}.{file.removesuffix('.py').replace('/', '.')}"
    assert f"{source} -> {PACKAGE.name}.{module}" in done.stdout


def test_every_room_has_a_short_docstring() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(init.read_text())) or ""
        assert "begin with" in " ".join(docstring.casefold().split()), init
        assert len(docstring.splitlines()) <= 5, init


def parts(path: Path) -> Iterator[tuple[str, str, int, list[str]]]:
    """Yield kind, name, length and lines of a file, and of each class and function in it."""
    lines = path.read_text().splitlines()
    yield "file", str(path.relative_to(ROOT)), len(lines), lines
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            part = lines[node.lineno - 1 : node.end_lineno]
            yield kind, f"{path.relative_to(ROOT)}: {node.name}", len(part), part


def test_files_classes_and_functions_are_within_the_limits() -> None:
    long = [
        f"{name} has {length} lines"
        for path in sorted(PACKAGE.rglob("*.py"))
        for kind, name, length, lines in parts(path)
        if length > MAX_LINES[kind]
        and not any(EXCUSE.format(MAX_LINES[kind]) in line for line in lines)
    ]
    assert not long, "\n".join(long)
