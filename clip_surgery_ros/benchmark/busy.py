"""Time of a frame while other programs compete for the processor."""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from clip_surgery_ros.arithmetic.threads import usable_cores
from clip_surgery_ros.benchmark.frames_on_demand import READY
from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.parameters.config import DEMO

COMPETITORS = (0, 2, 4, 8)
"""Numbers of competing programs, which never wait for anything."""
THIS, SPINNING = "this", "torch's default"
WAITING: Mapping[str, Mapping[str, str]] = {
    THIS: {},
    SPINNING: {"GOMP_SPINCOUNT": "300000"},  # the default of GNU's OpenMP
}
"""How threads wait for each other: environment variables of the process."""
_SPINNING_BESIDE = (0, 4)
"""Numbers of competitors beside which spinning threads are measured; few, because each frame
takes many times as long."""
_SET_BY_THIS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_COMPETE = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(1_000_000))
"""
_DEMO_FRAMES = 5
"""Frames computed at a time: a single small frame may fit between two turns of the scheduler."""
_SETTLED_S = 0.3
"""Seconds until the scheduler has spread processes that start or stop over the cores."""


@dataclass(frozen=True)
class FrameTimes:
    """Times of frames, by waiting mode and number of competitors.

    :param wall_s: wall time in seconds.
    :param cpu_s: processor time of all threads in seconds.
    """

    wall_s: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    cpu_s: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def add(self, way: str, load: int, wall_s: float, cpu_s: float) -> None:
        """Add a measurement."""
        self.wall_s.setdefault((way, load), []).append(wall_s)
        self.cpu_s.setdefault((way, load), []).append(cpu_s)

    def wall(self, way: str, load: int) -> float:
        """Return the median wall time of a frame in seconds."""
        return statistics.median(self.wall_s[way, load])

    def cpu(self, way: str, load: int) -> float:
        """Return the median processor time of a frame in seconds."""
        return statistics.median(self.cpu_s[way, load])


def busy_machine(setting: Setting) -> Iterator[Row]:
    """Measure frames of the demo's networks and of the setting's, alone and beside competitors.

    Rows of the demo's networks come first: the others take minutes.
    """
    demo = _measure(DEMO, setting.precision, _DEMO_FRAMES, 2 * setting.rounds, _SPINNING_BESIDE)
    yield from rows("demo networks", *demo, usable_cores())
    true_size = _measure(setting.sam_model, setting.precision, 1, setting.rounds // 3 + 1, (0,))
    yield from rows(f"SAM {setting.sam_model}", *true_size, usable_cores())


def rows(networks: str, times: FrameTimes, threads: int, cores: int) -> list[Row]:
    """Return the rows of one pair of networks.

    :param networks: their name, for the rows.
    :param threads: how many threads compute a frame.
    :param cores: how many cores the process may use.
    """
    most_cpu_s = max(times.cpu(THIS, load) for load in COMPETITORS)
    pairs = zip(times.wall_s[THIS, 0], times.wall_s[SPINNING, 0], strict=True)
    return [
        *(
            _beside(networks, times, fair_slowdown(threads, load, cores), load)
            for load in COMPETITORS[1:]
        ),
        Row(
            f"{networks}, no competitor: this / {SPINNING} waiting",
            statistics.median(this / spinning for this, spinning in pairs),
            "at most 1.03",
            seconds={way: times.wall(way, 0) for way in WAITING},
        ),
        Row(
            f"{networks}, processor time of a frame: most beside competitors / alone",
            most_cpu_s / times.cpu(THIS, 0),
            "at most 1.1",
            seconds={f"{way}, {load} beside": times.cpu(way, load) for way, load in times.cpu_s},
        ),
    ]


def _beside(networks: str, times: FrameTimes, slowdown: float, load: int) -> Row:
    fair_s = times.wall(THIS, 0) * slowdown
    measured_s = {way: times.wall(way, load) for way in WAITING if (way, load) in times.wall_s}
    return Row(
        f"{networks} beside {load} competitors: frame / fair share",
        times.wall(THIS, load) / fair_s,
        "at most 1.5",
        seconds={**measured_s, "fair share": fair_s},
    )


def fair_slowdown(threads: int, competitors: int, cores: int) -> float:
    """Return how many times as long a frame takes when each of its threads gets the same share of
    the cores as every competitor.
    """
    return max(1.0, (threads + competitors) / cores) / max(1.0, threads / cores)


def _measure(
    networks: str, precision: str, frames: int, rounds: int, spinning_beside: Sequence[int]
) -> tuple[FrameTimes, int]:
    """Measure frames, with both waiting modes and all loads in turns.

    :param frames: how many are computed at a time.
    :param spinning_beside: numbers of competitors beside which spinning threads are measured.
    :returns: the times of frames, and the number of threads.
    """
    times = FrameTimes()
    with ExitStack() as stack:
        workers = {
            way: stack.enter_context(_worker(networks, precision, environment))
            for way, environment in WAITING.items()
        }
        threads = {way: _wait_ready(worker) for way, worker in workers.items()}[THIS]
        competitors = stack.enter_context(_competitors(max(COMPETITORS)))
        for _, load in itertools.product(range(rounds), COMPETITORS):
            with _running(competitors[:load]):
                for way, worker in workers.items():
                    if way == THIS or load in spinning_beside:
                        _compute(worker, 1)  # it sees what competes now
                        times.add(way, load, *_compute(worker, frames))
    return times, threads


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


def _wait_ready(worker: subprocess.Popen[str]) -> int:
    """Wait until the networks are loaded, and return how many threads compute.

    :raises RuntimeError: when the process ended before that.
    """
    assert worker.stdout
    for line in worker.stdout:
        if line.startswith(READY):
            return int(line.split()[1])
    raise RuntimeError("the process that computes frames ended before it was ready")


def _compute(worker: subprocess.Popen[str], frames: int) -> tuple[float, float]:
    """Let a worker compute frames; return wall time and processor time of each."""
    assert worker.stdin and worker.stdout
    worker.stdin.write(f"{frames}\n")
    worker.stdin.flush()
    wall_s, cpu_s = map(float, worker.stdout.readline().split())
    return wall_s, cpu_s


@contextmanager
def _competitors(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start programs that never wait for anything, each stopped (SIGSTOP) at first."""
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
def _running(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Let stopped processes run for a while."""
    for process in processes:
        process.send_signal(signal.SIGCONT)
    time.sleep(_SETTLED_S)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
