"""Label the images of recorded bags by words: COCO annotations and pictures of masks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.parameters.arguments import nonempty_path, positive_number, whole_number
from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE
from clip_surgery_ros.tools.options import (
    add_network_options,
    config_from_options,
    parse_nonempty_query,
)
from clip_surgery_ros.tools.output import check_output_folder

if TYPE_CHECKING:
    from clip_surgery_ros.core.types import Query
    from clip_surgery_ros.recorded.plan import Plan

SKIPPED = 3
"""Exit status when all is written, but some images could not be read or labelled."""
EXPORTS = ("coco", "masks")
"""What can be written, see ``recorded/results.py``."""
_MAX_NAMED = 20
"""Skipped images that are named on the terminal; ``coco.json`` has all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``label BAG... --query "red mug; cable" --output DIR``."""
    parser.add_argument(
        "bags",
        type=nonempty_path,
        nargs="+",
        metavar="BAG",
        help="folder of a ROS 2 bag, or a file of one (.mcap, .db3)",
    )
    parser.add_argument(
        "--query", required=True, help='labels separated by , or ; ("red mug; cable")'
    )
    parser.add_argument(
        "--topic", help="topic of raw or compressed images (default: the only one)"
    )
    parser.add_argument(
        "--every",
        type=positive_number,
        metavar="S",
        help="least time between two images in seconds, as recorded (default: all images)",
    )
    parser.add_argument("--output", type=nonempty_path, required=True, help="folder to write")
    parser.add_argument(
        "--export",
        nargs="+",
        choices=EXPORTS,
        default=["coco"],
        help="what to write: coco.json, masks/ with a PNG for each image (default: coco)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=1,  # each has networks of its own in memory
        help="processes that label, each with its own networks (default: 1)",
    )
    parser.add_argument(
        "--images-per-item",
        type=whole_number(1),
        default=64,  # IMAGES_PER_ITEM of recorded/plan.py, whose import makes --help slow
        metavar="N",
        help="largest piece of work: what a worker takes at once, and what a killed run loses; "
        "less for short bags (default: 64)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan and which items are done; no work"
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Label what is not labelled yet, write the exports and print the summary.

    :return: 0, or :data:`SKIPPED`.
    """
    config, query = config_from_options(arguments), parse_nonempty_query(arguments.query)
    check_output_folder(arguments.output, *arguments.bags)

    from clip_surgery_ros.recorded.plan import make_plan
    from clip_surgery_ros.recorded.run import label_items, only_run, unfinished_items

    plan = make_plan(
        arguments.bags,
        arguments.topic,
        arguments.every or 0,
        query,
        config,
        arguments.images_per_item,
    )
    for reason in plan.unreadable:
        print(f"note: left out: {reason}", file=sys.stderr)
    if arguments.dry_run:
        _print_plan(plan, arguments.output)
        return 0
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)
    from tqdm import tqdm

    with only_run(arguments.output):
        items = unfinished_items(plan, arguments.output)
        left = sum(len(item.frames) for item in items)
        done = plan.frame_count - left
        if done:
            print(f"{done} of {plan.frame_count} images are labelled already", file=sys.stderr)
        with tqdm(total=left, unit="frame", disable=not items) as bar:
            label_items(items, query, config, arguments.output, arguments.workers, bar.update)
        return _write(plan, query, arguments.output, arguments.export)


def _print_plan(plan: Plan, output: Path) -> None:
    """Print a row for each item."""
    from clip_surgery_ros.recorded.run import unfinished_items

    unfinished = {item.key for item in unfinished_items(plan, output)}
    for item in plan.items:
        state = "to do" if item.key in unfinished else "done"
        times = f"{item.frames[0].log_time} to {item.frames[-1].log_time} ns"
        print(
            f"{item.key[:12]}  {state:<5}  {len(item.frames):>3} images  {item.part.file} "
            f"{item.topic}  {times}"
        )
    print(f"{len(plan.items)} items, {len(unfinished)} to do, {plan.frame_count} images")


def _write(plan: Plan, query: Query, output: Path, exports: Sequence[str]) -> int:
    """Write the exports, print the summary, and return the exit status."""
    from clip_surgery_ros.recorded.results import (
        labelled_frames,
        summary,
        write_coco,
        write_masks,
    )

    frames = labelled_frames(plan, output)
    skipped = [frame for frame in frames if frame.is_skipped]
    for frame in skipped[:_MAX_NAMED]:
        print(f"skipped {frame.name}: {frame.values['error']}", file=sys.stderr)
    if len(skipped) > _MAX_NAMED:
        print(f"skipped {len(skipped) - _MAX_NAMED} more", file=sys.stderr)
    print(summary(frames, query))
    if "coco" in exports:
        print(f"wrote {write_coco(frames, query, output)}")
    if "masks" in exports:
        print(f"wrote {write_masks(frames, output)}")
    return SKIPPED if skipped or plan.unreadable else 0
