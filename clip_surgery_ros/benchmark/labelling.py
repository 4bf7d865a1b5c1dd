"""What several workers of ``clip_surgery label`` cost: start, memory, Ray, and how rates scale.

Rates of more workers than this machine has cores are simulated: a stand-in for the networks sleeps
for a fixed time, as a core or a GPU of its own would compute. All else is real: the bag is read,
results are written, and workers are processes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.recorded import QUERY, record
from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.job import Job, LabelJob
from clip_surgery_ros.recorded.label import ITEMS, label_item
from clip_surgery_ros.recorded.on_ray import LOCAL, Workers, do_on_ray
from clip_surgery_ros.recorded.plan import IMAGES_PER_ITEM, Item, Plan, make_plan
from clip_surgery_ros.recorded.run import do_in_processes
from clip_surgery_ros.world.recorded import read_orbit

COUNTS = (1, 2, 4, 8)
"""Workers: up to a machine with eight GPUs."""
FRAME_S = 0.3
"""Time of the stand-in: about that of the demo's networks with windows on a core. With a third of
it, 8 workers would read and write more images a second than two cores can."""
ITEM_IMAGES, ITEMS_EACH = 4, 4
"""A worker's work is 5 s: enough that a delay of 1 % is seen."""
MEET_S = 600.0
"""Longest start of all workers: 8 of Ray import torch one after the other on two cores."""
_COMMAND = "import sys; from clip_surgery_ros.tools.cli import main; sys.exit(main(sys.argv[1:]))"
_CONFIG = {"cpu_threads": 1, "device": "cpu"}
_MEETING, _TIMES = "meeting", "times"
"""Folders of the stand-in's output."""


@dataclass(frozen=True)
class Sleeping:
    """Stand-in for networks and pipeline: takes a fixed time for an image and finds nothing."""

    config: Config = field(default_factory=Config.from_values)

    def pipeline(self, config: Config) -> Sleeping:
        """Return itself."""
        return self

    def run(self, image: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """Wait as long as networks would compute."""
        time.sleep(FRAME_S)
        none = np.zeros(len(query.labels), np.float32)
        maps = np.zeros((len(query.labels), 2, 2), np.float32)
        return FrameResult(query, (image.shape[0], image.shape[1]), maps, none, none, none, ())


@dataclass(frozen=True)
class SleepJob:
    """Labels items with the stand-in, and writes when each began and ended.

    :param workers: they begin together.
    """

    output: Path
    workers: int

    def prepare(self) -> None:
        """Nothing is loaded."""

    def do(self, item: Item) -> None:
        """Label an item."""
        self._meet()
        begin = time.time()
        label_item(item, parse_query(QUERY), Sleeping(), self.output)  # type: ignore[arg-type]
        content = {"process": os.getpid(), "begin": begin, "end": time.time()}
        (self.output / _TIMES / item.key).write_text(json.dumps(content))

    def _meet(self) -> None:
        """Wait until each worker has an item."""
        folder, end_s = self.output / _MEETING, time.monotonic() + MEET_S
        (folder / str(os.getpid())).touch()
        while len(os.listdir(folder)) < self.workers and time.monotonic() < end_s:
            time.sleep(0.01)


@dataclass(frozen=True)
class MemoryJob:
    """Labels items with the demo's networks, and writes what memory this process has alone."""

    job: LabelJob

    def prepare(self) -> None:
        """Load the networks."""
        self.job.prepare()

    def do(self, item: Item) -> None:
        """Label an item."""
        self.job.do(item)
        (self.job.output / _TIMES / item.key).write_text(json.dumps(private_mb()))


def private_mb() -> float:
    """Return the memory that only this process uses, in MB: what one more of its kind takes."""
    rows = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    sizes = {row[0].rstrip(":"): int(row[1]) for row in rows}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) * 1024 / 1e6


Way = Callable[[Sequence[Item], Job, int, Path, Callable[[int], None]], None]
"""Does a job's items with a number of workers."""


def _in_processes(
    items: Sequence[Item], job: Job, count: int, output: Path, on_frames: Callable[[int], None]
) -> None:
    do_in_processes(items, job, count, on_frames)


def _on_ray(
    items: Sequence[Item], job: Job, count: int, output: Path, on_frames: Callable[[int], None]
) -> None:
    do_on_ray(items, job, Workers(LOCAL, count), output, on_frames)


def ways() -> dict[str, Way]:
    """Return the ways to have several workers, by name; Ray only where it is installed."""
    found: dict[str, Way] = {"processes": _in_processes}
    if importlib.util.find_spec("ray") is None:
        print("note: Ray is not measured because it is missing", file=sys.stderr)
    else:
        found["Ray"] = _on_ray
    return found


