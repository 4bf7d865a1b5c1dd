"""Labels all items of a plan that have no result yet, in this process or in several."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path

from filelock import FileLock, Timeout

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.core.files import remove_unfinished
from clip_surgery_ros.recorded.job import Job, LabelJob
from clip_surgery_ros.recorded.label import ITEMS, result_file
from clip_surgery_ros.recorded.plan import Item, Plan

_IMPORTED_ONCE = "clip_surgery_ros.networks.same_kernels"
"""All that workers need but what reads bags: ROS's packages start threads when they are imported,
which a fork would lose."""


def unfinished_items(plan: Plan, output: Path) -> list[Item]:
    """Return the items that have no result in the output folder."""
    return [item for item in plan.items if not result_file(item, output).exists()]


def label_items(
    items: Sequence[Item],
    job: LabelJob,
    workers: int,
    on_frames: Callable[[int], None] = lambda count: None,
) -> None:
    """Label items. Each result is in its file as soon as its item is done.

    :param workers: number of processes with networks of their own; 1 labels in this process.
    :param on_frames: called with the number of images that are done since the call before.
    :raises ClipSurgeryError: when a worker is killed; results of finished items remain.
    """
    if not items:
        return
    (job.output / ITEMS).mkdir(parents=True, exist_ok=True)
    if workers > 1:
        do_in_processes(items, job, workers, on_frames)
        return
    for item in items:
        job.do(item, lambda: on_frames(1))


def do_in_processes(
    items: Sequence[Item], job: Job, workers: int, on_frames: Callable[[int], None]
) -> None:
    """Do a job in several processes, between which only descriptions of items travel.

    Parameters are those of :func:`label_items`.

    :raises ClipSurgeryError: when a worker is killed.
    """
    # Workers are forked from a process that has imported torch and computed nothing: torch's
    # threads and CUDA do not survive a fork. The import takes longer than all else of the start.
    context = get_context("forkserver")
    context.set_forkserver_preload([_IMPORTED_ONCE])
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _prepare_worker)
    try:
        waiting = {pool.submit(job.do, item): item for item in items}
        for done in as_completed(waiting):
            done.result()
            on_frames(len(waiting[done].frames))
    except BrokenProcessPool as error:
        raise ClipSurgeryError(
            "a worker ended before its item was done, as when it is killed or memory runs out; "
            "finished items are kept: run the same command again, with fewer --workers if memory "
            "ran out"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Keep a second run out of an output folder, which is made where there is none. What a run
    left half written that was killed is removed.

    :raises ConfigError: when another run has the folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"another run writes to {output}; wait for its end, or name another --output"
        ) from error
    try:
        remove_unfinished(output)
        for file in (output / ITEMS).glob("*.unfinished"):
            file.unlink(missing_ok=True)  # its writer may be at work on another machine
        yield
    finally:
        lock.release()


def _prepare_worker() -> None:
    """Have a worker end at Ctrl-C without a traceback, and with the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
