"""An executor with one thread, and a side thread for callbacks that wait for the worker.

rclpy's own ``MultiThreadedExecutor`` submits a callback that waits for a thread to its pool again
and again (ros2/rclpy#1452): under load, service calls then take seconds.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.executors import (
    ConditionReachedException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.logging import get_logger
from rclpy.task import Task

_START_S = 0.001  # time for the side thread to start a callback


class SideThreadGroup(MutuallyExclusiveCallbackGroup):
    """Callbacks that may block: one at a time, while all other callbacks continue."""


class SideThreadExecutor(SingleThreadedExecutor):
    """Runs callbacks on the thread that spins, and those of a :class:`SideThreadGroup` on another.

    :param context: rclpy's default context if None.
    """

    def __init__(self, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._side = ThreadPoolExecutor(1, thread_name_prefix="side")
        self._submitted: set[Task] = set()
        self._stop_requested = Event()

    def stop(self) -> None:
        """Let :meth:`spin` return after the current callback. May be called from any thread.

        ``shutdown`` is for the thread that spins: it destroys what that thread may be waiting on.
        """
        self._stop_requested.set()
        self.wake()

    def spin(self) -> None:
        """Run callbacks until :meth:`stop` is called or ROS is shut down.

        :raises ExternalShutdownException: when ROS was shut down.
        """
        while self._context.ok() and not (self._is_shutdown or self._stop_requested.is_set()):
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run the next callback, or submit it to the side thread.

        :raises ExternalShutdownException: when ROS was shut down.
        """
        try:
            ready: tuple[Task, Any, Any] = self.wait_for_ready_callbacks(
                timeout_sec, None, self._stop_requested.is_set
            )
        except (ConditionReachedException, ShutdownException, TimeoutException):
            return
        handler, entity, _ = ready
        if isinstance(entity.callback_group, SideThreadGroup):
            self._run_on_side_thread(handler)
        else:
            handler()
            handler.result()  # raises what the callback raised

    def _run_on_side_thread(self, handler: Task) -> None:
        """Submit a callback once; rclpy returns it as ready until the side thread starts it."""
        if handler in self._submitted:
            time.sleep(_START_S)
            return
        self._submitted.add(handler)
        self._side.submit(self._finish, handler)

    def _finish(self, handler: Task) -> None:
        handler()
        self._submitted.discard(handler)
        if handler.exception() is not None:
            get_logger("executor").error(f"a callback failed: {handler.exception()!r}")
