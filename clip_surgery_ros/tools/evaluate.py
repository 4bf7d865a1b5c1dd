"""Compare recipes on generated scenes, or on a folder laid out as COCO or PASCAL VOC."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

from clip_surgery_ros.core.config import RECIPES
from clip_surgery_ros.tools.options import add_network_options, config_of, path
from clip_surgery_ros.tools.output import check_output_folder, output_folder
from clip_surgery_ros.tools.truth import (
    SETS,
    Examples,
    add_count_option,
    add_truth_options,
    folder_with_truth,
    scenes,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``evaluate``, ``evaluate --coco instances.json --images DIR``, ``evaluate --voc DIR``."""
    source = parser.add_argument_group("what is shown")
    source.add_argument(
        "--sets",
        nargs="+",
        choices=SETS,
        default=list(SETS),
        metavar="SET",
        help=f"generated scenes: {', '.join(SETS)} (default: all)",
    )
    source.add_argument(
        "--split",
        choices=("development", "held_out"),
        default="held_out",
        help="choose constants on development, quote figures on held_out (the default)",
    )
    add_truth_options(source)
    add_count_option(parser)
    parser.add_argument("--output", type=path, help="folder for the table, JSON and pictures")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print every recipe's figures beside the reference's."""
    config = config_of(arguments)
    sources = _sources(arguments)
    if arguments.output:
        check_output_folder(arguments.output)

    from clip_surgery_ros.backends.factory import load_networks
    from clip_surgery_ros.evaluation.comparison import compared
    from clip_surgery_ros.evaluation.report import markdown, report_of, write

    networks = load_networks(config)
    configs = {recipe: replace(config, recipe=recipe) for recipe in RECIPES}
    results = {
        name: compared(networks, configs, examples(), name, arguments.count)
        for name, examples in sources.items()
    }
    report = report_of(results)
    print(markdown(report))
    if arguments.output:
        with output_folder(arguments.output) as unfinished:
            written = write(report, unfinished)
        for one in written:
            print(f"wrote {arguments.output / one.name}")
    return 0


def _sources(arguments: argparse.Namespace) -> Mapping[str, Examples]:
    """Examples by the name of their set: a folder of the user's, or else generated ones."""
    named = folder_with_truth(arguments)
    if named:
        return dict([named])
    return {name: scenes(name, arguments.split, arguments.count) for name in arguments.sets}
