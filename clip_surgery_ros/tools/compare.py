"""Draw the maps of plain CLIP and of CLIP Surgery with each of its attentions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clip_surgery_ros.parameters.arguments import nonempty_path
from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE
from clip_surgery_ros.tools.options import (
    add_network_options,
    config_from_options,
    parse_nonempty_query,
)
from clip_surgery_ros.tools.output import check_output_file, write_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``compare IMAGE "mug; banana"``."""
    parser.add_argument("image", type=nonempty_path, help="JPEG or PNG file")
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument(
        "--output",
        type=nonempty_path,
        default=Path("compare.png"),
        help="picture file to write (default: compare.png)",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the picture, and print what was found with each attention."""
    config, query = config_from_options(arguments), parse_nonempty_query(arguments.query)
    check_output_file(arguments.output, arguments.image)

    from clip_surgery_ros.pictures.files import check_picture_name, read_image

    check_picture_name(arguments.output)
    image = read_image(arguments.image)
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)

    from clip_surgery_ros.evaluation.attentions import comparison_picture, results_by_attention
    from clip_surgery_ros.networks.factory import load_networks

    networks = load_networks(config)
    vocabulary = networks.vocabulary
    for note in (*vocabulary.reading_notes(query), *vocabulary.unknown_notes(query)):
        print(f"note: {note}", file=sys.stderr)
    results = results_by_attention(networks, config, image, query)
    for attention, result in results.items():
        found = ", ".join(f"{segment.name} {segment.score:.2f}" for segment in result.segments)
        print(f"  {attention:<7} found {found or 'nothing'}")
    write_picture(
        arguments.output, comparison_picture(image, query, results, config.point_threshold)
    )
    print(f"wrote {arguments.output}")
    return 0
