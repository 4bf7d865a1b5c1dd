"""Tables in Markdown and values in JSON, as all reports write them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def row(cells: Sequence[str]) -> str:
    """Return a row of a table.

    >>> row(["mug", "0.9"])
    '| mug | 0.9 |'
    """
    return f"| {' | '.join(cells)} |"


def header(cells: Sequence[str]) -> list[str]:
    """Return the first two rows of a table."""
    return [row(cells), row(["---"] * len(cells))]


def without_nan(value: Any) -> Any:
    """Replace NaN by None, also inside of mappings, lists and tuples: JSON has no NaN, so a metric
    of nothing is null.
    """
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_tables(folder: Path, name: str, values: Any, markdown: str) -> list[Path]:
    """Write ``NAME.json`` and ``NAME.md``; the folder is made if it is missing.

    :param values: for JSON; NaN becomes null.
    :returns: the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    json_path, markdown_path = folder / f"{name}.json", folder / f"{name}.md"
    json_path.write_text(json.dumps(without_nan(values), indent=1, allow_nan=False) + "\n")
    markdown_path.write_text(f"{markdown}\n")
    return [json_path, markdown_path]
