"""Index recorded bags, and find the images that show a thing, by words."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.arguments import nonempty_path, positive_number, whole_number
from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE
from clip_surgery_ros.tools.label import SKIPPED, print_plan, shortage_explained
from clip_surgery_ros.tools.options import (
    add_network_options,
    config_from_options,
    parse_nonempty_query,
)
from clip_surgery_ros.tools.output import check_output_folder

if TYPE_CHECKING:
    from clip_surgery_ros.core.types import Query
    from clip_surgery_ros.core.vocabulary import Reading
    from clip_surgery_ros.networks.factory import LoadedNetworks
    from clip_surgery_ros.parameters.config import Config
    from clip_surgery_ros.recorded.answers import Answer, Index
    from clip_surgery_ros.recorded.search_page import Found

EVERY_S = 0.5
"""A robot's view changes little in half a second, and a CLIP takes about that for an image on a
CPU: an hour of a bag then takes about an hour."""
APART_S = 2.0
"""What a camera sees for a second or two is one answer."""
COUNT = 10
"""As many answers as fit on a screen."""
_MAX_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search BAG... --index DIR --query "red mug"``."""
    parser.add_argument(
        "bags",
        type=nonempty_path,
        nargs="*",
        metavar="BAG",
        help="bag to add to the index: a folder of ROS 2, or a file of one (.mcap, .db3)",
    )
    parser.add_argument(
        "--index", type=nonempty_path, required=True, help="folder of the index, made once"
    )
    parser.add_argument("--query", help='what to find; , or ; separates things ("red mug; cable")')
    parser.add_argument(
        "--topic", help="topic of raw or compressed images in BAG (default: the only one)"
    )
    parser.add_argument(
        "--every",
        type=positive_number,
        metavar="S",
        help="least time between two images of BAG in seconds, as recorded "
        f"(default: {EVERY_S:g})",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan for BAG; no work")
    parser.add_argument(
        "--count",
        type=whole_number(1),
        default=COUNT,
        metavar="N",
        help=f"answers for each thing, at most (default: {COUNT})",
    )
    parser.add_argument(
        "--apart",
        type=positive_number,
        default=APART_S,
        metavar="S",
        help="least time between two answers of a bag in seconds "
        f"(default: {APART_S:g}: a camera sees the same for a while)",
    )
    parser.add_argument(
        "--output", type=nonempty_path, help="folder for a page with pictures, index.html"
    )
    parser.add_argument(
        "--heatmaps",
        action="store_true",
        help="draw maps over the page's pictures, which are read from the bags",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Index what is not indexed yet, then print the answers.

    :return: 0, or :data:`SKIPPED` when images were left out.
    """
    _check(arguments)
    config = config_from_options(arguments)
    query = None if arguments.query is None else parse_nonempty_query(arguments.query)

    from clip_surgery_ros.recorded.index import need_faiss

    need_faiss()
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)
    status = _index(arguments, config) if arguments.bags else 0
    if query is not None and not arguments.dry_run:
        _ask(arguments, config, query)
    return status


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that have no effect together.

    :raises ConfigError: saying what to give.
    """
    if not arguments.bags:
        if arguments.query is None:
            raise ConfigError("name bags to index, or what to find with --query")
        for name in ("topic", "every", "dry_run"):
            if getattr(arguments, name):
                raise ConfigError(f"--{name.replace('_', '-')} is for indexing; name bags too")
    if arguments.query is None and arguments.output is not None:
        raise ConfigError("--output is for answers; give --query too")
    if arguments.heatmaps and arguments.output is None:
        raise ConfigError("--heatmaps is for the page; name its folder with --output")
    check_output_folder(arguments.index, *arguments.bags)
    if arguments.output is not None:
        check_output_folder(arguments.output, *arguments.bags)


def _index(arguments: argparse.Namespace, config: Config) -> int:
    """Index the bags; return the exit status."""
    from tqdm import tqdm

    from clip_surgery_ros.recorded.indexing import (
        index_bags,
        plan_index,
        skipped_images,
        unfinished,
    )
    from clip_surgery_ros.recorded.run import only_run

    every = EVERY_S if arguments.every is None else arguments.every
    plan = plan_index(arguments.bags, arguments.topic, every, config, arguments.index)
    for reason in plan.unreadable:
        print(f"note: left out: {reason}", file=sys.stderr)
    items = unfinished(plan, arguments.index)
    if arguments.dry_run:
        print_plan(plan, items)
        return 0
    left = sum(len(item.frames) for item in items)
    if left < plan.frame_count:
        done = plan.frame_count - left
        print(f"{done} of {plan.frame_count} images are indexed already", file=sys.stderr)
    with only_run(arguments.index), shortage_explained(arguments.index):
        with tqdm(total=left, unit="frame", disable=not left) as bar:
            index_bags(plan, config, arguments.index, lambda: bar.update() and None)
        skipped = skipped_images(plan, arguments.index)
    for bag, time, reason in skipped[:_MAX_NAMED]:
        print(f"skipped {bag}/{time}: {reason}", file=sys.stderr)
    if len(skipped) > _MAX_NAMED:
        print(f"skipped {len(skipped) - _MAX_NAMED} more", file=sys.stderr)
    return SKIPPED if skipped or plan.unreadable else 0


def _ask(arguments: argparse.Namespace, config: Config, query: Query) -> None:
    """Print the answers, and write the page if it is wanted."""
    from clip_surgery_ros.networks.factory import load_networks
    from clip_surgery_ros.recorded.answers import Index
    from clip_surgery_ros.recorded.index import check_networks
    from clip_surgery_ros.recorded.indexing import networks_of
    from clip_surgery_ros.recorded.page import PAGE
    from clip_surgery_ros.recorded.search_page import write_search_page

    index = Index(arguments.index)
    check_networks(index.manifest, networks_of(config), arguments.index)
    networks = load_networks(config)
    found = [
        _found(reading, label_index, arguments, query, index, networks)
        for label_index, reading in enumerate(networks.vocabulary.read(query))
    ]
    for each in found:
        _print(each)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        pipeline = networks.pipeline(config) if arguments.heatmaps else None
        write_search_page(found, index, arguments.output, pipeline)
        print(f"wrote {arguments.output / PAGE}")


def _found(
    reading: Reading,
    label_index: int,
    arguments: argparse.Namespace,
    query: Query,
    index: Index,
    networks: LoadedNetworks,
) -> Found:
    """Return the answers for a label that have the presence that the node asks for."""
    from clip_surgery_ros.core.names import names_of
    from clip_surgery_ros.core.types import Query as QueryOf
    from clip_surgery_ros.recorded.search_page import Found, seconds

    label, settings = query.labels[label_index], networks.settings(networks.config)
    if reading.label is None:
        return Found(label, (), reading.unknown_note)
    texts = networks.clip.text_features(names_of(QueryOf((reading.label,)))).float().cpu().numpy()
    answers = index.ask(texts, settings.presence_level, arguments.count, arguments.apart)
    enough = [each for each in answers if each.presence >= settings.presence_threshold]
    notes = [reading.reading_note, reading.unknown_note]
    if not enough:
        best = answers[0]
        notes.append(
            f"in no image of {index.images}: the highest presence is {best.presence:.2f}, below "
            f"the threshold of {settings.presence_threshold:.2f}, in {best.bag.name} at "
            f"{seconds(best.log_time)} s"
        )
    return Found(label, tuple(enough), "; ".join(filter(None, notes)))


def _print(found: Found) -> None:
    """Print a table of answers."""
    note = f" ({found.note})" if found.note and found.answers else ""
    print(f"{found.label.name}{note}" if found.answers else f"{found.label.name}: {found.note}")
    if not found.answers:
        return
    print(f"  presence  {'recorded (s)':>20}  {'stamp (s)':>20}  bag")
    for each in found.answers:
        print(f"  {_row(each)}")


def _row(answer: Answer) -> str:
    from clip_surgery_ros.recorded.search_page import seconds

    times = f"{seconds(answer.log_time):>20}  {seconds(answer.stamp):>20}"
    return f"{answer.presence:8.3f}  {times}  {answer.bag.path}"
