"""Propose thresholds of raw similarity for your own pictures, and write them as parameters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError, ImageError, QueryError
from clip_surgery_ros.tools.options import add_network_options, asked, config_of, path
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
"""Name of the common threshold's row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``calibrate --folder DIR --query "mug; banana"``, ``--bag BAG``, ``--coco``, ``--voc``."""
    source = parser.add_argument_group("pictures, of one source")
    source.add_argument("--folder", type=path, help="folder of JPEG and PNG files; wants --query")
    source.add_argument("--bag", type=path, help="recorded bag; wants --query")
    source.add_argument("--topic", help="of the bag; needless where only one has images")
    source.add_argument("--query", default="", help="labels of --folder or --bag: 'mug; banana'")
    add_truth_options(source)
    source.add_argument("--set", choices=SETS, help="generated scenes, with truth")
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
        "--output", type=path, default=Path("calibration"), help="folder (default: calibration)"
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and draw what the labels reach, and write the thresholds as a parameter file."""
    _check(arguments)
    config = replace(config_of(arguments), presence_threshold=0.0)
    check_output_folder(arguments.output, *filter(None, [arguments.folder, arguments.images]))
    measure = _measuring(arguments)

    from clip_surgery_ros.networks.factory import load_networks

    networks = load_networks(config)
    if arguments.query:
        _tell_unknown(networks.vocabulary, asked(arguments.query))
    _propose(measure(networks.pipeline(config)), arguments)
    return 0


def _tell_unknown(vocabulary: Vocabulary, query: Query) -> None:
    """Say which labels are left out since the network does not know them.

    :raises QueryError: when no label is left.
    """
    remarks = vocabulary.unknown_notes(query)
    if not vocabulary.without_unknown(query).labels:
        raise QueryError(
            f"pictures tell too little of what the network does not know: {remarks[0]}"
        )
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)


def _propose(measured: Measured, arguments: argparse.Namespace) -> None:
    """Print the thresholds that suit what was measured, and write them."""
    from clip_surgery_ros.evaluation import calibration, plots

    seen = {ALL: calibration.merge(measured.values())}
    if arguments.per_label:
        seen.update(sorted(measured.items()))
    proposals = {
        name: calibration.propose_threshold(one, arguments.false_alarms)
        for name, one in seen.items()
    }
    common = proposals[ALL]
    if common is None:
        raise ImageError(
            "the pictures tell too little: at least two are needed and, where the truth is "
            "known, so many without a label that --false-alarms of them are one"
        )
    by_label = {name: one.threshold for name, one in proposals.items() if one and name != ALL}
    content = calibration.parameter_file_text(common.threshold, by_label)
    print(calibration.markdown(seen, proposals))
    with output_folder(arguments.output) as unfinished:
        (unfinished / "thresholds.yaml").write_text(content, encoding="utf-8")
        plots.histograms_figure(seen, proposals).savefig(unfinished / "histogram.png", dpi=120)
    parameters, picture = (arguments.output / n for n in ("thresholds.yaml", "histogram.png"))
    print(f"wrote {picture} and {parameters}; start the node with --params-file {parameters}")


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


def _measuring(arguments: argparse.Namespace) -> Measure:
    """How to learn what each label reaches in the pictures that the options name."""
    truth = _truth(arguments)
    if truth:
        return _in_examples(truth, arguments.count)
    return _in_images(_images(arguments), asked(arguments.query), arguments.count)


def _in_examples(examples: Examples, count: int) -> Measure:
    def measure(pipeline: Pipeline) -> Measured:
        from clip_surgery_ros.evaluation.calibration import similarities_in_examples

        return similarities_in_examples(pipeline, examples(), count)

    return measure


def _in_images(images: Images, query: Query, count: int) -> Measure:
    """Reads the first picture at once: no network is loaded for what cannot be read."""
    images = chain([next(images)], images)

    def measure(pipeline: Pipeline) -> Measured:
        from clip_surgery_ros.evaluation.calibration import similarities_in_images

        return similarities_in_images(pipeline, images, query, count)

    return measure


def _truth(arguments: argparse.Namespace) -> Examples | None:
    """Pictures whose objects are known, if the options name such."""
    named = folder_with_truth(arguments)
    if named:
        return named[1]
    if arguments.set:  # thresholds are chosen on them: development's
        return scenes(arguments.set, "development", arguments.count)
    return None


def _images(arguments: argparse.Namespace) -> Images:
    """Pictures of which nothing is known."""
    if arguments.folder:
        return _folder(arguments.folder, arguments.count)

    from clip_surgery_ros.ros.bag import images_of_bag

    return images_of_bag(arguments.bag, arguments.topic, arguments.count)


def _folder(folder: Path, count: int) -> Images:
    """At most ``count`` pictures of a folder, in order of name.

    :raises ImageError: when there is none, or one cannot be read.
    """
    from clip_surgery_ros.pictures.files import read_image

    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not paths:
        raise ImageError(f"{folder} has no {', '.join(PICTURES)} files")
    for one in paths[:count]:
        yield read_image(one)