def workers_of_label(setting: Setting) -> Iterator[Row]:
    """Measure start and memory with the demo's networks, and rates with the stand-in."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        few = record(folder / "few", [read_orbit().frame(index).rgb for index in range(2)])
        small = np.zeros((120, 160, 3), np.uint8)
        many = record(folder / "many", [small] * (max(COUNTS) * ITEMS_EACH * ITEM_IMAGES))
        yield from _starts(few, folder)
        for way, run in ways().items():
            yield _memory(way, run, few, folder / f"memory {way}")
        frame_s = _frame_s(setting.rounds)
        for count in COUNTS:
            for way, run in ways().items():
                yield from _rates(way, run, count, many, folder / f"{way} {count}", frame_s)


def _starts(bag: Path, folder: Path) -> Iterator[Row]:
    """Yield how long the command takes for two images, by ways; an import is most of it."""
    options = {"one process": [], "two processes": ["--workers", "2"]}
    if "Ray" in ways():
        options["Ray local, two workers"] = ["--ray", LOCAL, "--workers", "2"]
    for way, more in options.items():
        command = [sys.executable, "-c", _COMMAND, "label", str(bag), "--query", QUERY]
        command += ["--output", str(folder / way), "--cpu-threads", "1", "--images-per-item", "1"]
        begin, before = time.perf_counter(), os.times()
        subprocess.run([*command, *more], check=True, capture_output=True)
        after = os.times()
        cpu_s = sum(after[2:4]) - sum(before[2:4])
        elapsed = {"clock": time.perf_counter() - begin, "processor of what has ended": cpu_s}
        yield Row(
            f"label, two images from start to end, {way}", elapsed["clock"], "", "s", elapsed
        )


def _memory(way: str, run: Way, bag: Path, output: Path) -> Row:
    plan = _plan(bag, 1, output)
    query, config = parse_query(QUERY), Config.from_values(_CONFIG)
    job = MemoryJob(LabelJob(query, config, output, plan.depends))
    run(plan.items, job, 2, output, lambda count: None)
    values = [json.loads(file.read_text()) for file in (output / _TIMES).iterdir()]
    return Row(f"memory of one more worker, demo networks, {way}", max(values), "", "MB")


def _plan(bag: Path, images_per_item: int, output: Path) -> Plan:
    for name in (ITEMS, _MEETING, _TIMES):
        (output / name).mkdir(parents=True)
    query, config = parse_query(QUERY), Config.from_values(_CONFIG)
    return make_plan([bag], None, 0, query, config, images_per_item)


def _frame_s(rounds: int) -> float:
    """Return the seconds of an image of the demo's networks on a core, of this very machine."""
    pipeline = load_networks(Config.from_values(_CONFIG)).pipeline(Config.from_values(_CONFIG))
    seconds = []
    for index in range(rounds + 1):
        image, begin = read_orbit().frame(index).rgb, time.process_time()
        pipeline.run(image, parse_query(QUERY))
        seconds.append(time.process_time() - begin)
    return min(seconds)


def _rates(
    way: str, run: Way, count: int, bag: Path, output: Path, frame_s: float
) -> Iterator[Row]:
    """Yield what share of the rate of as many stand-ins alone a number of workers reaches."""
    items = _plan(bag, ITEM_IMAGES, output).items[: count * ITEMS_EACH]
    clock = _RayClock()
    run(items, SleepJob(output, count), count, output, clock.tick)
    times = [json.loads(file.read_text()) for file in (output / _TIMES).iterdir()]
    begin, end = min(each["begin"] for each in times), max(each["end"] for each in times)
    images = len(items) * ITEM_IMAGES
    share = images * FRAME_S / (count * (end - begin))
    yield Row(
        f"{way}, {count} workers (simulated): rate / that of their networks alone",
        share,
        "at least 0.9" if 1 < count <= 8 else "",
        seconds={"an image of all": (end - begin) / images},
    )
    if way == "Ray" and count == 1:
        gap = median(_gaps(times))
        share = gap / (IMAGES_PER_ITEM * frame_s)
        values = {"between items": gap, "an image": frame_s}
        yield Row("Ray's time between items / their images", share, "under 0.03", seconds=values)
        yield Row("Ray's own processes, share of a core", clock.share, "under 0.03")


def _gaps(times: Sequence[dict[str, Any]]) -> list[float]:
    """Return the seconds between two items of a worker."""
    rows = sorted(times, key=lambda row: (row["process"], row["begin"]))
    pairs = ((a, b) for a, b in pairwise(rows) if a["process"] == b["process"])
    return [b["begin"] - a["end"] for a, b in pairs]


class _RayClock:
    """Processor time of this process and of Ray's own, from the first item's end to the last's."""

    def __init__(self) -> None:
        self._ticks: list[tuple[float, float]] = []

    def tick(self, count: int) -> None:
        """Read the times when an item is done."""
        self._ticks.append((time.monotonic(), _ray_cpu_s()))

    @property
    def share(self) -> float:
        """Share of a core; the worker itself is left out."""
        (first_s, first_cpu), (last_s, last_cpu) = self._ticks[0], self._ticks[-1]
        return (last_cpu - first_cpu) / (last_s - first_s)


def _ray_cpu_s() -> float:
    """Return the processor's seconds of this process and all that it started, but workers."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0.0
    left = [os.getpid()]
    while left:
        process = left.pop()
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
            children = Path(f"/proc/{process}/task/{process}/children").read_text()
        except OSError:  # it has just ended
            continue
        left += map(int, children.split())
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if "RayWorker" not in name:
            total += sum(map(int, rest.split()[11:13])) / tick
    return total
