"""Measure the networks on held-out generated scenes and print the table of figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clip_surgery_ros.backends.factory import load_networks
from clip_surgery_ros.tools.options import add_network_options, config_of

NAME = "evaluate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``evaluate --scenes 500``."""
    parser.add_argument("--scenes", type=int, default=500, help="how many (default: 500)")
    parser.add_argument(
        "--split",
        choices=("development", "held_out"),
        default="held_out",
        help="choose constants on development, quote figures on held_out (the default)",
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was measured beside what is wanted."""
    from clip_surgery_ros.demo.evaluate import evaluate

    config = config_of(arguments)
    networks = load_networks(config)
    pipeline = networks.pipeline(config)
    tally = evaluate(networks.clip, networks.sam, pipeline, arguments.scenes, arguments.split)
    rows = tally.table()
    print(f"{arguments.scenes} {arguments.split.replace('_', '-')} scenes")
    for what, value, wanted in rows:
        print(f"  {what:<38} {value:6.3f}   wanted {wanted}")
    if arguments.json:
        arguments.json.write_text(json.dumps({what: value for what, value, _ in rows}, indent=2))
    return 0
