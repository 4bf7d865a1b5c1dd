"""Render scenes with exact truth: of the world's own objects, or of your textured models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.parameters.arguments import nonempty_path, whole_number
from clip_surgery_ros.tools.output import check_output_folder
from clip_surgery_ros.tools.truth import load_users_models

if TYPE_CHECKING:
    from clip_surgery_ros.world.export import Source

OUT = Path("world_scenes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``world --objects DIR --scenes N --out DIR --seed S``."""
    parser.add_argument(
        "--objects",
        type=nonempty_path,
        help="folder of textured models: NAME/model.glb, NAME/textured.obj, NAME.glb, or as YCB "
        "and Google Scanned Objects have them (default: the world's own objects)",
    )
    parser.add_argument(
        "--scenes", type=whole_number(1), default=20, help="number of scenes (default: 20)"
    )
    parser.add_argument(
        "--out", type=nonempty_path, default=OUT, help=f"folder to write (default: {OUT})"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=0,
        help="of the first scene; the others follow (default: 0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the scenes. Models that cannot be used are named, and left out."""
    inputs = [arguments.objects] if arguments.objects else []
    check_output_folder(arguments.out, *inputs)

    from clip_surgery_ros.world.export import ANNOTATIONS, SHEET, export
    from clip_surgery_ros.world.seeds import SPLITS

    source = _source(arguments.objects)
    first = SPLITS["held_out"].start + arguments.seed
    export(source, arguments.out, range(first, first + arguments.scenes))
    annotations = arguments.out / ANNOTATIONS
    print(f"wrote {arguments.scenes} scenes; look at {arguments.out / SHEET}")
    print(f"measure with: clip_surgery evaluate --coco {annotations} --images {arguments.out}")
    return 0


def _source(folder: Path | None) -> Source:
    """Return the world's own objects, or the models of a folder, of which it prints the list.

    :raises WorldError: no model can be used.
    """
    from clip_surgery_ros.world.export import own_objects, users_models

    return own_objects() if folder is None else users_models(load_users_models(folder))
