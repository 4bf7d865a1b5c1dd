"""A row of the table of parameters. The rows themselves are in ``config.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    :param default: gives the type too: str, float, int, bool or a tuple of str.
    :param help: what it does, with units.
    :param reason: why the default is what it is.
    :param live: takes effect on the next frame; the others are fixed while the node is active.
    :param read_only: read when the node starts and never again.
    :param minimum: smallest value, inclusive.
    :param maximum: largest value, inclusive.
    :param choices: the only allowed values, if not empty.
    """

    name: str
    default: str | float | int | bool | tuple[str, ...]
    help: str
    reason: str
    live: bool = False
    read_only: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def parameter(default: Any, help: str, reason: str, **limits: Any) -> Any:
    """Return a dataclass field that carries its row of the table.

    :param limits: the other fields of :class:`Parameter`, except the name.
    """
    row = {"help": help, "reason": reason, **limits}
    return field(default=default, metadata=row)


def table_of(config: type) -> tuple[Parameter, ...]:
    """Return the rows of a dataclass whose fields were made by :func:`parameter`, in order."""
    return tuple(_row(column.name, column.default, column.metadata) for column in fields(config))


def _row(name: str, default: Any, metadata: Mapping[str, Any]) -> Parameter:
    return Parameter(name, default, **metadata)


def as_markdown(table: tuple[Parameter, ...]) -> str:
    """Return the table as Markdown."""
    rows = [
        "| parameter | default | live | meaning | why this default |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in table:
        shown = f"`{_as_yaml(row.default)}`" if row.default != "" else "empty"
        live = "yes" if row.live else "at start" if row.read_only else "no"
        rows.append(f"| `{row.name}` | {shown} | {live} | {row.help} | {row.reason} |")
    return "\n".join(rows)


def _as_yaml(default: Any) -> str:
    if isinstance(default, tuple):
        return f"[{', '.join(default)}]"
    return str(default).lower() if isinstance(default, bool) else str(default)
