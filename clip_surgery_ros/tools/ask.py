"""Ask a running node for things by name, and print its answer once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.tools.options import above_zero, asked, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``ask "mug; banana"``, ``ask "mug" --image photo.png``."""
    parser.add_argument("query", help='labels separated by , or ; ("red mug; screwdriver")')
    parser.add_argument(
        "--image", type=path, help="ask about this picture file instead of the camera's"
    )
    parser.add_argument("--node", default="clip_surgery", help="its name (default: clip_surgery)")
    parser.add_argument("--camera", default="", help="its name, where the node has several")
    parser.add_argument(
        "--wait",
        type=above_zero,
        default=60.0,  # a node that was just started may take that long on a busy machine
        help="longest wait in seconds for the node and for its answer (default: 60)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what the node found and what not; exit status 0 either way."""
    print(_told(_answer(arguments, asked(arguments.query).names)))
    return 0


def _answer(arguments: argparse.Namespace, labels: Sequence[str]) -> Any:
    """The node's message, a SegmentArray.

    :raises ClipSurgeryError: when ROS or the node is not there, or has no answer.
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


def _told(answer: Any) -> str:
    """A SegmentArray for people, in the words of ``clip_surgery segment``."""
    lines = [
        f"  found      {s.label:<18} score {s.score:.2f}  presence {s.presence:.2f}  "
        f"box {s.box.width} x {s.box.height} at ({s.box.x_offset}, {s.box.y_offset})"
        for s in answer.segments
    ]
    lines += [f"  not found  {label.label:<18} {label.reason}" for label in answer.absent]
    return "\n".join(lines)
