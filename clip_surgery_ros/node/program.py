"""Runs the node on a thread of its own while the main thread waits for a signal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from threading import Event

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.networks.devices import release_memory
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.node.node import ClipSurgeryNode
from clip_surgery_ros.ros.arguments import check_files_apply, start
from clip_surgery_ros.ros.executor import SideThreadExecutor

DEVICE_LOST = 3
"""Exit status when the GPU computes nothing any more in this process: a new one may be started at
once. (1 is an error that nobody handled, 2 a start with something that cannot be used.)"""
CALLBACK_WAIT_S = 0.2
"""Longest wait for the current callback when the process ends, in seconds. A callback that loads
networks takes longer and is abandoned."""


def run(arguments: Sequence[str], signals: SimpleQueue[None]) -> int:
    """Run the node until a signal arrives, or the GPU is lost.

    rclpy's own signal handler is not used. It shuts ROS down at once, so a lifecycle manager would
    not learn that the node has ended, and it does not interrupt the loading of networks.

    :param arguments: command line with ROS arguments, program name first.
    :param signals: gets an item for every signal.
    :return: exit status.
    """
    try:
        start(arguments, signal_handler_options=SignalHandlerOptions.NO)
        return _run_node(arguments, signals)
    except ClipSurgeryError as error:
        print(f"clip_surgery: {error}", file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()


def _run_node(arguments: Sequence[str], signals: SimpleQueue[None]) -> int:
    lost = Event()

    def end() -> None:
        lost.set()
        signals.put(None)

    load = partial(load_networks, threads_by_load=True)
    node = ClipSurgeryNode(load, release_memory, on_device_lost=end)
    try:
        check_files_apply(arguments, node.get_fully_qualified_name())
        _run_until_signal(node, signals)
        return DEVICE_LOST if lost.is_set() else 0
    finally:
        node.leave()


def _run_until_signal(node: ClipSurgeryNode, signals: SimpleQueue[None]) -> None:
    executor = SideThreadExecutor()
    spinning = ThreadPoolExecutor(1, "ros").submit(_spin, node, executor)
    spinning.add_done_callback(lambda _: signals.put(None))
    signals.get()
    executor.stop()
    wait([spinning], CALLBACK_WAIT_S)
    _raise_failure(spinning)


def _spin(node: ClipSurgeryNode, executor: SideThreadExecutor) -> None:
    if node.wants_autostart:
        node.autostart()
    executor.add_node(node)
    executor.spin()


def _raise_failure(spinning: Future[None]) -> None:
    """Raise the error that ended the executor's thread, if one did."""
    error = spinning.exception() if spinning.done() else None
    if error is not None and not isinstance(error, ExternalShutdownException):
        raise error
