"""Fit presence, ranking and score of a pair of networks to pictures, and write a profile."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.parameters.arguments import nonempty_path
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.options import add_network_options, config_from_options
from clip_surgery_ros.tools.output import check_output_folder, output_folder
from clip_surgery_ros.tools.truth import (
    SETS,
    Examples,
    add_count_option,
    add_truth_options,
    folder_with_truth,
    scenes,
    truth_folder,
)

if TYPE_CHECKING:
    from clip_surgery_ros.evaluation.comparison import Outcomes
    from clip_surgery_ros.evaluation.examples import Example

SAMPLES = "samples"
"""Folder of the samples, in that of the output."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fit``; pictures come by ``--coco FILE --images DIR``, ``--voc``,
    ``--objects``, ``--names`` or ``--sets``.
    """
    source = parser.add_argument_group("pictures")
    add_truth_options(source)
    source.add_argument(
        "--names",
        type=nonempty_path,
        help="JSON file of pictures and the names of what they show; presence alone is fitted",
    )
    source.add_argument(
        "--sets",
        nargs="+",
        choices=SETS,
        metavar="SET",
        help=f"generated scenes, of the development split: {', '.join(SETS)}",
    )
    add_count_option(parser, default=500)
    parser.add_argument(
        "--output",
        type=nonempty_path,
        default=Path("fit"),
        help="folder for the report, pictures and what is needed to resume (default: fit)",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fit, measure on every fifth picture, print what was before beside it, write a profile."""
    config = config_from_options(arguments)
    _check(arguments, config)
    if config.clip_windows == "fitted":  # this is what makes them so
        config = replace(config, clip_windows="always")
    check_output_folder(arguments.output)
    source, examples = _source(arguments)
    next(examples())  # so that an error of the pictures comes before networks are loaded

    from clip_surgery_ros.evaluation.fit_samples import SampleFolder
    from clip_surgery_ros.evaluation.profile_fit import fit_profile, samples_key
    from clip_surgery_ros.networks.factory import load_networks, network_files
    from clip_surgery_ros.networks.profiles import FOLDER, NetworkFile, write_profile
    from clip_surgery_ros.weights.fetching import weights_folder

    networks = load_networks(config)
    clip, sam = (NetworkFile.of(file) for file in network_files(config))
    key = samples_key(networks, config, (clip, sam), source)
    folder = SampleFolder(arguments.output / SAMPLES, key)
    profile, outcomes = fit_profile(
        networks, config, (clip, sam), folder, examples, arguments.count
    )
    _report(arguments.output, outcomes)
    path = write_profile(profile, weights_folder() / FOLDER)
    print(profile.calibration.sentence)
    print(f"wrote {path}: the node and all commands use it with these networks and parameters")
    return 0


def _report(folder: Path, outcomes: Outcomes) -> None:
    """Print the metrics before and after, and write them with pictures."""
    from clip_surgery_ros.evaluation.report import report_of
    from clip_surgery_ros.evaluation.report_files import markdown, write

    report = report_of({"held out": outcomes})
    print(markdown(report))
    with output_folder(folder) as unfinished:
        write(report, unfinished)


def _check(arguments: argparse.Namespace, config: Config) -> None:
    """Check options that depend on each other.

    :raises ConfigError: with what to do, when they contradict each other.
    """
    kinds = ("coco", "voc", "objects", "names", "sets")
    if sum(bool(getattr(arguments, kind)) for kind in kinds) != 1:
        options = ", ".join(f"--{kind}" for kind in kinds)
        raise ConfigError(f"name the pictures by one of {options}")
    if RECIPES[config.recipe].mask_choice != "objects":
        raise ConfigError(
            f"recipe {config.recipe} ranks no masks, so there is nothing to fit; leave --recipe "
            "out"
        )


def _source(arguments: argparse.Namespace) -> tuple[str, Callable[[], Iterator[Example]]]:
    """Return what the pictures are, in one line, and a function that gives them anew each time."""
    count = arguments.count
    if arguments.sets:
        each = -(-count // len(arguments.sets))

        def generated() -> Iterator[Example]:
            sets = [scenes(name, "development", each) for name in arguments.sets]
            # Taken in turns, so that the pictures that are held out are of all sets.
            turns = zip(*(examples() for examples in sets), strict=True)
            return islice(chain.from_iterable(turns), count)

        return " ".join(arguments.sets), generated
    if arguments.names:

        def named() -> Iterator[Example]:
            from clip_surgery_ros.evaluation.named_pictures import named_examples

            return named_examples(arguments.names, count)

        return str(arguments.names.absolute()), named

    path = truth_folder(arguments)
    assert path is not None  # one of --coco, --voc and --objects is there
    if arguments.objects:  # models are loaded once; of files, each reading is one pass
        return str(path.absolute()), _examples(arguments)
    return str(path.absolute()), lambda: _examples(arguments)()


def _examples(arguments: argparse.Namespace) -> Examples:
    found = folder_with_truth(arguments)
    assert found is not None
    return found[1]
