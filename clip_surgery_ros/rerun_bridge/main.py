"""The bridge's program: ``clip_surgery_rerun``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

import rclpy
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
)

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.parameters.arguments import (
    USER_ERROR,
    Parser,
    in_one_line,
    nonempty_path,
)
from clip_surgery_ros.rerun_bridge.extra import check_rerun, check_rrd_name
from clip_surgery_ros.ros.arguments import start, without_ros_arguments

if TYPE_CHECKING:
    from clip_surgery_ros.rerun_bridge.recording import Recording

ABOUT = """\
Logs the node's results, with their images, to Rerun: masks, boxes, points, places in space,
tracks, presence and times. It starts the viewer on this machine, unless told otherwise. While it
runs the node computes these results.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Log until it is told to stop.

    :param args: command line, program name first; the process's own by default.
    :return: exit status.
    """
    arguments = list(sys.argv if args is None else args)
    try:
        options = _parser().parse_args(without_ros_arguments(arguments)[1:])
        check_rerun()
        if options.save is not None:
            check_rrd_name(options.save)
        start(arguments)
        _log(options)
    except ClipSurgeryError as error:
        print(f"clip_surgery_rerun: {in_one_line(str(error))}", file=sys.stderr)
        return USER_ERROR
    finally:
        rclpy.try_shutdown()
    return 0


def _parser() -> Parser:
    made = Parser(
        prog="clip_surgery_rerun",
        description=ABOUT,
        epilog="--ros-args -r __ns:=/robot watches a node of a namespace; docs/watch.md says more",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--node", default="clip_surgery", help="node to watch (default: %(default)s)")
    add("--camera", default="", help="name of the camera, where the node has several")
    add(
        "--image",
        default="image_raw",
        metavar="TOPIC",
        help="the camera's images, also .../compressed (default: %(default)s)",
    )
    add(
        "--depth",
        default="",
        metavar="TOPIC",
        help="the camera's depth, also .../compressedDepth (default: none)",
    )
    where = made.add_mutually_exclusive_group()
    where.add_argument(
        "--save", type=nonempty_path, metavar="FILE", help="write an .rrd file instead"
    )
    where.add_argument(
        "--connect",
        metavar="URL",
        help="a viewer that runs, such as rerun+http://desk:9876/proxy, instead",
    )
    return made


def _log(options: argparse.Namespace) -> None:
    """Log until ROS ends, as by SIGINT or SIGTERM."""
    from clip_surgery_ros.rerun_bridge.archetypes import camera_entity
    from clip_surgery_ros.rerun_bridge.node import BridgeNode, Topics

    topics = Topics(options.node, options.camera, options.image, options.depth)
    with _recording(options, camera_entity(options.camera)) as recording:
        node, executor = BridgeNode(topics, recording), SingleThreadedExecutor()
        executor.add_node(node)
        where = options.save or options.connect or "the viewer"
        name = node.resolve_topic_name(options.node)
        print(f"clip_surgery_rerun: logs {name} to {where}", flush=True)
        # A signal ends ROS, and with it this; then everything that was logged is written.
        with suppress(ExternalShutdownException, ShutdownException, KeyboardInterrupt):
            _spin(executor)


def _spin(executor: Executor) -> None:
    try:
        executor.spin()
    except RuntimeError:  # the base class of RCLError
        if rclpy.ok():  # else a signal ended ROS between two messages
            raise


def _recording(options: argparse.Namespace, camera: str) -> AbstractContextManager[Recording]:
    from clip_surgery_ros.rerun_bridge.recording import recorded_to, shown_in_viewer

    if options.save is not None:
        return recorded_to(options.save, camera)
    return shown_in_viewer(options.connect, camera)


if __name__ == "__main__":
    sys.exit(main())
