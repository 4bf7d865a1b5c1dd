"""A thread that runs the newest job of each source, the sources in turn. No ROS here."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Work that runs once, or is dropped for newer work of the same source.

    >>> job = Job(
    ...     run=lambda: print("image 3"),
    ...     failed=lambda error, traceback: print(error),
    ...     dropped=lambda: print("a newer image came first"),
    ... )

    :param run: does the work, on the worker's thread.
    :param failed: called with the error that ``run`` raised and its traceback, on the worker's
        thread.
    :param dropped: called when the job will not run, on the thread that offers the newer job or
        stops the worker.
    """

    run: Callable[[], None]
    failed: Callable[[Exception, str], None]
    dropped: Callable[[], None]


class NewestWorker:
    """Runs jobs on one thread: only the newest of each source, the sources in turn.

    A newer job replaces the waiting job of its source and keeps its position in the queue, so
    that a fast source cannot delay a slow one. When a job raises an error, its ``failed`` is
    called and the thread continues. The worker may be started and stopped any number of times.

    >>> from threading import Event
    >>> worker, done = NewestWorker(), Event()
    >>> worker.start()
    >>> worker.offer("camera", Job(done.set, failed=print, dropped=print))
    True
    >>> done.wait(timeout=10)
    True
    >>> worker.stop()
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, Job] = {}
        self._is_running = False
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether jobs are accepted."""
        with self._changed:
            return self._is_running

    def start(self) -> None:
        """Start the thread; does nothing when it runs already."""
        with self._changed:
            if self._is_running:
                return
            self._is_running = True
            self._thread = threading.Thread(target=self._loop, name="newest-worker", daemon=True)
        self._thread.start()

    def offer(self, source: Hashable, job: Job) -> bool:
        """Add a job, and drop a job of the same source that still waits. Never waits for a job.

        :return: False when the worker is not running; the job is then ignored.
        """
        with self._changed:
            if not self._is_running:
                return False
            older = self._waiting.get(source)
            self._waiting[source] = job  # a known source keeps its position in the dict
            self._changed.notify_all()
        if older is not None:
            older.dropped()
        return True

    def stop(self, wait: bool = True) -> None:
        """Drop the waiting jobs, let the current job finish and join the thread.

        Does nothing when the worker is stopped already.

        :param wait: False does not wait for the current job: the process is about to end.
        :raises RuntimeError: when called from the worker's own thread, which cannot wait for
            itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("the worker cannot be stopped from its own thread")
        with self._changed:
            self._is_running = False
            dropped = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        for job in dropped:
            job.dropped()
        if thread is not None and wait:
            thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_running)
                if not self._is_running:
                    return
                job = self._waiting.pop(next(iter(self._waiting)))
            try:
                job.run()
            except Exception as error:  # no error may end the thread
                job.failed(error, traceback.format_exc())
            del job  # free the frame before waiting for the next
