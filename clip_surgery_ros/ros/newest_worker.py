"""One thread that works on the newest job of each source in turn. Knows nothing of ROS."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Something to be done once, or dropped for a newer one of the same source.

    :param run: does it, on the worker's thread.
    :param failed: told the error that ``run`` raised and its traceback, on the worker's thread.
    :param dropped: called when it will not be done, on the thread that offered the newer one or
        that stops the worker.
    """

    run: Callable[[], None]
    failed: Callable[[Exception, str], None]
    dropped: Callable[[], None]


class NewestWorker:
    """Runs jobs on one thread: of each source only the newest, the sources in turn.

    A newer job takes the place of the one that waits, in the queue too, so that a fast source
    cannot keep a slow one waiting. An error in a job is told to the job and the thread lives on.
    It may be started and stopped any number of times.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, Job] = {}
        self._running = False
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether jobs are accepted."""
        with self._changed:
            return self._running

    def start(self) -> None:
        """Start the thread; does nothing when it runs already."""
        with self._changed:
            if self._running:
                return
            self._running = True
            self._thread = threading.Thread(target=self._loop, name="newest-worker", daemon=True)
        self._thread.start()

    def offer(self, source: Hashable, job: Job) -> bool:
        """Hand in a job, in place of one of its source that still waits. Never blocks on work.

        :return: False when the worker is not running and the job was left alone.
        """
        with self._changed:
            if not self._running:
                return False
            older = self._waiting.get(source)
            self._waiting[source] = job  # a known source keeps its place in the dict's order
            self._changed.notify_all()
        if older is not None:
            older.dropped()
        return True

    def stop(self, wait: bool = True) -> None:
        """Drop what waits, let the job in work finish and join the thread. May be repeated.

        :param wait: False leaves the job in work to itself: the process is about to end.
        :raises RuntimeError: when called from the worker's own thread, which cannot wait for
            itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("the worker cannot be stopped from its own thread")
        with self._changed:
            self._running = False
            left = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        for job in left:
            job.dropped()
        if thread is not None and wait:
            thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._running)
                if not self._running:
                    return
                job = self._waiting.pop(next(iter(self._waiting)))
            try:
                job.run()
            except Exception as error:  # whatever goes wrong must not end the thread
                job.failed(error, traceback.format_exc())
            del job  # a frame is not held while waiting for the next
