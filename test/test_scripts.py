"""./demo and ./test.sh on machines that lack something: one clear sentence, and nothing done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "cat", "cut", "dirname", "find", "ls", "mkdir", "rm", "sha256sum", "tail", "wc")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts without an environment, and a folder of commands to be the whole PATH."""
    for name in ("demo", "test.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "setup", tmp_path / "setup")
    commands = tmp_path / "commands"
    commands.mkdir()
    for tool in (*TOOLS, "git", "c++"):
        found = shutil.which(tool)
        assert found, tool
        (commands / tool).symlink_to(found)
    (commands / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return tmp_path


def run(checkout: Path, script: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [str(checkout / script)],
        env={**kept, "PATH": str(checkout / "commands")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", ["demo", "test.sh"])
@pytest.mark.parametrize(
    ("missing", "sentence"),
    [("c++", "A C++ compiler is needed"), ("git", "git is needed")],
)
def test_a_missing_tool_is_one_sentence(
    checkout: Path, script: str, missing: str, sentence: str
) -> None:
    (checkout / "commands" / missing).unlink()
    done = run(checkout, script)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def test_an_unsupported_python_is_one_sentence(checkout: Path) -> None:
    python = checkout / "commands" / "python3"
    python.unlink()
    python.write_text('#!/bin/bash\n[ "$1" = --version ] && echo "Python 3.8.10"\nexit 1\n')
    python.chmod(0o755)
    done = run(checkout, "demo")
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11 or 3.12 is needed, but Python 3.8.10 is what")
    assert not (checkout / ".venv").exists()
