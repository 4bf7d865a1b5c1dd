"""Find things by name in a picture file, and write a picture of what was found."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE, result_summary
from clip_surgery_ros.tools.options import add_network_options, asked, config_of, path
from clip_surgery_ros.tools.output import check_output_file, write_picture

if TYPE_CHECKING:
    pass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``segment IMAGE "mug; banana" --output out.png``."""
    parser.add_argument("image", type=path, help="JPEG or PNG file")
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument("--output", type=path, help="picture to write: maps, points and masks")
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found and what was not; exit status 0 either way."""
    config, query = config_of(arguments), asked(arguments.query)
    if arguments.output:
        check_output_file(arguments.output, arguments.image)

    from clip_surgery_ros.pictures.files import check_picture_name, read_image
    from clip_surgery_ros.pictures.result_picture import result_picture

    if arguments.output:
        check_picture_name(arguments.output)
    image = read_image(arguments.image)
    if config.clip_model == DEMO:
        print(DEMO_NOTE, file=sys.stderr)

    from clip_surgery_ros.core.types import Wanted
    from clip_surgery_ros.networks.factory import load_networks

    networks = load_networks(config)
    for said in networks.vocabulary.reading_notes(query):
        print(f"note: {said}", file=sys.stderr)
    result = networks.pipeline(config).run(
        image, query, Wanted(plain_similarity=bool(arguments.output))
    )
    print(result_summary(result))
    if arguments.output:
        write_picture(arguments.output, result_picture(image, result))
        print(f"wrote {arguments.output}")
    return 0
