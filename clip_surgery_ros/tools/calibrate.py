"""Propose thresholds of raw similarity for your own pictures, and write them as parameters."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.backends.factory import load_networks
from clip_surgery_ros.core.errors import ConfigError, ImageError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.demo.scene_sets import SCENE_SETS
from clip_surgery_ros.evaluation.bag import images_of_bag
from clip_surgery_ros.evaluation.calibration import (
    Similarities,
    histograms,
    of_examples,
    of_images,
    parameter_file,
    propose,
    table,
    together,
)
from clip_surgery_ros.evaluation.examples import generated
from clip_surgery_ros.tools.options import add_network_options, config_of
from clip_surgery_ros.tools.pictures import read_image
from clip_surgery_ros.tools.truth import (
    Examples,
    add_count_option,
    add_truth_options,
    folder_with_truth,
)

NAME = "calibrate"
PICTURES = (".jpg", ".jpeg", ".png")
ALL = "all labels"
"""Name of the common threshold's row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``calibrate --folder DIR --query "mug; banana"``, ``--bag BAG``, ``--coco``, ``--voc``."""
    source = parser.add_argument_group("pictures, of one source")
    source.add_argument("--folder", type=Path, help="folder of JPEG and PNG files; wants --query")
    source.add_argument("--bag", type=Path, help="recorded bag; wants --query")
    source.add_argument("--topic", help="of the bag; needless where only one has images")
    source.add_argument("--query", default="", help="labels of --folder or --bag: 'mug; banana'")
    add_truth_options(source)
    source.add_argument("--set", choices=tuple(SCENE_SETS), help="generated scenes, with truth")
    add_count_option(parser)
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=0.05,
        help="share of pictures without a label that may reach its threshold, where the truth "
        "is known (default: 0.05)",
    )
    parser.add_argument("--per-label", action="store_true", help="a threshold for each label too")
    parser.add_argument(
        "--output", type=Path, default=Path("calibration"), help="folder (default: calibration)"
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and draw what the labels reach, and write the thresholds as a parameter file."""
    _check(arguments)
    named = folder_with_truth(arguments)
    config = replace(config_of(arguments), presence_threshold=0.0)
    pipeline = load_networks(config).pipeline(config)
    measured = _measured(arguments, pipeline, named[1] if named else None)
    seen: dict[str, Similarities] = {ALL: together(measured.values())}
    if arguments.per_label:
        seen.update(sorted(measured.items()))
    proposals = {name: propose(one, arguments.false_alarms) for name, one in seen.items()}
    common = proposals[ALL]
    if common is None:
        raise ImageError(
            "the pictures tell too little: at least two are needed and, where the truth is "
            "known, so many without a label that --false-alarms of them are one"
        )
    by_label = {name: one.threshold for name, one in proposals.items() if one and name != ALL}
    print(table(seen, proposals))
    arguments.output.mkdir(parents=True, exist_ok=True)
    parameters = arguments.output / "thresholds.yaml"
    parameters.write_text(parameter_file(common.threshold, by_label), encoding="utf-8")
    picture = arguments.output / "histogram.png"
    histograms(seen, proposals).savefig(picture, dpi=120)
    print(f"wrote {picture} and {parameters}; start the node with --params-file {parameters}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    :raises ConfigError: saying what to do.
    """
    sources = ("folder", "bag", "coco", "voc", "set")
    given = [name for name in sources if getattr(arguments, name)]
    if len(given) != 1:
        raise ConfigError("name the pictures by one of " + ", ".join(f"--{n}" for n in sources))
    if given[0] in ("folder", "bag") and not arguments.query.strip():
        raise ConfigError(f"--{given[0]} wants --query with the labels, such as 'mug; banana'")
    if given[0] not in ("folder", "bag") and arguments.query:
        raise ConfigError(f"--{given[0]} knows its labels; leave --query out")
    if arguments.topic and not arguments.bag:
        raise ConfigError("--topic is of a --bag; give both")
    if not 0 <= arguments.false_alarms < 1:
        raise ConfigError(f"--false-alarms is {arguments.false_alarms}, but must be 0 to below 1")


def _measured(
    arguments: argparse.Namespace, pipeline: Pipeline, truth: Examples | None
) -> Mapping[str, Similarities]:
    """What each label reaches in the pictures."""
    count = arguments.count
    if truth:
        return of_examples(pipeline, truth(), count)
    if arguments.set:  # thresholds are chosen on them: development's
        return of_examples(pipeline, generated(arguments.set, "development", count), count)
    images = (
        images_of_bag(arguments.bag, arguments.topic, count)
        if arguments.bag
        else _folder(arguments.folder, count)
    )
    return of_images(pipeline, images, parse_query(arguments.query), count)


def _folder(folder: Path, count: int) -> Iterator[NDArray[np.uint8]]:
    """At most ``count`` pictures of a folder, in order of name.

    :raises ImageError: when there is none, or one cannot be read.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not paths:
        raise ImageError(f"{folder} has no {', '.join(PICTURES)} files")
    for path in paths[:count]:
        yield read_image(path)
