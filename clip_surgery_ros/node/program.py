"""The node, served on a thread of its own while the main thread waits for a signal."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.networks.factory import load_networks, release_memory
from clip_surgery_ros.node.node import ClipSurgeryNode
from clip_surgery_ros.ros.arguments import check_files_meant, start
from clip_surgery_ros.ros.executor import SideThreadExecutor

PATIENCE_S = 0.2
"""For the callback in work when the process shall end; one that loads networks takes longer."""


def run(arguments: Sequence[str], heard: SimpleQueue[None]) -> int:
    """Run the node until a signal is heard.

    rclpy's own handling of signals shuts ROS down at once: a lifecycle manager would not hear of
    the node's end, and nothing interrupts the loading of networks.

    :param arguments: command line with ROS arguments, program name first.
    :param heard: gets an item for every signal.
    :return: exit status.
    """
    try:
        start(arguments, signal_handler_options=SignalHandlerOptions.NO)
        return _run_node(arguments, heard)
    except ClipSurgeryError as error:
        print(f"clip_surgery: {error}", file=sys.stderr)
        return 2
    except Exception:  # for the same quick end
        traceback.print_exc()
        return 1
    finally:
        rclpy.try_shutdown()


def _run_node(arguments: Sequence[str], heard: SimpleQueue[None]) -> int:
    node = ClipSurgeryNode(load_networks, release_memory)
    try:
        check_files_meant(arguments, node.get_fully_qualified_name())
        return _run_until_told(node, heard)
    finally:
        node.leave()


def _run_until_told(node: ClipSurgeryNode, heard: SimpleQueue[None]) -> int:
    executor = SideThreadExecutor()
    served = ThreadPoolExecutor(1, "ros").submit(_serve, node, executor)
    served.add_done_callback(lambda _: heard.put(None))
    heard.get()
    executor.stop()
    wait([served], PATIENCE_S)
    _raise_failure(served)
    return 0


def _serve(node: ClipSurgeryNode, executor: SideThreadExecutor) -> None:
    if node.wants_autostart:
        node.autostart()
    executor.add_node(node)
    executor.spin()


def _raise_failure(served: Future[None]) -> None:
    """Raise what ended the service, unless it was told to end or still goes on."""
    error = served.exception() if served.done() else None
    if error is not None and not isinstance(error, ExternalShutdownException):
        raise error
