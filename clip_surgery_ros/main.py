"""The node's program: ``ros2 run clip_surgery_ros clip_surgery_node``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from clip_surgery_ros.allocator import suit_frames

suit_frames()  # before the imports below start threads

import rclpy
from rclpy.executors import ExternalShutdownException

from clip_surgery_ros.adapters.arguments import check_files_meant, start
from clip_surgery_ros.backends.factory import load_networks, release_memory
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.executor import SideThreadExecutor
from clip_surgery_ros.node import ClipSurgeryNode


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop.

    :param args: command line with ROS arguments; the process's own by default.
    :return: exit status.
    """
    arguments = list(sys.argv if args is None else args)
    try:
        start(arguments)
        # Made first: one that a signal interrupts half-made ends in a traceback.
        return _run(SideThreadExecutor(), arguments)
    except ClipSurgeryError as error:
        print(f"clip_surgery: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except RuntimeError:  # rclpy's own errors are
        if rclpy.ok():
            raise
        return 0  # told to stop before spinning began
    finally:
        rclpy.try_shutdown()


def _run(executor: SideThreadExecutor, arguments: Sequence[str]) -> int:
    node = ClipSurgeryNode(load_networks, release_memory)
    try:
        check_files_meant(arguments, node.get_fully_qualified_name())
        if node.wants_autostart:
            node.autostart()
        executor.add_node(node)
        executor.spin()
        return 0
    finally:
        node.destroy_node()


if __name__ == "__main__":
    sys.exit(main())
