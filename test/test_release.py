"""The version, the changelog and the workflow that runs the README's commands."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_surgery_ros.tools.cli import main

ROOT = Path(__file__).resolve().parent.parent
VERSION = ET.parse(ROOT / "package.xml").getroot().findtext("version") or ""
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
COMMANDS = ("./demo", "./test.sh")


def test_command_line_prints_the_version(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clip_surgery {VERSION}\n"


def test_wheel_has_the_version() -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == VERSION


def test_only_package_xml_has_the_version() -> None:
    files = [ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "CMakeLists.txt"]
    files += (ROOT / "clip_surgery_ros").rglob("*.py")
    assert [path for path in files if VERSION in path.read_text()] == []


def test_changelog_has_the_version_below_unreleased() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d", headings[1])


def test_changelog_uses_the_headings_of_keep_a_changelog() -> None:
    kinds = set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def steps() -> list[dict[str, Any]]:
    """Return the steps of the workflow's jobs."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflow_runs_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text().splitlines()
    run = [step["run"].strip() for step in steps() if "run" in step]
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] for line in readme), command
        assert run.count(command) == 1


def test_workflow_pins_actions_to_a_major_version() -> None:
    actions = [step["uses"] for step in steps() if "uses" in step]
    assert actions
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in actions)


def test_links_of_contributing_and_changelog_have_targets() -> None:
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        targets = re.findall(r"\]\((?!http|#)([^)#\s]+)", (ROOT / name).read_text())
        missing = [t for t in targets if not (ROOT / t).is_file()]
        assert not missing, name
