"""Compare recipes, or numbers of absent labels asked, on scenes or on a folder of pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clip_surgery_ros.backends.factory import load_networks
from clip_surgery_ros.core.config import RECIPES, Config
from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.demo.scene_sets import SCENE_SETS
from clip_surgery_ros.evaluation.comparison import Variant, compared
from clip_surgery_ros.evaluation.examples import ABSENT_ASKED, generated
from clip_surgery_ros.evaluation.report import markdown, report_of, write
from clip_surgery_ros.tools.options import add_network_options, config_of
from clip_surgery_ros.tools.truth import (
    Examples,
    add_count_option,
    add_truth_options,
    folder_with_truth,
)

NAME = "evaluate"
OWN_ABSENT = {"twins", "absent"}
"""Scene sets that are about the absent names asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``evaluate``, ``evaluate --coco instances.json --images DIR``, ``evaluate --voc DIR``."""
    source = parser.add_argument_group("what is shown")
    source.add_argument(
        "--sets",
        nargs="+",
        choices=tuple(SCENE_SETS),
        metavar="SET",
        help=f"generated scenes: {', '.join(SCENE_SETS)} (default: all; with several numbers of "
        "--absent, all but twins and absent)",
    )
    source.add_argument(
        "--split",
        choices=("development", "held_out"),
        default="held_out",
        help="choose constants on development, quote figures on held_out (the default)",
    )
    source.add_argument(
        "--absent",
        nargs="+",
        type=int,
        default=[ABSENT_ASKED],
        metavar="N",
        help="names asked of each generated scene that are not in it; several numbers are "
        f"compared with each other, for one recipe (default: {ABSENT_ASKED})",
    )
    add_truth_options(source)
    add_count_option(parser)
    parser.add_argument("--output", type=Path, help="folder for the table, JSON and pictures")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the figures of every variant beside the first one's."""
    config = config_of(arguments)
    sources, variants = _sources(arguments), _variants(arguments, config)
    networks = load_networks(config)
    results = {
        name: compared(networks, variants, examples(), name, arguments.count)
        for name, examples in sources.items()
    }
    report = report_of(results)
    print(markdown(report))
    if arguments.output:
        for path in write(report, arguments.output):
            print(f"wrote {path}")
    return 0


def _variants(arguments: argparse.Namespace, config: Config) -> Mapping[str, Variant]:
    """Every recipe; or the recipe in use with each number of absent labels, where several are.

    :raises ConfigError: when absent labels cannot be asked so.
    """
    counts = arguments.absent
    if min(counts) < 0:
        raise ConfigError(f"--absent is {min(counts)}, but fewer than no labels cannot be asked")
    if len(counts) == 1:
        return {recipe: Variant(replace(config, recipe=recipe)) for recipe in RECIPES}
    if arguments.coco or arguments.voc or OWN_ABSENT & set(arguments.sets or ()):
        raise ConfigError(
            "--absent compares several numbers on generated scenes only, of --sets other than "
            f"{' and '.join(sorted(OWN_ABSENT))}, which have absent names of their own"
        )
    return {f"{count} absent": Variant(config, count) for count in counts}


def _sources(arguments: argparse.Namespace) -> Mapping[str, Examples]:
    """Examples by the name of their set: a folder of the user's, or else generated ones."""
    named = folder_with_truth(arguments)
    if named:
        return dict([named])
    return {
        name: lambda name=name: generated(  # type: ignore[misc]
            name, arguments.split, arguments.count, max(arguments.absent)
        )
        for name in arguments.sets or _default_sets(len(arguments.absent))
    }


def _default_sets(numbers: int) -> list[str]:
    """All sets, or those whose absent names can be chosen, where several numbers are compared."""
    return [name for name in SCENE_SETS if numbers == 1 or name not in OWN_ABSENT]
