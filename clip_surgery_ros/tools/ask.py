"""Ask a running node for things by name, and print its answer once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.parameters.arguments import nonempty_path, positive_number
from clip_surgery_ros.tools.options import parse_nonempty_query


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``ask "mug; banana"`` and ``ask "mug" --image photo.png``."""
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument(
        "--image",
        type=nonempty_path,
        help="ask about this picture file instead of the camera's image",
    )
    parser.add_argument(
        "--node", default="clip_surgery", help="the node's name (default: clip_surgery)"
    )
    parser.add_argument("--camera", default="", help="the camera's name, if the node has several")
    parser.add_argument(
        "--wait",
        type=positive_number,
        default=60.0,  # on a busy machine, a node may take that long to start
        help="longest wait in seconds for the node and for its answer (default: 60)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what the node found and what it did not find. The exit status is 0 in both cases."""
    print(_summary(_ask(arguments, parse_nonempty_query(arguments.query).names)))
    return 0


def _ask(arguments: argparse.Namespace, labels: Sequence[str]) -> Any:
    """Ask the node and return its message, a SegmentArray.

    :raises ClipSurgeryError: when ROS is missing, or the node is not found or does not answer.
    """
    try:
        from clip_surgery_ros.ros.client import connect
    except ImportError as error:
        raise ClipSurgeryError(
            f"ask needs ROS ({error}); source it, or use the environment that ./demo makes"
        ) from error
    if not arguments.image:
        with connect(arguments.node, arguments.wait) as client:
            return client.segment_stream(labels, arguments.camera)
    from clip_surgery_ros.pictures.files import read_image

    image_rgb = read_image(arguments.image)
    with connect(arguments.node, arguments.wait) as client:
        return client.segment_image(image_rgb, labels)


def _summary(answer: Any) -> str:
    """Return a SegmentArray as text, in the form that ``clip_surgery segment`` prints."""
    lines = [
        f"  found      {segment.label:<18} score {segment.score:.2f}  "
        f"presence {segment.presence:.2f}  box {segment.box.width} x {segment.box.height} at "
        f"({segment.box.x_offset}, {segment.box.y_offset})"
        for segment in answer.segments
    ]
    lines += [f"  not found  {label.label:<18} {label.reason}" for label in answer.absent]
    return "\n".join(lines)
