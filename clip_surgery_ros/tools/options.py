"""Options that several subcommands share, made from the table of parameters."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.parameters.config import PARAMETERS, Config

SPACE_PARAMETERS = (
    *("target_frame", "depth_max_skew", "depth_unit", "min_depth", "max_depth"),
    *("box_mode", "support"),
)
"""Parameters of objects in space, which are options where depth is read."""
_NODE_PARAMETERS = (
    *("image_topics", "image_transport", "image_timeout_s", "autostart", "default_query"),
    *("max_rate_hz", "max_frame_age_s"),
    *("depth_topics", "depth_transport", "camera_info_topics", "depth_info_topics"),
    *SPACE_PARAMETERS,
    *("tf_wait", "publish_tf"),
    *("tracking", "track_memory", "track_missed", "track_empty", "track_gate", "track_speed"),
    *("track_sure_presence", "track_smooth"),
)
"""Parameters of a running node, which are no options of the command line."""


def parse_nonempty_query(text: str) -> Query:
    """Parse a query that must have at least one label.

    :raises QueryError: when it has none, or is not a valid query.
    """
    query = parse_query(text)
    if not query.labels:
        raise QueryError(f"query '{text}' names nothing; try 'mug; banana'")
    return query


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every parameter, except those of a running node."""
    names = [entry.name for entry in PARAMETERS if entry.name not in _NODE_PARAMETERS]
    _add_options(parser.add_argument_group("networks and method"), names)


def add_space_options(group: argparse._ArgumentGroup) -> None:
    """Add an option for every parameter of objects in space."""
    _add_options(group, SPACE_PARAMETERS)


def _add_options(group: argparse._ArgumentGroup, names: Collection[str]) -> None:
    for entry in PARAMETERS:
        if entry.name not in names:
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
            # Config checks the choices, and suggests similar names.
            choices = f"{{{','.join(entry.choices)}}}" if entry.choices else None
            group.add_argument(option, type=type(entry.default), metavar=choices, help=text)


def config_from_options(arguments: argparse.Namespace) -> Config:
    """Make the configuration from the options on the command line.

    :raises ConfigError: when a value is wrong, or values contradict each other.
    """
    values = {
        entry.name: value
        for entry in PARAMETERS
        if (value := getattr(arguments, entry.name, None)) is not None
    }
    return Config.from_values(values)
