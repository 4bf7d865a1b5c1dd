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
        text = f"{entry.help} (default: {entry.default or 'none'})".replace("%", "%%")
        if isinstance(entry.default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
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
