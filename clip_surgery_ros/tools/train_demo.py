"""Train the demo's networks from scratch, fit the ranking of masks, measure and export."""

from __future__ import annotations

import argparse
from typing import Any

from clip_surgery_ros.parameters.arguments import nonempty_path, positive_number, whole_number
from clip_surgery_ros.tools.output import check_output_file, check_output_folder, output_folder

SCENES = 4000
"""12,000 views: an hour of one core."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the steps ``views``, ``clip``, ``sam``, ``ranking``, ``card``, ``export``, ``sets`` and
    ``transfer``.
    """
    steps = parser.add_subparsers(dest="network", required=True)
    views = steps.add_parser("views", help="render the views that the trainings need")
    views.add_argument("folder", type=nonempty_path, help="folder to write into; resumes")
    views.add_argument("--scenes", type=whole_number(1), default=SCENES, help=f"default: {SCENES}")
    _add_processes(views)
    for name, batch in (("clip", 64), ("sam", 16)):
        step = steps.add_parser(name, help=f"train the demo's {name.upper()}")
        _add_training_options(step, name, batch)
    ranking = steps.add_parser("ranking", help="fit the weights of the ranking of masks")
    ranking.add_argument(
        "--scenes", type=whole_number(1), default=200, help="scenes of each set (default: 200)"
    )
    card = steps.add_parser("card", help="measure the shipped networks, for the table of the card")
    card.add_argument(
        "--scenes", type=whole_number(1), default=500, help="held-out scenes (default: 500)"
    )
    export = steps.add_parser("export", help="write the shipped files from two checkpoints")
    export.add_argument("clip", type=nonempty_path, help="CLIP's checkpoint, or its exported file")
    export.add_argument("sam", type=nonempty_path, help="SAM's checkpoint, or its exported file")
    export.add_argument("folder", type=nonempty_path, help="folder to write into")
    export.add_argument(
        "--scenes",
        type=whole_number(1),
        default=100,
        help="development scenes of each set on which presence is fitted (default: 100)",
    )
    sets = steps.add_parser("sets", help="render the evaluation sets in advance")
    sets.add_argument("split", choices=("development", "held_out"), help="which scenes")
    sets.add_argument(
        "--scenes", type=whole_number(1), default=200, help="scenes of each set (default: 200)"
    )
    _add_processes(sets)
    _add_transfer(steps.add_parser("transfer", help="the study of transfer to unseen networks"))


def _add_transfer(step: argparse.ArgumentParser) -> None:
    """Add the options of ``transfer``."""
    step.add_argument("folder", type=nonempty_path, help="of views and networks; resumes")
    step.add_argument(
        "--make", action="store_true", help="render the views and train the CLIPs that are missing"
    )
    step.add_argument(
        "--sams",
        type=nonempty_path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="exported SAMs whose masks are measured, beside the demo's",
    )
    step.add_argument(
        "--count", type=whole_number(1), default=60, help="pictures of each CLIP (default: 60)"
    )
    step.add_argument("--threads", type=whole_number(1), default=2, help="(default: 2)")
    _add_processes(step)


def _add_processes(step: argparse.ArgumentParser) -> None:
    step.add_argument("--processes", type=whole_number(1), default=1, help="default: 1")


def _add_training_options(step: argparse.ArgumentParser, name: str, batch: int) -> None:
    """Add the options of ``clip`` or ``sam``."""
    step.add_argument("views", type=nonempty_path, help="folder of `train-demo views`")
    step.add_argument("checkpoint", type=nonempty_path, help="checkpoint to write")
    step.add_argument(
        "--scenes",
        type=whole_number(1),
        default=SCENES,
        help=f"scenes whose views are learnt from (default: {SCENES})",
    )
    step.add_argument("--resume", type=nonempty_path, help="checkpoint from which to resume")
    step.add_argument(
        "--steps", type=whole_number(1), default=3000, help="last step (default: 3000)"
    )
    step.add_argument(
        "--decay",
        type=whole_number(0),
        default=700,
        help="steps of rate decay at the end (default: 700)",
    )
    step.add_argument(
        "--batch",
        type=whole_number(1),
        default=batch,
        help=f"pictures per step (default: {batch})",
    )
    step.add_argument("--rate", type=positive_number, default=1.5e-3, help="peak learning rate")
    step.add_argument("--seed", type=whole_number(0), default=20261123)
    step.add_argument("--device", default="cpu", help="cpu or a GPU as cuda:0 (default: cpu)")
    step.add_argument("--threads", type=whole_number(1), default=2, help="on the CPU (default: 2)")
    step.add_argument(
        "--workers",
        type=whole_number(1),
        default=1,
        help="processes that make batches; a GPU is faster than ten of them (default: 1)",
    )
    step.add_argument(
        "--validate-every",
        type=whole_number(1),
        default=250,
        help="steps between validations (default: 250)",
    )
    _add_clip_options(step) if name == "clip" else _add_sam_options(step)
    step.add_argument(
        "--bfloat16",
        action="store_true",
        help="matrix products in bfloat16, for processors with instructions for it",
    )


def _add_sam_options(step: argparse.ArgumentParser) -> None:
    """Add the options of ``sam`` alone."""
    step.add_argument(
        "--nested",
        action="store_true",
        help="train the three masks as part, object and object with its surroundings",
    )


