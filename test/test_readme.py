"""What the README says is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from clip_surgery_ros.adapters.outputs import OUTPUTS
from clip_surgery_ros.core.config import markdown_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_parameters_is_the_code_s() -> None:
    shown = README.split("<!-- parameters -->")[1].split("<!-- /parameters -->")[0].strip()
    assert shown == markdown_table()


def test_every_output_has_its_row() -> None:
    rows = [row for row in README.splitlines() if row.startswith("| out |")]
    for output in OUTPUTS:
        assert any(f"`~/{output.name}` " in row for row in rows), output.name


def test_links_and_pictures_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert targets
    assert [t for t in targets if not (ROOT / t).is_file()] == []
