"""What the README says is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from clip_surgery_ros.parameters.config import markdown_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_parameters_is_the_code_s() -> None:
    shown = README.split("<!-- parameters -->")[1].split("<!-- /parameters -->")[0].strip()
    assert shown == markdown_table()


def test_links_and_pictures_lead_to_files() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        targets = re.findall(r"\]\((?!http|#)([^)#\s]+)(?:#\S+)?\)", page.read_text())
        assert targets, page
        assert [t for t in targets if not (page.parent / t).is_file()] == [], page
