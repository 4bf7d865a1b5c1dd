"""Compare recipes on generated scenes, or on a folder laid out as COCO or PASCAL VOC."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from clip_surgery_ros.backends.factory import load_networks
from clip_surgery_ros.core.config import RECIPES
from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.demo.scene_sets import SCENE_SETS
from clip_surgery_ros.evaluation.comparison import compared
from clip_surgery_ros.evaluation.examples import Example, generated
from clip_surgery_ros.evaluation.folders import coco, voc
from clip_surgery_ros.evaluation.report import markdown, report_of, write
from clip_surgery_ros.tools.options import add_network_options, config_of

NAME = "evaluate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``evaluate``, ``evaluate --coco instances.json --images DIR``, ``evaluate --voc DIR``."""
    source = parser.add_argument_group("what is shown")
    source.add_argument(
        "--sets",
        nargs="+",
        choices=tuple(SCENE_SETS),
        default=list(SCENE_SETS),
        metavar="SET",
        help=f"generated scenes: {', '.join(SCENE_SETS)} (default: all)",
    )
    source.add_argument(
        "--split",
        choices=("development", "held_out"),
        default="held_out",
        help="choose constants on development, quote figures on held_out (the default)",
    )
    source.add_argument("--coco", type=Path, help="instances file in COCO's layout, instead")
    source.add_argument("--images", type=Path, help="folder of the pictures that --coco names")
    source.add_argument("--voc", type=Path, help="folder in PASCAL VOC's layout, instead")
    parser.add_argument(
        "--count", type=int, default=200, help="pictures of each set (default: 200)"
    )
    parser.add_argument("--output", type=Path, help="folder for the table, JSON and pictures")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print every recipe's figures beside the reference's."""
    config = config_of(arguments)
    sources = _sources(arguments)
    networks = load_networks(config)
    configs = {recipe: replace(config, recipe=recipe) for recipe in RECIPES}
    results = {
        name: compared(networks, configs, examples(), name, arguments.count)
        for name, examples in sources.items()
    }
    report = report_of(results)
    print(markdown(report))
    if arguments.output:
        for path in write(report, arguments.output):
            print(f"wrote {path}")
    return 0


def _sources(arguments: argparse.Namespace) -> Mapping[str, Callable[[], Iterator[Example]]]:
    """Examples by the name of their set."""
    count = arguments.count
    if count < 1:
        raise ConfigError(f"--count is {count}, but at least one picture must be shown")
    if arguments.coco and arguments.voc:
        raise ConfigError("--coco and --voc are two data sets; evaluate one after the other")
    if bool(arguments.coco) != bool(arguments.images):
        raise ConfigError("--coco names the file and --images the folder; give both")
    if arguments.coco:
        return {arguments.coco.stem: lambda: coco(arguments.coco, arguments.images, count)}
    if arguments.voc:
        return {arguments.voc.name: lambda: voc(arguments.voc, count)}
    return {
        name: lambda name=name: generated(name, arguments.split, count)  # type: ignore[misc]
        for name in arguments.sets
    }
