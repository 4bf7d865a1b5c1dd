"""Thresholds of single labels, as one text: ``"red mug=0.21; banana=0.19"``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from clip_surgery_ros.core.errors import ConfigError, QueryError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.query_text import SEPARATORS


def parse_thresholds(text: str) -> dict[str, float]:
    """Return the raw-similarity threshold of each label, by case-folded name.

    :param text: ``label=value`` entries, with labels and separators as in a query.
    :raises ConfigError: for an entry that is not a label with a cosine.
    """
    thresholds: dict[str, float] = {}
    for entry in filter(str.strip, re.split(SEPARATORS, text)):
        label, _, value = entry.rpartition("=")
        name, number = _name(label), _number(value)
        if not name or not -1 <= number <= 1:
            raise ConfigError(
                f"label_thresholds has '{entry[:60]}', but wants label=value with a cosine of -1 "
                "to 1, such as 'red mug=0.21; banana=0.19'"
            )
        thresholds[name.casefold()] = number
    return thresholds


def is_parsable(label: str) -> bool:
    """Return whether a label stays the same in :func:`format_thresholds` and back."""
    try:
        return parse_thresholds(format_thresholds({label: 0.0})) == {label.casefold(): 0.0}
    except ConfigError:
        return False


def format_thresholds(thresholds: Mapping[str, float]) -> str:
    """Return the text that :func:`parse_thresholds` parses."""
    return "; ".join(f"{name}={value:.4f}" for name, value in thresholds.items())


def _name(label: str) -> str:
    """Return the name of a label as in queries; empty if there is none or more than one."""
    try:
        names = parse_query(label).names
    except QueryError:
        return ""
    return names[0] if len(names) == 1 else ""


def _number(text: str) -> float:
    """Parse a number; NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
