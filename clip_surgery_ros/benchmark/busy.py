"""What a frame takes beside programs that compete for the processor."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from clip_surgery_ros.arithmetic.threads import cores
from clip_surgery_ros.benchmark.frames_on_demand import READY
from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.parameters.config import DEMO

COMPETITORS = (0, 2, 4, 8)
"""Programs that never wait for anything."""
THIS, SPINNING = "this", "torch's own"
WAYS: Mapping[str, Mapping[str, str]] = {
    THIS: {},
    SPINNING: {"GOMP_SPINCOUNT": "300000"},  # what GNU's OpenMP takes where nothing is set
}
"""Ways to wait for threads: variables of the process."""
_SET_BY_THIS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_COMPETE = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(1_000_000))
"""
_DEMO_FRAMES = 5
"""Frames at a time; a single small one may fit between two turns of the scheduler."""
_SETTLED_S = 0.3
"""Until the scheduler has spread programs that begin or stop."""


@dataclass(frozen=True)
class Spent:
    """What single frames took, by way and number of competitors.

    :param wall_s: seconds that passed.
    :param cpu_s: seconds of processor time, of all threads.
    """

    wall_s: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    cpu_s: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def add(self, way: str, load: int, wall_s: float, cpu_s: float) -> None:
        """Take a measurement in."""
        self.wall_s.setdefault((way, load), []).append(wall_s)
        self.cpu_s.setdefault((way, load), []).append(cpu_s)

    def wall(self, way: str, load: int) -> float:
        """Median seconds of a frame."""
        return statistics.median(self.wall_s[way, load])

    def cpu(self, way: str, load: int) -> float:
        """Median seconds of processor time of a frame."""
        return statistics.median(self.cpu_s[way, load])


def busy_machine(setting: Setting) -> list[Row]:
    """Frames of the demo's networks and of the setting's, alone and beside other programs."""
    demo = _measured(DEMO, setting.precision, _DEMO_FRAMES, 2 * setting.rounds)
    true_size = _measured(setting.sam_model, setting.precision, 1, setting.rounds // 3 + 1)
    return [*rows("demo networks", *demo), *rows(f"SAM {setting.sam_model}", *true_size)]


def rows(networks: str, spent: Spent, threads: int) -> list[Row]:
    """What was measured of networks that compute on so many threads."""
    idle_cpu_s = spent.cpu(THIS, 0)
    most_cpu_s = max(spent.cpu(THIS, load) for load in COMPETITORS)
    pairs = zip(spent.wall_s[THIS, 0], spent.wall_s[SPINNING, 0], strict=True)
    return [
        *(_beside(networks, spent, threads, load) for load in COMPETITORS[1:]),
        Row(
            f"{networks}, nothing beside: this / {SPINNING} way of waiting",
            statistics.median(one / other for one, other in pairs),
            "at most 1.03",
            seconds={way: spent.wall(way, 0) for way in WAYS},
        ),
        Row(
            f"{networks}, processor time of a frame: most beside others / alone",
            most_cpu_s / idle_cpu_s,
            "at most 1.1",
            seconds={
                f"{way}, {load} beside": spent.cpu(way, load)
                for way in WAYS
                for load in COMPETITORS
            },
        ),
    ]


def _beside(networks: str, spent: Spent, threads: int, load: int) -> Row:
    fair_s = {way: spent.wall(way, 0) * fair_slowdown(threads, load, cores()) for way in WAYS}
    return Row(
        f"{networks} beside {load} busy programs: frame / fair share",
        spent.wall(THIS, load) / fair_s[THIS],
        "at most 1.5",
        seconds={
            THIS: spent.wall(THIS, load),
            SPINNING: spent.wall(SPINNING, load),
            "fair share": fair_s[THIS],
        },
    )


def fair_slowdown(threads: int, competitors: int, cores: int) -> float:
    """How many times as long a frame takes when each of its threads gets as much of the cores as
    every competitor.
    """
    return max(1.0, (threads + competitors) / cores) / max(1.0, threads / cores)


def _measured(networks: str, precision: str, frames: int, rounds: int) -> tuple[Spent, int]:
    """What frames took, and on how many threads; ways and loads take turns.

    :param frames: computed at a time.
    """
    spent = Spent()
    with ExitStack() as stack:
        workers = {
            way: stack.enter_context(_worker(networks, precision, environment))
            for way, environment in WAYS.items()
        }
        threads = {way: _ready(worker) for way, worker in workers.items()}[THIS]
        competitors = stack.enter_context(_competitors(max(COMPETITORS)))
        for _ in range(rounds):
            for load in COMPETITORS:
                with _going_on(competitors[:load]):
                    for way, worker in workers.items():
                        spent.add(way, load, *_ask(worker, frames))
    return spent, threads


@contextmanager
def _worker(
    networks: str, precision: str, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    inherited = {name: value for name, value in os.environ.items() if name not in _SET_BY_THIS}
    command = [sys.executable, "-m", "clip_surgery_ros.benchmark.frames_on_demand"]
    process = subprocess.Popen(
        [*command, networks, precision],
        env={**inherited, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _ready(worker: subprocess.Popen[str]) -> int:
    """Wait until the networks are loaded; on how many threads they compute.

    :raises RuntimeError: when they are not.
    """
    assert worker.stdout
    for line in worker.stdout:
        if line.startswith(READY):
            return int(line.split()[1])
    raise RuntimeError("the process that computes frames ended before it was ready")


def _ask(worker: subprocess.Popen[str], frames: int) -> tuple[float, float]:
    """Seconds and processor seconds of a frame."""
    assert worker.stdin and worker.stdout
    worker.stdin.write(f"{frames}\n")
    worker.stdin.flush()
    wall_s, cpu_s = map(float, worker.stdout.readline().split())
    return wall_s, cpu_s


@contextmanager
def _competitors(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs that would never wait for anything, stopped."""
    command = [sys.executable, "-S", "-c", _COMPETE]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def _going_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    for process in processes:
        process.send_signal(signal.SIGCONT)
    time.sleep(_SETTLED_S)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