def _add_clip_options(step: argparse.ArgumentParser) -> None:
    """Add the options of ``clip`` alone."""
    step.add_argument(
        "--small-steps",
        type=whole_number(0),
        default=1000,
        help="first steps, which are close to one object (default: 1000)",
    )
    step.add_argument(
        "--contrastive-only",
        action="store_true",
        help="train with the loss of CLIP's paper alone, which uses no masks",
    )
    step.add_argument(
        "--image-tower",
        type=nonempty_path,
        help="weights whose image tower a run from step 0 begins with",
    )
    step.add_argument(
        "--side",
        type=int,
        choices=range(64, 193, 8),
        default=96,
        metavar="PIXELS",
        help="of the pictures, a multiple of 8 from 64 to 192 (default: 96)",
    )
    step.add_argument(
        "--kept-tokens",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="compute N patch tokens of a picture, those of objects first: steps take less time "
        "(default: 0, all)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, fit, measure or export."""
    if arguments.network == "export":
        _export(arguments)
    elif arguments.network == "ranking":
        _print_ranking(arguments)
    elif arguments.network == "sets":
        _render_sets(arguments)
    elif arguments.network == "transfer":
        _study_transfer(arguments)
    elif arguments.network == "card":
        _print_card(arguments)
    elif arguments.network == "views":
        _render(arguments)
    else:
        _train(arguments)
    return 0


def _render(arguments: argparse.Namespace) -> None:
    from clip_surgery_ros.training.world_views import DEVELOPMENT_SCENES, render_scenes

    check_output_folder(arguments.folder)
    render_scenes(arguments.folder, "development", DEVELOPMENT_SCENES, arguments.processes)
    render_scenes(arguments.folder, "train", arguments.scenes, arguments.processes)


def _render_sets(arguments: argparse.Namespace) -> None:
    from clip_surgery_ros.evaluation.world_scenes import WorldScenes

    WorldScenes().render(arguments.split, arguments.scenes, arguments.processes)


def _study_transfer(arguments: argparse.Namespace) -> None:
    from clip_surgery_ros.training import transfer
    from clip_surgery_ros.weights.files import demo_weights

    check_output_folder(arguments.folder)
    if arguments.make:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        transfer.make(arguments.folder, arguments.processes)
    sams = [demo_weights("sam_demo"), *arguments.sams]
    transfer.measure(arguments.folder, sams, arguments.count, arguments.threads)


def _train(arguments: argparse.Namespace) -> None:
    check_output_file(arguments.checkpoint)

    from clip_surgery_ros.training import train_clip, train_sam
    from clip_surgery_ros.training.options import ClipOptions, Machine, RunFiles, SamOptions

    files, machine = _options(RunFiles, arguments), _options(Machine, arguments)
    if arguments.network == "clip":
        train_clip.train(_options(ClipOptions, arguments), files, machine)
    else:
        train_sam.train(_options(SamOptions, arguments), files, machine)


def _export(arguments: argparse.Namespace) -> None:
    check_output_folder(arguments.folder)

    from clip_surgery_ros.evaluation.world_scenes import WorldScenes
    from clip_surgery_ros.training.export import export_clip, export_sam, export_texts

    with output_folder(arguments.folder) as unfinished:
        export_sam(arguments.sam, unfinished / "sam_demo.safetensors")
        clip = unfinished / "clip_demo.safetensors"
        export_clip(arguments.clip, clip, WorldScenes(), arguments.scenes)
        export_texts(clip, unfinished / "clip_demo_texts.safetensors")


def _print_ranking(arguments: argparse.Namespace) -> None:
    from clip_surgery_ros.core.ranking import FEATURES
    from clip_surgery_ros.evaluation.world_scenes import WorldScenes
    from clip_surgery_ros.networks.factory import load_networks
    from clip_surgery_ros.parameters.config import Config
    from clip_surgery_ros.training.fit_ranking import fit_probabilities, fit_weights

    networks, scenes = load_networks(Config.from_values()), WorldScenes()
    weights, correlation = fit_weights(networks, scenes, arguments.scenes)
    for name, row in zip(FEATURES, weights, strict=True):
        print(f"[{', '.join(f'{weight:6.3f}' for weight in row)}],  # {name}")
    print(f"correlation with IoU: {correlation:.3f}")
    print("probability that a mask is correct, with the current weights: best mask, further masks")
    for offset, scale in fit_probabilities(networks, scenes, arguments.scenes):
        print(f"({offset:.2f}, {scale:.2f})")


def _print_card(arguments: argparse.Namespace) -> None:
    from clip_surgery_ros.evaluation.world_scenes import WorldScenes
    from clip_surgery_ros.networks.factory import load_networks
    from clip_surgery_ros.parameters.config import Config
    from clip_surgery_ros.training.card import measure_networks

    config = Config.from_values({"recipe": "reference"})
    networks = load_networks(config)
    pipeline, scenes = networks.pipeline(config), WorldScenes()
    measurements = measure_networks(
        networks.clip, networks.sam, pipeline, scenes, arguments.scenes
    )
    print(f"{arguments.scenes} held-out scenes")
    for what, value, wanted in measurements.table():
        print(f"  {what:<38} {value:6.3f}   wanted {wanted}")


def _options(kind: type, arguments: argparse.Namespace) -> Any:
    """Fill the fields of a training's options from the command line."""
    return kind(**{name: getattr(arguments, name) for name in kind.__annotations__})
