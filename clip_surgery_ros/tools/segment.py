"""Find things by name in a picture file, and write a picture of what was found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.parameters.arguments import nonempty_path
from clip_surgery_ros.parameters.config import DEMO
from clip_surgery_ros.pictures.summary import DEMO_NOTE, result_summary
from clip_surgery_ros.tools.options import (
    add_network_options,
    config_from_options,
    parse_nonempty_query,
)
from clip_surgery_ros.tools.output import check_output_file, write_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clip_surgery_ros.core.types import FrameResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``segment IMAGE "mug; banana" --output out.png``."""
    parser.add_argument("image", type=nonempty_path, help="JPEG or PNG file")
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument(
        "--output", type=nonempty_path, help="picture file to write: maps, points and masks"
    )
    parser.add_argument(
        "--rrd",
        type=nonempty_path,
        metavar="FILE",
        help="file of the Rerun viewer to write: the image, masks, boxes, points and presence",
    )
    add_network_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found and what was not. The exit status is 0 in both cases."""
    config, query = config_from_options(arguments), parse_nonempty_query(arguments.query)
    if arguments.output:
        check_output_file(arguments.output, arguments.image)
    if arguments.rrd:
        _check_rrd(arguments.rrd, arguments.image)

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
    for note in networks.vocabulary.reading_notes(query):
        print(f"note: {note}", file=sys.stderr)
    result = networks.pipeline(config).run(
        image, query, Wanted(plain_similarity=bool(arguments.output))
    )
    print(result_summary(result))
    if arguments.output:
        write_picture(arguments.output, result_picture(image, result))
        print(f"wrote {arguments.output}")
    if arguments.rrd:
        _write_rrd(arguments.rrd, image, result)
        print(f"wrote {arguments.rrd}")
    return 0


def _check_rrd(path: Path, image: Path) -> None:
    """Refuse a file that cannot be written, before any work."""
    from clip_surgery_ros.rerun_bridge.extra import check_rerun, check_rrd_name

    check_rerun()
    check_rrd_name(path)
    check_output_file(path, image)


def _write_rrd(path: Path, image_rgb: NDArray[np.uint8], result: FrameResult) -> None:
    """Write a file of the Rerun viewer. A picture file has no time, and nothing in it has one."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    from clip_surgery_ros.rerun_bridge.archetypes import (
        camera_entity,
        image_entities,
        result_entities,
    )
    from clip_surgery_ros.rerun_bridge.recording import recorded_to
    from clip_surgery_ros.ros.messages import query_message, segment_array

    camera = camera_entity("")
    message = segment_array(result, Header(), query_message(result.query, Time()))
    with recorded_to(path, camera) as recording:
        recording.log_labels(camera, result.query.names, 0)
        recording.log_static(image_entities(camera, image_rgb))
        recording.log_static(result_entities(camera, message, result.size_hw))
