"""Propose thresholds of raw similarity for your own pictures, and write a parameter file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError, ImageError, QueryError
from clip_surgery_ros.parameters.arguments import nonempty_path
from clip_surgery_ros.tools.options import (
    add_network_options,
    config_from_options,
    parse_nonempty_query,
)
from clip_surgery_ros.tools.output import check_output_folder, output_folder
from clip_surgery_ros.tools.truth import (
    SETS,
    Examples,
    add_count_option,
    add_truth_options,
    folder_with_truth,
    scenes,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clip_surgery_ros.core.pipeline import Pipeline
    from clip_surgery_ros.core.types import Query
    from clip_surgery_ros.core.vocabulary import Vocabulary
    from clip_surgery_ros.evaluation.calibration import Similarities

    Images = Iterator[NDArray[np.uint8]]
    Measured = Mapping[str, Similarities]
    Measure = Callable[[Pipeline], Measured]

PICTURES = (".jpg", ".jpeg", ".png")
ALL = "all labels"
"""The row of the common threshold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``calibrate --folder DIR --query "mug; banana"``, ``--bag BAG`` etc."""
    source = parser.add_argument_group("pictures, from one source")
    source.add_argument(
        "--folder", type=nonempty_path, help="folder of JPEG and PNG files; needs --query"
    )
    source.add_argument("--bag", type=nonempty_path, help="recorded bag; needs --query")
    source.add_argument("--topic", help="topic of the bag; not needed if only one has images")
    source.add_argument("--query", default="", help="labels of --folder or --bag: 'mug; banana'")
    add_truth_options(source)
    source.add_argument("--set", choices=SETS, help="generated scenes, with ground truth")
    add_count_option(parser)
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=0.05,
        help="share of pictures without a label that may reach its threshold, if the ground truth "
        "is known (default: 0.05)",
    )
    parser.add_argument(
        "--per-label", action="store_true", help="also propose a threshold for each label"
    )
    parser.add_argument(
        "--output",
        type=nonempty_path,
        default=Path("calibration"),
        help="folder (default: calibration)",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and draw the similarities of the labels, and write thresholds as a parameter file."""
    _check(arguments)
    config = replace(config_from_options(arguments), presence_threshold=0.0)
    check_output_folder(arguments.output, *filter(None, [arguments.folder, arguments.images]))
    measure = _measurement(arguments)

    from clip_surgery_ros.networks.factory import load_networks

    networks = load_networks(config)
    if arguments.query:
        _report_unknown(networks.vocabulary, parse_nonempty_query(arguments.query))
    _propose(measure(networks.pipeline(config)), arguments)
    return 0


def _report_unknown(vocabulary: Vocabulary, query: Query) -> None:
    """Print which labels are left out because the network does not know them.

    :raises QueryError: when no label is left.
    """
    notes = vocabulary.unknown_notes(query)
    if not vocabulary.without_unknown(query).labels:
        raise QueryError(f"the network knows none of these labels: {notes[0]}")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _propose(measured: Measured, arguments: argparse.Namespace) -> None:
    """Print the proposed thresholds, and write and draw them."""
    from clip_surgery_ros.evaluation import calibration, plots

    similarities = {ALL: calibration.merge(measured.values())}
    if arguments.per_label:
        similarities.update(sorted(measured.items()))
    proposals = {
        name: calibration.propose_threshold(values, arguments.false_alarms)
        for name, values in similarities.items()
    }
    common = proposals[ALL]
    if common is None:
        raise ImageError(
            "there are too few pictures: at least two are needed and, if the ground truth is "
            "known, so many without a label that the share --false-alarms of them is one or more"
        )
    by_label = {
        name: proposal.threshold
        for name, proposal in proposals.items()
        if proposal and name != ALL
    }
    content = calibration.parameter_file_text(common.threshold, by_label)
    print(calibration.markdown(similarities, proposals))
    with output_folder(arguments.output) as unfinished:
        (unfinished / "thresholds.yaml").write_text(content, encoding="utf-8")
        figure = plots.histograms_figure(similarities, proposals)
        figure.savefig(unfinished / "histogram.png", dpi=120)
    parameters, picture = arguments.output / "thresholds.yaml", arguments.output / "histogram.png"
    print(f"wrote {picture} and {parameters}; start the node with --params-file {parameters}")


def _check(arguments: argparse.Namespace) -> None:
    """Check options that depend on each other.

    :raises ConfigError: with what to do, when they contradict each other.
    """
    sources = ("folder", "bag", "coco", "voc", "objects", "set")
    named = [name for name in sources if getattr(arguments, name)]
    if len(named) != 1:
        options = ", ".join(f"--{name}" for name in sources)
        raise ConfigError(f"name the pictures by one of {options}")
    if named[0] in ("folder", "bag") and not arguments.query.strip():
        raise ConfigError(f"--{named[0]} needs --query with the labels, such as 'mug; banana'")
    if named[0] not in ("folder", "bag") and arguments.query:
        raise ConfigError(f"--{named[0]} has its own labels; leave --query out")
    if arguments.topic and not arguments.bag:
        raise ConfigError("--topic is for a --bag; give both")
    if not 0 <= arguments.false_alarms < 1:
        raise ConfigError(f"--false-alarms is {arguments.false_alarms}, but must be 0 to below 1")


def _measurement(arguments: argparse.Namespace) -> Measure:
    """Return a function that measures each label's similarity in the pictures of the options."""
    examples = _examples(arguments)
    if examples:
        return _in_examples(examples, arguments.count)
    return _in_images(_images(arguments), parse_nonempty_query(arguments.query), arguments.count)


def _in_examples(examples: Examples, count: int) -> Measure:
    def measure(pipeline: Pipeline) -> Measured:
        from clip_surgery_ros.evaluation.calibration import similarities_in_examples

        return similarities_in_examples(pipeline, examples(), count)

    return measure


def _in_images(images: Images, query: Query, count: int) -> Measure:
    """Read the first picture now, so that an error comes before networks are loaded."""
    images = chain([next(images)], images)

    def measure(pipeline: Pipeline) -> Measured:
        from clip_surgery_ros.evaluation.calibration import similarities_in_images

        return similarities_in_images(pipeline, images, query, count)

    return measure


def _examples(arguments: argparse.Namespace) -> Examples | None:
    """Return pictures with ground truth, if the options name some."""
    named = folder_with_truth(arguments)
    if named:
        return named[1]
    if arguments.set:  # the development split, because thresholds are chosen on it
        return scenes(arguments.set, "development", arguments.count)
    return None


def _images(arguments: argparse.Namespace) -> Images:
    """Return pictures without ground truth."""
    if arguments.folder:
        return _folder(arguments.folder, arguments.count)

    from clip_surgery_ros.ros.bag import images_of_bag

    return images_of_bag(arguments.bag, arguments.topic, arguments.count)


def _folder(folder: Path, count: int) -> Images:
    """Read at most ``count`` pictures of a folder, sorted by name.

    :raises ImageError: when there are none, or one cannot be read.
    """
    from clip_surgery_ros.pictures.files import read_image

    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise ImageError(f"{folder} has no {', '.join(PICTURES)} files")
    for path in paths[:count]:
        yield read_image(path)
