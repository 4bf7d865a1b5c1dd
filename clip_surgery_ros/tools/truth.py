"""Options for pictures with ground truth: the user's annotated folders and generated scenes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.arguments import nonempty_path, whole_number

if TYPE_CHECKING:
    from clip_surgery_ros.evaluation.examples import Example
    from clip_surgery_ros.evaluation.scene_source import SceneSource
    from clip_surgery_ros.evaluation.world_scenes import WorldScenes

Examples = Callable[[], "Iterator[Example]"]
"""A function to call once: the pictures of a folder are read one by one."""
SETS = ("mixed", "single", "cluttered", "occluded", "several", "small", "twins", "absent")
"""The names of ``SCENE_SETS`` in ``world/scene_sets.py``, whose import would make ``--help`` slow;
``test_start.py`` compares the two."""
WORLD_SETS = (
    *("mixed", "single", "cluttered", "occluded", "several", "small", "twins", "same_colour"),
    *("binding", "absent", "large"),
)
"""The names of ``SETS`` in ``world/sets.py``, likewise."""
TRACK_KINDS = (
    *("still", "orbit", "drive_past", "hand", "crossing", "exchanged", "board", "look_away"),
    *("taken", "put_elsewhere", "query_edited"),
)
"""The names of ``KINDS`` in ``world/track_scenes.py``, likewise; ``test_track_evaluation.py``
compares the two."""


PICTURES = 200
"""Pictures of each source, where the user names no number: the 95 % interval of a difference in
mean IoU is then about 0.03 wide on generated scenes (``docs/quality.md``)."""


def add_truth_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--coco FILE --images DIR`` and ``--voc DIR``."""
    parser.add_argument("--coco", type=nonempty_path, help="instances file in COCO's layout")
    parser.add_argument(
        "--images", type=nonempty_path, help="folder with the pictures that --coco names"
    )
    parser.add_argument("--voc", type=nonempty_path, help="folder in PASCAL VOC's layout")


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


def folder_with_truth(arguments: argparse.Namespace) -> tuple[str, Examples] | None:
    """Return name and examples of the annotated folder in the options; None if there is none.

    :raises ConfigError: when the options contradict each other.
    """
    count = picture_count(arguments)
    if arguments.coco and arguments.voc:
        raise ConfigError("--coco and --voc are two data sets; take one after the other")
    if bool(arguments.coco) != bool(arguments.images):
        raise ConfigError("--coco names the file and --images the folder; give both")
    if arguments.coco:
        return arguments.coco.stem, _with_first_read(
            _coco(arguments.coco, arguments.images, count)
        )
    if arguments.voc:
        return arguments.voc.name, _with_first_read(_voc(arguments.voc, count))
    return None


def _with_first_read(examples: Iterator[Example]) -> Examples:
    """Read the first example now, so that an error comes before networks are loaded."""
    first = [*islice(examples, 1)]
    return lambda: chain(first, examples)


def add_world_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--world``."""
    parser.add_argument(
        "--world",
        action="store_true",
        help="generated scenes are those of the rendered world instead of the stickers, for "
        "networks trained on it; its pictures are kept in the folder of weights",
    )


def check_sets(names: Sequence[str], world: bool) -> None:
    """Check that there are sets of these names.

    :raises ConfigError: when one is of the rendered world, which the options do not name.
    """
    unknown = [name for name in names if name not in (WORLD_SETS if world else SETS)]
    if unknown:
        raise ConfigError(f"there is no set {unknown[0]} of stickers; add --world")


def scene_source(world: bool) -> SceneSource:
    """Return the generated scenes: those of the rendered world, or the stickers."""
    if world:
        return world_scenes()
    from clip_surgery_ros.evaluation.sticker_scenes import StickerScenes

    return StickerScenes()


def world_scenes() -> WorldScenes:
    """Return the rendered world, whose views are kept in the folder of weights."""
    from clip_surgery_ros.evaluation.world_scenes import WorldScenes
    from clip_surgery_ros.weights.fetching import weights_folder

    return WorldScenes(weights_folder() / "world_views")


def scenes(
    name: str, split: str, count: int, absent: int | None = None, world: bool = False
) -> Examples:
    """Return generated examples of a set, from the start of its split.

    :param absent: how many absent names each query has; None for the usual number.
    :param world: of the rendered world.
    """

    def examples() -> Iterator[Example]:
        from clip_surgery_ros.evaluation.examples import ABSENT_PER_EXAMPLE

        absent_count = ABSENT_PER_EXAMPLE if absent is None else absent
        return scene_source(world).examples(name, split, count, absent_count)

    return examples


def _coco(file: Path, images: Path, count: int) -> Iterator[Example]:
    from clip_surgery_ros.evaluation.coco import coco_examples

    return coco_examples(file, images, count)


def _voc(folder: Path, count: int) -> Iterator[Example]:
    from clip_surgery_ros.evaluation.voc import voc_examples

    return voc_examples(folder, count)
