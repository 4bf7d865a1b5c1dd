"""Command-line options for pictures of your own whose objects are known."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.tools.options import path, whole

if TYPE_CHECKING:
    from clip_surgery_ros.evaluation.examples import Example

Examples = Callable[[], "Iterator[Example]"]
"""Gives them once: those of a folder are read as they are asked for."""
SETS = ("mixed", "single", "cluttered", "occluded", "several", "small", "twins", "absent")
"""Generated scenes by name: ``demo.scene_sets`` has them, which would be imported in vain for
options alone."""


def add_truth_options(parser: argparse._ActionsContainer) -> None:
    """``--coco FILE --images DIR`` or ``--voc DIR``."""
    parser.add_argument("--coco", type=path, help="instances file in COCO's layout, with truth")
    parser.add_argument("--images", type=path, help="folder of the pictures that --coco names")
    parser.add_argument("--voc", type=path, help="folder in PASCAL VOC's layout, with truth")


def add_count_option(parser: argparse._ActionsContainer) -> None:
    """``--count N``."""
    parser.add_argument(
        "--count",
        type=whole(1, "at least one picture must be shown"),
        default=200,
        help="most pictures of each source (default: 200)",
    )


def folder_with_truth(arguments: argparse.Namespace) -> tuple[str, Examples] | None:
    """Name and examples of the folder that the options name; None when they name none.

    :raises ConfigError: when they do not go together.
    """
    count = arguments.count
    if arguments.coco and arguments.voc:
        raise ConfigError("--coco and --voc are two data sets; take one after the other")
    if bool(arguments.coco) != bool(arguments.images):
        raise ConfigError("--coco names the file and --images the folder; give both")
    if arguments.coco:
        return arguments.coco.stem, _begun(_coco(arguments.coco, arguments.images, count))
    if arguments.voc:
        return arguments.voc.name, _begun(_voc(arguments.voc, count))
    return None


def _begun(examples: Iterator[Example]) -> Examples:
    """Reads the first at once: no network is loaded for what cannot be read."""
    first = [*islice(examples, 1)]
    return lambda: chain(first, examples)


def scenes(name: str, split: str, count: int, absent: int | None = None) -> Examples:
    """Generated examples of a set, from the start of its split.

    :param absent: names asked of each that are not in it; None for as many as usual.
    """

    def examples() -> Iterator[Example]:
        from clip_surgery_ros.evaluation.examples import ABSENT_PER_EXAMPLE, scene_examples

        absent_count = ABSENT_PER_EXAMPLE if absent is None else absent
        return scene_examples(name, split, count, absent_count)

    return examples


def _coco(file: Path, images: Path, count: int) -> Iterator[Example]:
    from clip_surgery_ros.evaluation.coco import coco_examples

    return coco_examples(file, images, count)


def _voc(folder: Path, count: int) -> Iterator[Example]:
    from clip_surgery_ros.evaluation.voc import voc_examples

    return voc_examples(folder, count)
