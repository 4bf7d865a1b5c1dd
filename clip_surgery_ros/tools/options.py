"""Options that every subcommand with networks shares, from the table of parameters."""

from __future__ import annotations

import argparse

from clip_surgery_ros.core.config import PARAMETERS, Config

_ABOUT_NODES = (
    *("image_topics", "image_transport", "image_timeout_s", "autostart", "default_query"),
    *("max_rate_hz", "max_frame_age_s"),
)


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
            kind = type(entry.default)
            choices = entry.choices or None
            group.add_argument(option, type=kind, choices=choices, help=text)


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
