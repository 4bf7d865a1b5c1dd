"""Label the images of recorded bags by words: COCO annotations and pictures of masks."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.parameters.arguments import nonempty_path, positive_number, whole_number
from clip_surgery_ros.parameters.cameras import COMPRESSED_DEPTH, SpaceTopics
from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE
from clip_surgery_ros.tools.options import (
    SPACE_PARAMETERS,
    add_network_options,
    add_space_options,
    config_from_options,
    parse_nonempty_query,
)
from clip_surgery_ros.tools.output import check_output_folder

if TYPE_CHECKING:
    from clip_surgery_ros.core.types import Query
    from clip_surgery_ros.parameters.config import Config
    from clip_surgery_ros.recorded.plan import Item, Plan
    from clip_surgery_ros.recorded.results import Take

SKIPPED = 3
"""Exit status when all is written, but some images could not be read or labelled."""
EXPORTS = ("coco", "masks", "bag", "page", "rrd")
"""What can be written, see ``recorded/results.py``, ``recorded/side_bag.py``,
``recorded/page.py`` and ``recorded/rrd_files.py``."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a full quota, and a file larger than the file system or a limit allows."""
_BAR_AFTER_S = 3.0
"""Seconds after which writing shows a bar."""
_MAX_NAMED = 20
"""Skipped images that are named on the terminal; ``coco.json`` has all of them."""


def ray_address(text: str) -> str:
    """Parse the address of a Ray cluster."""
    if text.startswith("ray://"):
        raise argparse.ArgumentTypeError(
            f"is {text}, but Ray's client cannot be used: images and results are on the nodes' "
            "storage; run the command on a node, with 'auto'"
        )
    host, _, port = text.rpartition(":")
    if text not in ("local", "auto") and not (host and port.isdecimal()):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be local, auto or HOST:PORT")
    return text


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
        help="what to write: coco.json, masks/ with a PNG for each image, bags/ with the node's "
        "topics for each bag, index.html with pictures and counts, rerun/ with a file of the "
        "Rerun viewer for each bag (default: coco)",
    )
    _add_worker_arguments(parser)
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
    _add_space_arguments(parser.add_argument_group("objects in space"))
    add_network_options(parser)


def _add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        help="processes that label, each with its own networks (default: 1; with --ray one for "
        "each GPU, or for --cpu-threads cores)",
    )
    parser.add_argument(
        "--ray",
        type=ray_address,
        metavar="ADDRESS",
        help="label on a Ray cluster: 'local' (a cluster of this machine alone), 'auto' (the one "
        "that this machine is a node of) or HOST:PORT of its head",
    )


def _add_space_arguments(space: argparse._ArgumentGroup) -> None:
    space.add_argument(
        "--depth",
        metavar="TOPIC",
        help="topic of raw depth or compressedDepth; objects then have places in space, from it, "
        "the camera's model and the transforms of the bag",
    )
    space.add_argument(
        "--camera-info",
        metavar="TOPIC",
        help="model of the images (default: camera_info beside the topic of images)",
    )
    space.add_argument(
        "--depth-info",
        metavar="TOPIC",
        help="model of the depth images (default: camera_info beside the topic of depth)",
    )
    add_space_options(space)


def run(arguments: argparse.Namespace) -> int:
    """Label what is not labelled yet, write the exports and print the summary.

    :return: 0, or :data:`SKIPPED`.
    """
    config, query = config_from_options(arguments), parse_nonempty_query(arguments.query)
    check_output_folder(arguments.output, *arguments.bags)
    _check_exports(arguments.export)

    from clip_surgery_ros.recorded.job import LabelJob
    from clip_surgery_ros.recorded.on_ray import Workers, do_on_ray
    from clip_surgery_ros.recorded.plan import make_plan
    from clip_surgery_ros.recorded.run import label_items, only_run, unfinished_items

    # Before the plan, which may take minutes.
    on_ray = Workers.of(arguments.ray, arguments.workers or 0, config) if arguments.ray else None

    plan = make_plan(
        arguments.bags,
        arguments.topic,
        arguments.every or 0,
        query,
        config,
        arguments.images_per_item,
        _space_topics(arguments),
    )
    for reason in plan.unreadable:
        _note(f"left out: {reason}")
    if arguments.dry_run:
        print_plan(plan, unfinished_items(plan, arguments.output))
        return 0
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)
    from tqdm import tqdm

    with only_run(arguments.output), shortage_explained(arguments.output):
        items = unfinished_items(plan, arguments.output)
        left = sum(len(item.frames) for item in items)
        done = plan.frame_count - left
        if done:
            print(f"{done} of {plan.frame_count} images are labelled already", file=sys.stderr)
        with tqdm(total=left, unit="frame", disable=not items) as bar:
            job = LabelJob(query, config, arguments.output, plan.depends)
            if on_ray is None:
                label_items(items, job, arguments.workers or 1, bar.update)
            else:
                do_on_ray(items, job, on_ray, arguments.output, bar.update, _note)
        return _write(plan, query, config, arguments.output, arguments.export)


