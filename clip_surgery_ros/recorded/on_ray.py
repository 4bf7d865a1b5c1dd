"""Does the items of a job on a Ray cluster: a worker for each GPU, or for some processor cores.

Ray places workers and tells which are lost. What they do is as in processes: an item at a time,
whose result is in its file when it is done. Between machines only descriptions of items travel.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.core.files import UNFINISHED
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded import ray_worker
from clip_surgery_ros.recorded.job import Job
from clip_surgery_ros.recorded.label import ITEMS, result_file
from clip_surgery_ros.recorded.plan import Item
from clip_surgery_ros.weights.fetching import HOME

LOCAL = "local"
"""Address of a cluster of this machine alone, which lives as long as the command."""
MOST_TRIES = 3
"""Workers that may be lost with the same item: an item that takes all memory would else be tried
without end, and a machine that is lost twice in its time is bad luck."""
MOST_LOSSES = 3
"""Losses for each worker, one after the other without a finished item, after which none is
replaced: then it is the work that ends them."""
ROOM_S = 300.0
"""How long no node may have room for a worker: a machine of a cloud takes minutes to start."""
START_S = 180
"""How long Ray's own start may take: by default it gives up after 30 s, which a busy machine
needs."""
SEEN_S = 90.0
"""How long a result may be unseen here: NFS keeps what it knows of a folder for up to 60 s."""
_STORE_BYTES = 80 * 2**20
"""The smallest object store that Ray accepts: no images are in it."""
_TAKEN_OVER = (HOME, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Environment variables that workers have as this process has them: where weights are, and how
OpenMP's threads wait."""


@dataclass(frozen=True)
class Workers:
    """Which workers are wanted of a cluster.

    :param address: ``local``, ``auto`` (the cluster that this machine is a node of) or
        ``HOST:PORT`` of its head, on a machine that is a node of it.
    :param count: 0 for as many as there is room for.
    :param device: parameter ``device`` of the networks; workers need a GPU for others than
        ``cpu``, if the cluster has any.
    :param cpu_threads: parameter of this name: cores of a worker. Without GPUs it is 1 or more.
    """

    address: str
    count: int = 0
    device: str = "cpu"
    cpu_threads: int = 1

    @classmethod
    def of(cls, address: str, count: int, config: Config) -> Workers:
        """Return the workers for networks.

        :raises ConfigError: when Ray is missing, or the device is not the first one.
        """
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--ray needs Ray: pip install 'clip_surgery_ros[ray]'")
        if config.device not in ("auto", "cpu", "cuda", "cuda:0"):
            raise ConfigError(
                f"device '{config.device}' cannot be used with --ray, which gives each worker a "
                "GPU of its own as cuda:0; leave --device out"
            )
        return cls(address, count, config.device, config.cpu_threads)


def do_on_ray(
    items: Sequence[Item],
    job: Job,
    workers: Workers,
    output: Path,
    on_frames: Callable[[int], None] = lambda count: None,
    tell: Callable[[str], None] = lambda note: None,
) -> None:
    """Do a job on a cluster. Each result is in its file as soon as its item is done.

    Items of a lost worker are done again by others; what was finished is kept.

    :param output: folder of results, on storage that all nodes share.
    :param on_frames: called with the number of images that are done since the call before.
    :param tell: gets notes for people: lost workers, fewer workers than wanted.
    :raises ConfigError: when a node cannot take part, naming what it lacks.
    :raises ClipSurgeryError: when there is no cluster or no room, when workers are lost again
        and again, or as the job raises.
    """
    if not items:
        return
    (output / ITEMS).mkdir(parents=True, exist_ok=True)
    with _connected(workers) as ray, TemporaryDirectory(prefix=UNFINISHED, dir=output) as mark:
        needs = _Needs.of(ray, workers)
        count = needs.count(ray, workers, len(items), tell)
        files = {str(file): file.stat().st_size for file in {item.part.file for item in items}}
        _Crew(ray, job, needs, (version(ray_worker.PACKAGE), files, mark), tell).do(
            items, count, on_frames
        )
    _wait_for_results(items, output)


