"""Draw what CLIP and CLIP Surgery, by each of its attentions, make of a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.backends.encoded_once import EncodedOnce
from clip_surgery_ros.backends.factory import LoadedNetworks, load_networks, settings_of
from clip_surgery_ros.core import render
from clip_surgery_ros.core.config import DEMO, Config
from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.surgery import ATTENTIONS
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.tools.options import add_network_options, config_of
from clip_surgery_ros.tools.pictures import read_image, write_image
from clip_surgery_ros.tools.segment import DEMO_NOTE

NAME = "compare"
Panel = tuple[str, NDArray[np.uint8]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``compare IMAGE "mug; banana"``."""
    parser.add_argument("image", help="JPEG or PNG file")
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument("--output", default="compare.png", help="picture (default: compare.png)")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the picture and print, per attention, what was found."""
    config = config_of(arguments)
    image, query = read_image(arguments.image), parse_query(arguments.query)
    if not query.labels:
        raise QueryError(f"query '{arguments.query}' names nothing; try 'mug; banana'")
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)
    results = compare(load_networks(config), config, image, query)
    for attention, result in results.items():
        found = ", ".join(f"{s.name} {s.score:.2f}" for s in result.segments) or "nothing"
        print(f"  {attention:<7} found {found}")
    panels = [*_pictures(image, query, results, config.point_threshold)]
    write_image(arguments.output, render.strip(panels, columns=2 + len(ATTENTIONS), width=240))
    print(f"wrote {arguments.output}")
    return 0


def compare(
    networks: LoadedNetworks, config: Config, image_rgb: NDArray[np.uint8], query: Query
) -> dict[str, FrameResult]:
    """The frame's result by each attention; the segmenter sees the image once."""
    segmenter = EncodedOnce(networks.sam)
    results = {}
    for attention in tqdm(ATTENTIONS, unit="attention"):
        clip = networks.clip.with_attention(attention)
        pipeline = Pipeline(clip, segmenter, settings_of(config, clip))
        results[attention] = pipeline.run(image_rgb, query, Wanted(plain_similarity=True))
    return results


def _pictures(
    image_rgb: NDArray[np.uint8], query: Query, results: dict[str, FrameResult], share: float
) -> Iterator[Panel]:
    """Per label a row of maps and a row of them cut; below, points and masks of all labels."""
    blank = np.full_like(image_rgb, 255)
    for index, name in enumerate(query.names):
        maps = _maps(results, index)
        yield (name, image_rgb)
        for title, one in maps.items():
            yield (title, render.map_picture(image_rgb, one))
        yield ("", blank)
        for one in maps.values():
            yield (f"above {share:.0%} of its range", render.cut_picture(image_rgb, one, share))
    for title, draw in (("points", _points), ("masks", _masks)):
        yield (title, blank)
        yield ("", blank)
        for attention, result in results.items():
            yield (attention, draw(image_rgb, result))


def _maps(results: dict[str, FrameResult], index: int) -> dict[str, NDArray[np.float32]]:
    """(h, w) maps of a label, plain CLIP's first."""
    plain = next(iter(results.values())).plain_similarity
    maps = {} if plain is None else {"CLIP": plain[index]}
    return maps | {attention: result.similarity[index] for attention, result in results.items()}


def _points(image_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    picture = image_rgb.copy()
    for segment in result.segments:
        render.draw_points(picture, segment.points)
    return picture


def _masks(image_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    picture = render.draw_segments(image_rgb, result.segments)
    render.draw_absent(picture, [label.name for label in result.absent])
    return picture