def _note(sentence: str) -> None:
    """Print what people should know, also beside a progress bar."""
    from tqdm import tqdm

    tqdm.write(f"note: {sentence}", file=sys.stderr)


@contextmanager
def shortage_explained(output: Path) -> Iterator[None]:
    """Say how to go on when there is no room for results."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise ClipSurgeryError(
            f"{error.filename or output}: {error.strerror}; finished items are kept: make room, "
            "and run the same command again"
        ) from error


def _space_topics(arguments: argparse.Namespace) -> SpaceTopics | None:
    """Return the topics for objects in space; None without depth.

    :raises ConfigError: when options need depth, and there is none.
    """
    if arguments.depth is None:
        given = [
            f"--{name.replace('_', '-')}"
            for name in ("camera_info", "depth_info", *SPACE_PARAMETERS)
            if getattr(arguments, name) is not None
        ]
        if given:
            raise ConfigError(f"{given[0]} is for objects in space; name --depth too")
        return None
    topic = arguments.depth.removesuffix(f"/{COMPRESSED_DEPTH}")
    return SpaceTopics(
        topic,
        arguments.camera_info or "",
        arguments.depth_info or "",
        compressed=topic != arguments.depth,
    )


def print_plan(plan: Plan, left: Collection[Item]) -> None:
    """Print a row for each item.

    :param left: items that have no results yet.
    """
    unfinished = {item.key for item in left}
    for item in plan.items:
        state = "to do" if item.key in unfinished else "done"
        times = f"{item.frames[0].log_time} to {item.frames[-1].log_time} ns"
        print(
            f"{item.key[:12]}  {state:<5}  {len(item.frames):>3} images  {item.part.file} "
            f"{item.topic}  {times}"
        )
    print(f"{len(plan.items)} items, {len(unfinished)} to do, {plan.frame_count} images")


def _write(plan: Plan, query: Query, config: Config, output: Path, exports: Sequence[str]) -> int:
    """Give ids, write the exports, print the summary, and return the exit status."""
    from tqdm import tqdm

    from clip_surgery_ros.recorded.following import followed
    from clip_surgery_ros.recorded.frames import labelled_frames
    from clip_surgery_ros.recorded.results import Summary

    writers = _writers(plan, query, config, output, exports)
    summary = Summary(query)
    with ExitStack() as opened:
        takes = [opened.enter_context(writer) for writer in writers.values()]
        frames = followed(labelled_frames(plan, query, output), config)
        # A short pass needs no bar.
        for frame in tqdm(frames, "write", plan.frame_count, delay=_BAR_AFTER_S, unit="frame"):
            for take in (summary.take, *takes):
                take(frame)
            if frame.error and summary.skipped <= _MAX_NAMED:
                print(f"skipped {frame.name}: {frame.error}", file=sys.stderr)
    if summary.skipped > _MAX_NAMED:
        print(f"skipped {summary.skipped - _MAX_NAMED} more", file=sys.stderr)
    print(summary.table())
    for name in writers:
        print(f"wrote {output / name}")
    return SKIPPED if summary.skipped or plan.unreadable else 0


def _check_exports(exports: Sequence[str]) -> None:
    """Refuse an export whose library is missing, before anything is computed."""
    if "rrd" in exports:
        from clip_surgery_ros.rerun_bridge.extra import check_rerun

        check_rerun()


def _writers(
    plan: Plan, query: Query, config: Config, output: Path, exports: Sequence[str]
) -> dict[str, AbstractContextManager[Take]]:
    """Return what writes each export, by the name of the file or folder."""
    from clip_surgery_ros.recorded.results import COCO, MASKS, coco_file, mask_pictures

    found: dict[str, AbstractContextManager[Take]] = {}
    if "coco" in exports:
        found[COCO] = coco_file(query, output)
    if "masks" in exports:
        found[MASKS] = mask_pictures(output)
    if "bag" in exports:
        from clip_surgery_ros.recorded.side_bag import BAGS, side_bags

        found[BAGS] = side_bags(query, config, output)
    if "page" in exports:
        from clip_surgery_ros.recorded.page import PAGE, page_file

        found[PAGE] = page_file(plan, query, output)
    if "rrd" in exports:
        from clip_surgery_ros.recorded.rrd_files import RERUN, rrd_files

        found[RERUN] = rrd_files(query, output)
    return found
