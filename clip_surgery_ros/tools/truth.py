"""Command-line options for pictures of your own whose objects are known."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.folders import coco, voc

Examples = Callable[[], Iterator[Example]]


def add_truth_options(parser: argparse._ActionsContainer) -> None:
    """``--coco FILE --images DIR`` or ``--voc DIR``."""
    parser.add_argument("--coco", type=Path, help="instances file in COCO's layout, with truth")
    parser.add_argument("--images", type=Path, help="folder of the pictures that --coco names")
    parser.add_argument("--voc", type=Path, help="folder in PASCAL VOC's layout, with truth")


def add_count_option(parser: argparse._ActionsContainer) -> None:
    """``--count N``."""
    parser.add_argument(
        "--count", type=int, default=200, help="most pictures of each source (default: 200)"
    )


def folder_with_truth(arguments: argparse.Namespace) -> tuple[str, Examples] | None:
    """Name and examples of the folder that the options name; None when they name none.

    :raises ConfigError: when they do not go together, or ``--count`` shows nothing.
    """
    count = arguments.count
    if count < 1:
        raise ConfigError(f"--count is {count}, but at least one picture must be shown")
    if arguments.coco and arguments.voc:
        raise ConfigError("--coco and --voc are two data sets; take one after the other")
    if bool(arguments.coco) != bool(arguments.images):
        raise ConfigError("--coco names the file and --images the folder; give both")
    if arguments.coco:
        return arguments.coco.stem, lambda: coco(arguments.coco, arguments.images, count)
    if arguments.voc:
        return arguments.voc.name, lambda: voc(arguments.voc, count)
    return None