def _wait_for_results(items: Sequence[Item], output: Path) -> None:
    """Wait until this machine sees what others have written.

    :raises ClipSurgeryError: when it never does.
    """
    wanted = {result_file(item, output).name for item in items}
    end_s = time.monotonic() + SEEN_S
    # Listing the folder makes a network file system ask its server again.
    while left := wanted - {entry.name for entry in os.scandir(output / ITEMS)}:
        if time.monotonic() > end_s:
            raise ClipSurgeryError(
                f"{len(left)} of {len(items)} items are done, but their results are not in "
                f"{output / ITEMS}: name an --output on storage that all nodes share"
            )
        time.sleep(1.0)


@contextmanager
def _connected(workers: Workers) -> Iterator[Any]:
    """Give Ray, connected to the cluster; nothing is sent to Ray's makers, no web page is served.

    :raises ClipSurgeryError: when there is no such cluster, or it has another Ray or Python.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", str(START_S))
    if workers.address == LOCAL:
        # Ray reads it when it is imported. Its node then listens on 127.0.0.1 alone, which it does
        # not do for an option: it takes another address of the machine instead.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray = importlib.import_module("ray")
    options: dict[str, Any] = {}
    if workers.address == LOCAL:
        cores = workers.count * max(1, workers.cpu_threads)
        options = {
            "num_cpus": max(os.cpu_count() or 1, cores),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
    try:
        ray.init(workers.address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises anything, also Exception itself
        reason = " ".join(str(error).split())
        raise ClipSurgeryError(
            f"--ray {workers.address}: no connection to a Ray cluster ({reason}); start one with "
            "`ray start` on each machine, run this command on one of them, or use --ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class _Needs:
    """What a worker occupies of its node.

    :param gpus: 0 or 1.
    """

    cores: int
    gpus: int

    @classmethod
    def of(cls, ray: Any, workers: Workers) -> _Needs:
        """Return what the workers need of a cluster.

        :raises ConfigError: when the number of cores is not given, and counts.
        """
        gpus = int(workers.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1)
        if not gpus and not workers.cpu_threads:
            raise ConfigError(
                "without GPUs --ray needs --cpu-threads, the cores of each worker: Ray places as "
                "many workers on a node as it has cores for"
            )
        return cls(max(1, workers.cpu_threads), gpus)

    def count(self, ray: Any, workers: Workers, items: int, tell: Callable[[str], None]) -> int:
        """Return the number of workers to ask for.

        :raises ClipSurgeryError: when no node has room.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(self._fit(node) for node in nodes)
        wanted = workers.count or room
        if not wanted:
            raise ClipSurgeryError(f"no node of the Ray cluster has {self}")
        if wanted > room:
            tell(f"the Ray cluster has room for {room} of {wanted} workers; the others wait")
        return min(wanted, items)

    def _fit(self, node: Mapping[str, float]) -> int:
        """Return how many workers a node has room for."""
        fit = int(node.get("CPU", 0) // self.cores)
        return min(fit, int(node.get("GPU", 0))) if self.gpus else fit

    def __str__(self) -> str:
        return f"{self.cores} free cores" + (" and a free GPU" if self.gpus else "")


@dataclass(frozen=True)
class _Call:
    """A call of a worker that has not answered yet.

    :param then: called with its answer.
    :param item: that it does; None while it starts.
    """

    worker: Any
    then: Callable[[Any], None]
    item: Item | None = None


class _Crew:
    """Workers of a cluster, and what each of them does.

    :param needs: of each worker.
    :param wanted: the arguments of :meth:`RayWorker.problem`.
    """

    def __init__(
        self,
        ray: Any,
        job: Job,
        needs: _Needs,
        wanted: tuple[str, Mapping[str, int], str],
        tell: Callable[[str], None],
    ) -> None:
        self._ray, self._job, self._wanted, self._tell = ray, job, wanted, tell
        self._needs = needs
        # Its source travels, not its name: a node may lack this package.
        ray.cloudpickle.register_pickle_by_value(ray_worker)
        self._kind = ray.remote(ray_worker.RayWorker).options(
            num_cpus=needs.cores,
            num_gpus=needs.gpus,
            max_restarts=0,  # a lost worker is replaced here, where it can be said
            scheduling_strategy="SPREAD",  # else Ray fills one node after the other
        )
        self._calls: dict[Any, _Call] = {}
        self._places: dict[Any, str] = {}
        self._left: deque[Item] = deque()
        self._tries: Counter[str] = Counter()
        self._losses = 0

    def do(self, items: Sequence[Item], count: int, on_frames: Callable[[int], None]) -> None:
        """Do all items with a number of workers."""
        self._left.extend(items)
        self._count, self._on_frames = count, on_frames
        self._unfinished = len(items)
        for _ in range(count):
            self._hire()
        while self._unfinished:
            answered, _ = self._ray.wait([*self._calls], timeout=ROOM_S)
            if not answered and not self._places:
                raise ClipSurgeryError(
                    f"no node of the Ray cluster had {self._needs} for {ROOM_S:.0f} s; finished "
                    "items are kept: run the same command again when there is room"
                )
            for answer in answered:
                self._take(answer)

    def _hire(self) -> None:
        """Ask for one more worker. Ray starts it when a node has room."""
        variables = {name: os.environ[name] for name in _TAKEN_OVER if name in os.environ}
        worker = self._kind.remote(os.getcwd(), variables)
        self._call(worker, worker.place.remote(), lambda place: self._check(worker, place))

    def _call(
        self, worker: Any, call: Any, then: Callable[[Any], None], item: Item | None = None
    ) -> None:
        self._calls[call] = _Call(worker, then, item)

    def _check(self, worker: Any, place: str) -> None:
        """Compare a new worker's machine with this one."""
        self._places[worker] = place
        call = worker.problem.remote(*self._wanted)
        self._call(worker, call, lambda problem: self._prepare(worker, problem))

    def _prepare(self, worker: Any, problem: str) -> None:
        """Have a worker load its networks.

        :raises ConfigError: when its machine cannot take part.
        """
        if problem:
            raise ConfigError(f"{self._places[worker]} of the Ray cluster: {problem}")
        self._call(worker, worker.prepare.remote(self._job), lambda _: self._give(worker))

    def _give(self, worker: Any) -> None:
        """Give a worker its next item; without one it goes."""
        if not self._left:
            del self._places[worker]
            self._ray.kill(worker)
            return
        item = self._left.popleft()
        self._call(worker, worker.do.remote(item), lambda _: self._done(worker, item), item)

    def _done(self, worker: Any, item: Item) -> None:
        self._unfinished -= 1
        self._losses = 0
        self._on_frames(len(item.frames))
        self._give(worker)

    def _take(self, answer: Any) -> None:
        """Take a worker's answer, or notice that it is lost."""
        call, errors = self._calls.pop(answer), self._ray.exceptions
        try:
            value = self._ray.get(answer)
        except (errors.RayActorError, errors.OutOfMemoryError) as error:
            self._lost(call, error)
        except errors.RayTaskError as error:
            self._raise(call, error)
        else:
            call.then(value)

    def _raise(self, call: _Call, error: Any) -> None:
        """Raise an error of a job as in a process, with the worker's place."""
        cause = error.cause
        if isinstance(cause, ClipSurgeryError):
            place = self._places.get(call.worker, "a worker")
            raise type(cause)(f"{place} of the Ray cluster: {cause}") from error
        raise cause from error

    def _lost(self, call: _Call, error: Exception) -> None:
        """Replace a lost worker, and have its item done again.

        :raises ClipSurgeryError: when workers are lost again and again.
        """
        place, reason = self._places.pop(call.worker, "a worker that started"), _reason(error)
        self._ray.kill(call.worker)  # one that cannot be reached may come back
        self._losses += 1
        again = ""
        if call.item is not None:
            self._left.appendleft(call.item)
            self._tries[call.item.key] += 1
            again = f"; its {len(call.item.frames)} images are done again"
        self._tell(f"{place} of the Ray cluster is lost: {reason}{again}")
        tries = self._tries[call.item.key] if call.item is not None else 0
        if tries >= MOST_TRIES or self._losses >= MOST_LOSSES * self._count:
            what = f"{tries} workers with the same images" if tries else f"{self._losses} workers"
            raise ClipSurgeryError(
                f"{what} were lost, the last one as {reason}; finished items are kept: run the "
                "same command again, with fewer workers on a node if memory ran out"
            )
        if self._left:
            self._hire()


def _reason(error: Exception) -> str:
    """Return why a worker was lost, from Ray's long text."""
    text = " ".join(str(error).split())
    if "running low on memory" in text or "OutOfMemory" in type(error).__name__:
        return "its machine ran out of memory"
    if re.search(r"node (has died|was terminated|died|is dead)|node failure", text):
        return "its machine does not answer any more"
    if "Unavailable" in type(error).__name__:
        return "it does not answer any more"
    return "its process ended, as when it is killed or memory runs out"
