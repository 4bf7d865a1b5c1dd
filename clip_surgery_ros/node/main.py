"""The node's program: ``ros2 run clip_surgery_ros clip_surgery_node``.

Imports almost nothing: it changes settings that must be set before torch is imported, and a signal
during that import must not end in a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from clip_surgery_ros.arithmetic.openmp import limit_thread_spinning
from clip_surgery_ros.node.allocator import tune_allocator
from clip_surgery_ros.node.ending import (
    end_on_signal,
    end_process,
    end_quickly_on_error,
    queue_signals,
)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until a signal arrives, and end the process.

    :param args: command line with ROS arguments; by default the one of the process.
    """
    end_on_signal()
    end_quickly_on_error()
    tune_allocator()
    limit_thread_spinning()
    from clip_surgery_ros.node.program import run

    end_process(run(list(sys.argv if args is None else args), queue_signals()))


if __name__ == "__main__":
    main()
