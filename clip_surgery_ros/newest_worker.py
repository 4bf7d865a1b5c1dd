"""One thread that works on the newest item handed in. Knows nothing of ROS."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class WorkerCounts:
    """What became of the items so far.

    :param offered: handed in while running.
    :param done: worked on without an error.
    :param failed: worked on and ended in an error.
    :param dropped: replaced by a newer one, or still waiting at the stop.
    """

    offered: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0


class NewestWorker(Generic[Item]):
    """Runs a function on one thread, always on the newest item; older waiting ones are dropped.

    An error in the function is reported and the thread lives on. It may be started and stopped
    any number of times; each start counts afresh.

    :param work: called with each item, on the worker's thread only.
    :param report: called with the error and its traceback as text, on the worker's thread.
    """

    def __init__(
        self, work: Callable[[Item], None], report: Callable[[Exception, str], None]
    ) -> None:
        self._work = work
        self._report = report
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._running = False
        self._thread: threading.Thread | None = None
        self._counts = {"offered": 0, "done": 0, "failed": 0, "dropped": 0}

    @property
    def counts(self) -> WorkerCounts:
        """Counts since the last start."""
        with self._changed:
            return WorkerCounts(**self._counts)

    @property
    def running(self) -> bool:
        """Whether items are accepted."""
        with self._changed:
            return self._running

    def start(self) -> None:
        """Start the thread; does nothing when it runs already."""
        with self._changed:
            if self._running:
                return
            self._running = True
            self._counts = dict.fromkeys(self._counts, 0)
            self._thread = threading.Thread(target=self._loop, name="newest-worker", daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> bool:
        """Hand in an item, in place of any that still waits. Never blocks on the work.

        :return: False when the worker is not running and the item was left alone.
        """
        with self._changed:
            if not self._running:
                return False
            self._counts["offered"] += 1
            self._counts["dropped"] += len(self._waiting)
            self._waiting = [item]
            self._changed.notify_all()
            return True

    def stop(self) -> None:
        """Drop what waits, let the item in work finish and join the thread. May be repeated.

        :raises RuntimeError: when called from the worker's own thread, which cannot wait for
            itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("the worker cannot be stopped from its own thread")
        with self._changed:
            self._running = False
            self._counts["dropped"] += len(self._waiting)
            self._waiting = []
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._running)
                if not self._running:
                    return
                item = self._waiting.pop()
            outcome = self._attempt(item)
            with self._changed:
                self._counts[outcome] += 1

    def _attempt(self, item: Item) -> str:
        """Work on one item; whatever goes wrong must not end the thread."""
        try:
            self._work(item)
        except Exception as error:
            self._report(error, traceback.format_exc())
            return "failed"
        return "done"
