"""Compare recipes, numbers of absent labels in the query or conditions of camera and light, on
generated or own pictures; or measure boxes in space, how long ids last, or mIoU by the protocol of
a paper.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.parameters.arguments import nonempty_path, whole_number
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.options import add_network_options, config_from_options
from clip_surgery_ros.tools.output import check_output_folder, output_folder
from clip_surgery_ros.tools.published import add_protocol_options, run_protocol
from clip_surgery_ros.tools.truth import (
    CONDITIONS,
    SETS,
    TRACK_KINDS,
    Examples,
    add_count_option,
    add_truth_options,
    folder_with_truth,
    picture_count,
    scenes,
    truth_folder,
)

if TYPE_CHECKING:
    from clip_surgery_ros.core.pipeline import Pipeline
    from clip_surgery_ros.evaluation.comparison import Variant
    from clip_surgery_ros.evaluation.sequence_detections import Detector as SequenceDetector
    from clip_surgery_ros.evaluation.space_detections import Detector as SpaceDetector

OWN_ABSENT = {"binding", "absent"}
"""Sets with absent names of their own."""

SPACE_SCENES = 200
"""Scenes of ``--space``: about a thousand objects. A new one takes two seconds to render."""

TRACK_SCENES = 4
"""Scenes of ``--sequences``: 48 sequences. A new one takes five seconds or more to render."""

PIPELINE_SIZE = (320, 240)
"""Pictures of ``--masks pipeline``: of the half of 640 x 480, as networks need more pixels than
places do. Rendering takes four times as long as of the small ones of degraded masks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``evaluate``, ``evaluate --coco FILE --images DIR``, ``--voc DIR``,
    ``evaluate --protocol``, ``evaluate --space`` and ``evaluate --sequences``.
    """
    source = parser.add_argument_group("pictures")
    source.add_argument(
        "--sets",
        nargs="+",
        choices=SETS,
        metavar="SET",
        help=f"generated scenes: {', '.join(SETS)} (default: all; with several numbers of "
        "--absent, all but binding and absent)",
    )
    source.add_argument(
        "--split",
        choices=("development", "held_out"),
        default="held_out",
        help="choose constants on development, report metrics on held_out (the default)",
    )
    source.add_argument(
        "--absent",
        nargs="+",
        type=whole_number(0, "must be 0 or more"),
        default=[],
        metavar="N",
        help="number of absent names in the query of each generated scene; several numbers are "
        "compared with each other, for one recipe (default: 2)",
    )
    source.add_argument(
        "--conditions",
        nargs="*",
        choices=CONDITIONS,
        metavar="CONDITION",
        help="compare the pictures with the same ones after a change, for one recipe: "
        f"{', '.join(CONDITIONS)} (default: all)",
    )
    add_truth_options(source)
    _add_world_arguments(parser)
    add_count_option(parser, all_of_some=True)
    add_protocol_options(parser)
    parser.add_argument(
        "--output", type=nonempty_path, help="folder for the table, JSON and pictures"
    )
    add_network_options(parser)


def _add_world_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of measurements on views and sequences of the rendered world."""
    space = parser.add_argument_group("objects in space and over time")
    space.add_argument(
        "--space",
        action="store_true",
        help="measure boxes in space on views of the rendered world with depth",
    )
    space.add_argument(
        "--sequences",
        nargs="*",
        choices=TRACK_KINDS,
        metavar="KIND",
        help="measure how long ids last on sequences of the rendered world, beside other "
        f"trackers; kinds: {', '.join(TRACK_KINDS)} (default: all)",
    )
    space.add_argument(
        "--masks",
        choices=("degraded", "pipeline"),
        help="masks of --space and --sequences: true ones, also made worse, with which no network "
        "runs, or those of the pipeline (default: degraded); sequences are then twice as wide",
    )
    space.add_argument(
        "--scenes",
        type=whole_number(1, "at least one scene is needed"),
        metavar="N",
        help=f"number of scenes (default: {SPACE_SCENES} of --space, {TRACK_SCENES} of each kind "
        "of --sequences)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics of every variant beside those of the first, those of boxes in space, or
    those of ids that last, or those of a paper's protocol.
    """
    if arguments.protocol:
        return run_protocol(arguments)
    if arguments.paper:
        raise ConfigError("--paper is about the rules of --protocol; add --protocol")
    if arguments.space and arguments.sequences is not None:
        raise ConfigError("--space and --sequences measure two things; take one after the other")
    if arguments.masks and not arguments.space and arguments.sequences is None:
        raise ConfigError(
            "--masks is about objects in space and ids that last; add --space or --sequences"
        )
    if arguments.space:
        return _run_space(arguments)
    if arguments.sequences is not None:
        return _run_sequences(arguments)
    if arguments.scenes:
        raise ConfigError(
            "--scenes is about objects in space; add --space or --sequences, or use --count"
        )
    config = config_from_options(arguments)
    sources, variants = _sources(arguments), _variants(arguments, config)
    if arguments.output:
        check_output_folder(arguments.output)

    from clip_surgery_ros.evaluation.comparison import compare
    from clip_surgery_ros.evaluation.report import report_of
    from clip_surgery_ros.evaluation.report_files import markdown, write
    from clip_surgery_ros.networks.factory import load_networks

    networks = load_networks(config)
    results = {
        name: compare(networks, variants, examples(), name, picture_count(arguments))
        for name, examples in sources.items()
    }
    report = report_of(results)
    print(markdown(report))
    _write_files(arguments, lambda folder: write(report, folder))
    return 0


def _run_space(arguments: argparse.Namespace) -> int:
    """Print how far boxes in space are from the truth."""
    _refuse_pictures(arguments, "space")

    from clip_surgery_ros.evaluation.space import depth_views, measure
    from clip_surgery_ros.evaluation.space_detections import PipelineMasks, degraded
    from clip_surgery_ros.evaluation.space_report import markdown, summaries, write
    from clip_surgery_ros.evaluation.world_scenes import views_folder

    detector: SpaceDetector = degraded
    if arguments.masks == "pipeline":
        detector = PipelineMasks(_pipeline(arguments))
    views = depth_views(views_folder(), arguments.split, arguments.scenes or SPACE_SCENES)
    found = summaries(measure(views, detector))
    print(markdown(found))
    _write_files(arguments, lambda folder: write(found, folder))
    return 0


def _run_sequences(arguments: argparse.Namespace) -> int:
    """Print how long ids last."""
    _refuse_pictures(arguments, "sequences")

    from clip_surgery_ros.evaluation.sequence_detections import PipelineMasks, degraded
    from clip_surgery_ros.evaluation.sequence_report import markdown, summaries, write
    from clip_surgery_ros.evaluation.sequences import measure_all
    from clip_surgery_ros.evaluation.world_scenes import views_folder
    from clip_surgery_ros.world.track_scenes import SIZE

    detector: SequenceDetector = degraded
    size = SIZE
    if arguments.masks == "pipeline":
        detector, size = PipelineMasks(_pipeline(arguments)), PIPELINE_SIZE
    outcomes = measure_all(
        views_folder(),
        arguments.split,
        arguments.scenes or TRACK_SCENES,
        arguments.sequences or TRACK_KINDS,
        detector,
        size,
    )
    found = summaries(outcomes)
    print(markdown(found))
    _write_files(arguments, lambda folder: write(found, folder))
    return 0


def _pipeline(arguments: argparse.Namespace) -> Pipeline:
    """Return the pipeline whose masks ``--masks pipeline`` takes."""
    from clip_surgery_ros.networks.factory import load_networks

    config = config_from_options(arguments)
    return load_networks(config).pipeline(config)


def _refuse_pictures(arguments: argparse.Namespace, option: str) -> None:
    """Refuse options about pictures beside an option that has its own.

    :raises ConfigError: one is given, or files cannot be written.
    """
    names = ("sets", "absent", "coco", "images", "voc", "objects")
    given = [name for name in names if getattr(arguments, name)]
    given += ["conditions"] if arguments.conditions is not None else []
    if given:
        about = "objects in space" if option == "space" else "ids that last"
        raise ConfigError(f"--{given[0]} is not about {about}; leave it out with --{option}")
    if arguments.output:
        check_output_folder(arguments.output)


def _write_files(arguments: argparse.Namespace, write: Callable[[Path], list[Path]]) -> None:
    """Write a report into the folder of ``--output``, if it is given, and name the files."""
    if arguments.output:
        with output_folder(arguments.output) as unfinished:
            written = write(unfinished)
        for file in written:
            print(f"wrote {arguments.output / file.name}")


def _variants(arguments: argparse.Namespace, config: Config) -> Mapping[str, Variant]:
    """Return all recipes, or one recipe with each number of absent labels, if there are several,
    or under each condition.

    :raises ConfigError: when the pictures do not allow several numbers.
    """
    from clip_surgery_ros.evaluation.comparison import Variant

    counts = arguments.absent
    if arguments.conditions is not None:
        if len(counts) > 1:
            raise ConfigError(
                "--conditions and several numbers of --absent are two comparisons; make one after "
                "the other"
            )
        changed = {
            name: Variant(config, condition=name) for name in arguments.conditions or CONDITIONS
        }
        return {"unchanged": Variant(config), **changed}
    if len(counts) < 2:
        return {recipe: Variant(replace(config, recipe=recipe)) for recipe in RECIPES}
    if truth_folder(arguments) or OWN_ABSENT & set(arguments.sets or ()):
        raise ConfigError(
            "--absent compares several numbers on generated scenes only, of --sets other than "
            f"{' and '.join(sorted(OWN_ABSENT))}, which have absent names of their own"
        )
    return {f"{count} absent": Variant(config, count) for count in counts}


def _sources(arguments: argparse.Namespace) -> Mapping[str, Examples]:
    """Return examples by the name of their set: the user's folder, or generated sets."""
    if truth_folder(arguments) and arguments.sets:
        raise ConfigError(
            "--sets is about generated scenes; leave it out beside --coco, --voc and --objects"
        )
    named = folder_with_truth(arguments, arguments.split)
    if named:
        return dict([named])
    names = arguments.sets or _default_sets(arguments)
    absent = max(arguments.absent, default=None)
    return {
        name: scenes(name, arguments.split, picture_count(arguments), absent) for name in names
    }


def _default_sets(arguments: argparse.Namespace) -> list[str]:
    """Return all sets, or only those whose number of absent names can vary, if several numbers are
    compared.
    """
    return [name for name in SETS if len(arguments.absent) < 2 or name not in OWN_ABSENT]
