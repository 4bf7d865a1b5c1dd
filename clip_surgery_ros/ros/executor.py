"""An executor of one thread, and one more for callbacks that wait for work to be done.

rclpy's own ``MultiThreadedExecutor`` hands callbacks that wait for a thread to its pool again and
again (ros2/rclpy#1452): under load, calls then take seconds.
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

_MOMENT_S = 0.001  # until a thread that was given a callback has begun with it


class SideThreadGroup(MutuallyExclusiveCallbackGroup):
    """Callbacks that may wait, one at a time, while all others go on."""


class SideThreadExecutor(SingleThreadedExecutor):
    """Runs callbacks on the thread that spins, those of a :class:`SideThreadGroup` beside it.

    :param context: rclpy's default one if None.
    """

    def __init__(self, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._side = ThreadPoolExecutor(1, thread_name_prefix="side")
        self._begun: set[Task] = set()
        self._told = Event()

    def stop(self) -> None:
        """Let :meth:`spin` return after the callback in work. For other threads.

        ``shutdown`` takes apart what the spinning thread may be waiting with.
        """
        self._told.set()
        self.wake()

    def spin(self) -> None:
        """Run callbacks until told to stop, or shut down.

        :raises ExternalShutdownException: when ROS was shut down.
        """
        while self._context.ok() and not (self._is_shutdown or self._told.is_set()):
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run the next callback, or see that it is run.

        :raises ExternalShutdownException: when ROS was shut down.
        """
        try:
            ready: tuple[Task, Any, Any] = self.wait_for_ready_callbacks(
                timeout_sec, None, self._told.is_set
            )
        except (ConditionReachedException, ShutdownException, TimeoutException):
            return
        handler, entity, _ = ready
        if isinstance(entity.callback_group, SideThreadGroup):
            self._run_beside(handler)
        else:
            handler()
            handler.result()  # raises what the callback raised

    def _run_beside(self, handler: Task) -> None:
        """Give it to the other thread; until that has begun, the wait offers it again."""
        if handler in self._begun:
            time.sleep(_MOMENT_S)
            return
        self._begun.add(handler)
        self._side.submit(self._finish, handler)

    def _finish(self, handler: Task) -> None:
        handler()
        self._begun.discard(handler)
        if handler.exception() is not None:
            get_logger("executor").error(f"a callback failed: {handler.exception()!r}")
