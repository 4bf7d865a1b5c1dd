"""The node's program: ``ros2 run clip_surgery_ros clip_surgery_node``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from clip_surgery_ros.allocator import share_one_arena

share_one_arena()  # before the imports below start threads

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor

from clip_surgery_ros.backends.factory import load_networks, release_memory
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.node import ClipSurgeryNode

EXECUTOR_THREADS = 2
"""One for everything that answers at once, one for a caller of ``~/segment`` that waits."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop.

    :param args: command line with ROS arguments; the process's own by default.
    :return: exit status.
    """
    rclpy.init(args=None if args is None else list(args))
    try:
        # Made first: one that a signal interrupts half-made ends in a traceback.
        return _run(MultiThreadedExecutor(num_threads=EXECUTOR_THREADS))
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except RuntimeError:  # rclpy's own errors are
        if rclpy.ok():
            raise
        return 0  # told to stop before spinning began
    finally:
        rclpy.try_shutdown()


def _run(executor: MultiThreadedExecutor) -> int:
    try:
        node = ClipSurgeryNode(load_networks, release_memory)
    except ClipSurgeryError as error:
        print(f"clip_surgery: {error}", file=sys.stderr)
        return 2
    try:
        if node.wants_autostart:
            node.autostart()
        executor.add_node(node)
        _spin(executor)
        return 0
    finally:
        node.destroy_node()


def _spin(executor: Executor) -> None:
    """Spin until it ends.

    A topic that one thread closes, as deactivating does, while the other gathers what to wait
    for, makes rclpy raise: about once in a thousand times under load. Gathering anew helps.
    """
    while True:
        try:
            return executor.spin()
        except InvalidHandle:
            continue


if __name__ == "__main__":
    sys.exit(main())
