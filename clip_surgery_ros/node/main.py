"""The node's program: ``ros2 run clip_surgery_ros clip_surgery_node``.

Imports next to nothing: what it sets must be set before torch is imported, and a signal meanwhile
must not end in a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from clip_surgery_ros.arithmetic.openmp import limit_thread_spinning
from clip_surgery_ros.node.allocator import suit_frames
from clip_surgery_ros.node.ending import end_at_once_when_told, end_process, hear_signals


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until it is told to stop, and end the process.

    :param args: command line with ROS arguments; the process's own by default.
    """
    end_at_once_when_told()
    suit_frames()
    limit_thread_spinning()
    from clip_surgery_ros.node.program import run

    end_process(run(list(sys.argv if args is None else args), hear_signals()))


if __name__ == "__main__":
    main()
