"""Train the demo's networks from scratch, fit what ranks masks, measure or write the files."""

from __future__ import annotations

import argparse
from typing import Any

from clip_surgery_ros.tools.options import above_zero, path, whole
from clip_surgery_ros.tools.output import check_output_file, check_output_folder, output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``train-demo clip CHECKPOINT``, ``train-demo sam CHECKPOINT``, ``train-demo export ...``."""
    steps = parser.add_subparsers(dest="network", required=True)
    for name, batch in (("clip", 64), ("sam", 16)):
        step = steps.add_parser(name, help=f"train the demo's {name.upper()}")
        step.add_argument("checkpoint", type=path, help="checkpoint to write")
        step.add_argument("--resume", type=path, help="checkpoint to go on from")
        step.add_argument("--steps", type=whole(1), default=3000, help="last step (default: 3000)")
        step.add_argument(
            "--decay", type=whole(0), default=700, help="steps of rate decay at the end"
        )
        step.add_argument("--batch", type=whole(1), default=batch, help="scenes a step")
        step.add_argument("--rate", type=above_zero, default=1.5e-3, help="peak learning rate")
        step.add_argument("--seed", type=whole(0), default=20261123)
        step.add_argument("--threads", type=whole(1), default=2)
        step.add_argument(
            "--validate-every", type=whole(1), default=250, help="steps between figures"
        )
        if name == "clip":
            step.add_argument(
                "--small-steps", type=whole(0), default=1000, help="first steps, on small scenes"
            )
        else:
            step.add_argument(
                "--bfloat16",
                action="store_true",
                help="products in bfloat16, where the processor has instructions for them",
            )
    ranking = steps.add_parser("ranking", help="fit the weights that masks are ranked by")
    ranking.add_argument("--scenes", type=whole(1), default=200, help="of each set (default: 200)")
    card = steps.add_parser("card", help="measure the shipped networks: the card's table")
    card.add_argument("--scenes", type=whole(1), default=500, help="held-out ones (default: 500)")
    export = steps.add_parser("export", help="write the shipped files from two checkpoints")
    export.add_argument("clip", type=path, help="checkpoint of the CLIP")
    export.add_argument("sam", type=path, help="checkpoint of the SAM")
    export.add_argument("folder", type=path, help="where the files are written")


def run(arguments: argparse.Namespace) -> int:
    """Train, fit, measure or export."""
    if arguments.network == "export":
        _export(arguments)
    elif arguments.network == "ranking":
        from clip_surgery_ros.core.ranking import FEATURES
        from clip_surgery_ros.networks.factory import load_networks
        from clip_surgery_ros.parameters.config import Config
        from clip_surgery_ros.training.fit_ranking import fit, fit_chance

        networks = load_networks(Config.from_values())
        weights, correlation = fit(networks, arguments.scenes)
        for name, row in zip(FEATURES, weights, strict=True):
            print(f"[{', '.join(f'{weight:6.3f}' for weight in row)}],  # {name}")
        print(f"correlation with IoU: {correlation:.3f}")
        print(
            "chance of being right, with the weights in use: a label's best mask, and its others"
        )
        for offset, scale in fit_chance(networks, arguments.scenes):
            print(f"({offset:.2f}, {scale:.2f})")
    elif arguments.network == "card":
        _print_card(arguments.scenes)
    elif arguments.network == "clip":
        check_output_file(arguments.checkpoint)

        from clip_surgery_ros.training import train_clip

        train_clip.train(
            _options(train_clip.Options, arguments),
            arguments.checkpoint,
            arguments.resume,
            arguments.validate_every,
        )
    else:
        check_output_file(arguments.checkpoint)

        from clip_surgery_ros.training import train_sam

        train_sam.train(
            _options(train_sam.Options, arguments),
            arguments.checkpoint,
            arguments.resume,
            arguments.validate_every,
        )
    return 0


def _export(arguments: argparse.Namespace) -> None:
    check_output_folder(arguments.folder)

    from clip_surgery_ros.training.export import export_clip, export_sam, export_texts

    with output_folder(arguments.folder) as unfinished:
        export_sam(arguments.sam, unfinished / "sam_demo.safetensors")
        clip = unfinished / "clip_demo.safetensors"
        export_clip(arguments.clip, clip)
        export_texts(clip, unfinished / "clip_demo_texts.safetensors")


def _print_card(scenes: int) -> None:
    from clip_surgery_ros.networks.factory import load_networks
    from clip_surgery_ros.parameters.config import Config
    from clip_surgery_ros.training.card import evaluate

    config = Config.from_values({"recipe": "reference"})
    networks = load_networks(config)
    tally = evaluate(networks.clip, networks.sam, networks.pipeline(config), scenes)
    print(f"{scenes} held-out scenes")
    for what, value, wanted in tally.table():
        print(f"  {what:<38} {value:6.3f}   wanted {wanted}")


def _options(kind: type, arguments: argparse.Namespace) -> Any:
    """The fields of a training's options, from the command line."""
    return kind(**{name: getattr(arguments, name) for name in kind.__annotations__})
