"""Draw what CLIP and CLIP Surgery, by each of its attentions, make of a picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE
from clip_surgery_ros.tools.options import add_network_options, asked, config_of, path
from clip_surgery_ros.tools.output import check_output_file, write_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``compare IMAGE "mug; banana"``."""
    parser.add_argument("image", type=path, help="JPEG or PNG file")
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument(
        "--output",
        type=path,
        default=Path("compare.png"),
        help="picture (default: compare.png)",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the picture and print, per attention, what was found."""
    config, query = config_of(arguments), asked(arguments.query)
    check_output_file(arguments.output, arguments.image)

    from clip_surgery_ros.pictures.files import check_picture_name, read_image

    check_picture_name(arguments.output)
    image = read_image(arguments.image)
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)

    from clip_surgery_ros.evaluation.attentions import comparison_picture, results_by_attention
    from clip_surgery_ros.networks.factory import load_networks

    networks = load_networks(config)
    for said in (
        *networks.vocabulary.reading_notes(query),
        *networks.vocabulary.unknown_notes(query),
    ):
        print(f"note: {said}", file=sys.stderr)
    results = results_by_attention(networks, config, image, query)
    for attention, result in results.items():
        found = ", ".join(f"{s.name} {s.score:.2f}" for s in result.segments) or "nothing"
        print(f"  {attention:<7} found {found}")
    write_picture(
        arguments.output, comparison_picture(image, query, results, config.point_threshold)
    )
    print(f"wrote {arguments.output}")
    return 0
