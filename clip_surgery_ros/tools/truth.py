"""Options for pictures with ground truth: the user's annotated folders and generated scenes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError, WorldError
from clip_surgery_ros.parameters.arguments import nonempty_path, whole_number

if TYPE_CHECKING:
    from clip_surgery_ros.evaluation.examples import Example
    from clip_surgery_ros.world.models import Model

Examples = Callable[[], "Iterator[Example]"]
"""A function to call once: the pictures of a folder are read one by one."""
SETS = (
    *("mixed", "single", "cluttered", "occluded", "several", "small", "twins", "same_colour"),
    *("binding", "absent", "large", "cut"),
)
"""The names of ``SETS`` in ``world/sets.py``, whose import would make ``--help`` slow;
``test_start.py`` compares the two."""
CONDITIONS = ("cast", "dark", "grey", "blur", "jpeg", "noise")
"""The names of ``CONDITIONS`` in ``evaluation/conditions.py``, likewise."""
TRACK_KINDS = (
    *("still", "orbit", "drive_past", "pan", "hand", "crossing", "exchanged", "board"),
    *("look_away", "taken", "put_elsewhere", "query_edited"),
)
"""The names of ``KINDS`` in ``world/track_scenes.py``, likewise; ``test_track_evaluation.py``
compares the two."""


PICTURES = 200
"""Pictures of each source, where the user names no number: the 95 % interval of a difference in
mean IoU is then about 0.03 wide on generated scenes (``docs/quality.md``)."""


def add_truth_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--coco FILE --images DIR``, ``--voc DIR`` and ``--objects DIR``."""
    parser.add_argument("--coco", type=nonempty_path, help="instances file in COCO's layout")
    parser.add_argument(
        "--images", type=nonempty_path, help="folder with the pictures that --coco names"
    )
    parser.add_argument("--voc", type=nonempty_path, help="folder in PASCAL VOC's layout")
    parser.add_argument(
        "--objects",
        type=nonempty_path,
        help="folder of your own textured models, as `clip_surgery world` takes it, of which "
        "scenes are rendered",
    )


def add_count_option(
    parser: argparse._ActionsContainer, default: int = PICTURES, *, all_of_some: bool = False
) -> None:
    """Add ``--count N``.

    :param all_of_some: whether the subcommand also has measurements of all pictures; the default
        is then None, and :func:`picture_count` tells what it stands for.
    """
    but = ", all with --protocol" if all_of_some else ""
    parser.add_argument(
        "--count",
        type=whole_number(1, "at least one picture is needed"),
        default=None if all_of_some else default,
        help=f"largest number of pictures of each source (default: {default}{but})",
    )


def picture_count(arguments: argparse.Namespace) -> int:
    """Return ``--count``, or its default."""
    return int(arguments.count or PICTURES)


def truth_folder(arguments: argparse.Namespace) -> Path | None:
    """Return the file or folder of ``--coco``, ``--voc`` or ``--objects``.

    :raises ConfigError: when two are given.
    """
    given = {name: getattr(arguments, name) for name in ("coco", "voc", "objects")}
    named = [name for name, path in given.items() if path]
    if len(named) > 1:
        raise ConfigError(
            f"--{named[0]} and --{named[1]} are two data sets; take one after the other"
        )
    return given[named[0]] if named else None


def folder_with_truth(
    arguments: argparse.Namespace, split: str = "development"
) -> tuple[str, Examples] | None:
    """Return name and examples of the folder with ground truth in the options; None if there is
    none.

    :param split: of scenes that are rendered.
    :raises ConfigError: when the options contradict each other.
    """
    count = picture_count(arguments)
    folder = truth_folder(arguments)
    if bool(arguments.coco) != bool(arguments.images):
        raise ConfigError("--coco names the file and --images the folder; give both")
    if arguments.coco:
        return arguments.coco.stem, _with_first_read(
            _coco(arguments.coco, arguments.images, count)
        )
    if arguments.voc:
        return arguments.voc.name, _with_first_read(_voc(arguments.voc, count))
    if folder:
        return folder.name, _rendered(folder, split, count)
    return None


def load_users_models(folder: Path) -> list[Model]:
    """Read the textured models of a folder; print their names, and which cannot be used.

    :raises WorldError: no model can be used.
    """
    from clip_surgery_ros.world.models import load_models

    models, refused = load_models(folder)
    for sentence in refused:
        print(f"left out: {sentence}", file=sys.stderr)
    if not models:
        raise WorldError(f"none of the {len(refused)} models of {folder} can be used")
    names = ", ".join(sorted(model.words.name for model in models))
    print(f"{len(models)} models: {names}")
    return models


def _rendered(folder: Path, split: str, count: int) -> Examples:
    """Return scenes of a user's models, which are read now, so that errors come early."""
    from clip_surgery_ros.evaluation.model_scenes import model_examples

    models = load_users_models(folder)
    return lambda: model_examples(models, split, count)


def _with_first_read(examples: Iterator[Example]) -> Examples:
    """Read the first example now, so that an error comes before networks are loaded."""
    first = [*islice(examples, 1)]
    return lambda: chain(first, examples)


def scenes(name: str, split: str, count: int, absent: int | None = None) -> Examples:
    """Return generated examples of a set, from the start of its split.

    :param absent: how many absent names each query has; None for the usual number.
    """

    def examples() -> Iterator[Example]:
        from clip_surgery_ros.evaluation.examples import ABSENT_PER_EXAMPLE
        from clip_surgery_ros.evaluation.world_scenes import WorldScenes

        absent_count = ABSENT_PER_EXAMPLE if absent is None else absent
        return WorldScenes().examples(name, split, count, absent_count)

    return examples


def _coco(file: Path, images: Path, count: int) -> Iterator[Example]:
    from clip_surgery_ros.evaluation.coco import coco_examples

    return coco_examples(file, images, count)


def _voc(folder: Path, count: int) -> Iterator[Example]:
    from clip_surgery_ros.evaluation.voc import voc_examples

    return voc_examples(folder, count)
