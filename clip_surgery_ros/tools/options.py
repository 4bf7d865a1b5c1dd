"""Options that subcommands share, from the table of parameters, and types of their own."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.parameters.config import PARAMETERS, Config

_ABOUT_NODES = (
    *("image_topics", "image_transport", "image_timeout_s", "autostart", "default_query"),
    *("max_rate_hz", "max_frame_age_s"),
)


def path(text: str) -> Path:
    """A path that names something: an empty one, as of an unset variable, is a mistake."""
    if not text:
        raise argparse.ArgumentTypeError("is empty, but must name a file or folder")
    return Path(text)


def whole(least: int, wanted: str = "") -> Callable[[str], int]:
    """Whole numbers from ``least`` on.

    :param wanted: what is said of others; that, by default.
    """
    wanted = wanted or f"must be a whole number of at least {least}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"is {text}, but {wanted}")
        return number

    return parse


def above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"is {text}, but must be a number above 0")
    return number


def asked(text: str) -> Query:
    """The query that a text asks.

    :raises QueryError: when it names nothing, or cannot be asked.
    """
    query = parse_query(text)
    if not query.labels:
        raise QueryError(f"query '{text}' names nothing; try 'mug; banana'")
    return query


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """One option per parameter that is not about a running node."""
    group = parser.add_argument_group("networks and method")
    for entry in PARAMETERS:
        if entry.name in _ABOUT_NODES:
            continue
        option = f"--{entry.name.replace('_', '-')}"
        default = entry.default
        shown = " ".join(default) if isinstance(default, tuple) else default or "none"
        text = f"{entry.help} (default: {shown})".replace("%", "%%")
        if isinstance(entry.default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        elif isinstance(entry.default, tuple):
            group.add_argument(option, action="append", metavar="TEXT", help=f"{text}; repeatable")
        else:
            # Choices are the table's to check, which knows near names.
            names = f"{{{','.join(entry.choices)}}}" if entry.choices else None
            group.add_argument(option, type=type(entry.default), metavar=names, help=text)


def config_of(arguments: argparse.Namespace) -> Config:
    """The configuration that the options given make.

    :raises ConfigError: when they cannot work, alone or together.
    """
    given = {
        entry.name: value
        for entry in PARAMETERS
        if (value := getattr(arguments, entry.name, None)) is not None
    }
    return Config.from_values(given)
