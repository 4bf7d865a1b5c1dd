"""Measure what a frame costs beside the same work done with the packages as they come."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.options import above_zero, path, whole
from clip_surgery_ros.tools.output import check_output_folder, output_folder

if TYPE_CHECKING:
    from clip_surgery_ros.benchmark.setting import Row, Setting

MEASUREMENTS: Mapping[str, str] = {
    "end-to-end": "rows:end_to_end",
    "clip": "rows:clip_forward",
    "sam": "rows:sam_encoder",
    "frame": "rows:frame_parts",
    "lesser-frames": "rows:lesser_frames",
    "labels": "sweeps:labels",
    "decoding": "sweeps:decoding",
    "sizes": "sweeps:sizes",
    "agreement": "rows:precision_agreement",
    "start": "rows:start",
    "busy": "busy:busy_machine",
}
"""By the name that ``--only`` takes: a module of ``benchmark`` and its function, from a setting to
rows, which is imported when it is run."""
OVER_ROS = ("ros", "node")
EVERYTHING = (*MEASUREMENTS, "memory", *OVER_ROS)
"""Memory in processes of its own, ros and node where ROS is."""
MODELS = "models"
"""Of networks to choose from, which say nothing of this package: only when asked for."""

TABLE_HEAD = "| what | measured | wanted | median seconds |\n| --- | --- | --- | --- |"
PROBE = """
import rclpy
from ament_index_python.packages import get_package_share_directory
get_package_share_directory("clip_surgery_ros")
rclpy.init()
rclpy.create_node("probe").destroy_node()
rclpy.shutdown()
"""
"""What the processes that are measured over ROS do first."""
PROBE_S = 60.0
"""Far more than it takes, also on a busy machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``benchmark --precision bfloat16 --output benchmark/``."""
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*EVERYTHING, MODELS),
        help="measure these (default: all but models)",
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--sam-model", choices=("vit_t", "vit_b", "vit_l", "vit_h"), default="vit_b"
    )
    parser.add_argument("--device", default="cpu", help="'cpu' (default) or 'cuda:N'")
    parser.add_argument("--rounds", type=whole(1), default=5, help="runs of each way (default: 5)")
    parser.add_argument("--threads", type=whole(1), help="torch's threads (default: torch's own)")
    parser.add_argument(
        "--ros-seconds", type=above_zero, default=90.0, help="of camera images through ROS"
    )
    parser.add_argument(
        "--output", type=path, help="folder for figures, written row by row, and pictures"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table; random weights of true size serve, whose work is that of trained ones."""
    if arguments.output:
        check_output_folder(arguments.output)
    Config.from_values({"device": arguments.device})
    chosen = measurable(arguments.only)

    import torch

    from clip_surgery_ros.networks.factory import resolve_device

    arguments.device = resolve_device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(about(arguments))
    measured: list[Row] = []
    for row in measure(arguments, chosen):
        measured.append(row)
        if arguments.output:
            write(arguments, measured, complete=False)
    if arguments.output:
        file = write(arguments, measured, complete=True)
        print("wrote", ", ".join(str(one) for one in (file, *_drawn(measured, arguments.output))))
    return 0


def measurable(only: Sequence[str] | None) -> list[str]:
    """What will be measured: what was asked for, else everything that can be here.

    :raises ConfigError: when ROS is wanted, or installed, and does not start.
    """
    chosen = list(only or EVERYTHING)
    if not set(chosen) & set(OVER_ROS):
        return chosen
    if not importlib.util.find_spec("rclpy"):
        if only:
            raise ConfigError("ros and node need ROS, which is not here; leave them out of --only")
        print("note: without ROS, ros and node are left out", file=sys.stderr)
        return [name for name in chosen if name not in OVER_ROS]
    probe = [sys.executable, "-c", PROBE]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=PROBE_S, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ConfigError(
            f"ROS is installed here but does not start ({why}); enter its environment (source its "
            "setup.bash, or activate), or name by --only what to measure without ros and node"
        )
    return chosen


def write(arguments: argparse.Namespace, measured: Sequence[Row], complete: bool) -> Path:
    """Write what was measured so far, so that a run that is broken off keeps it.

    :returns: the file.
    """
    name = f"benchmark_{arguments.sam_model}_{arguments.precision}.json"
    content = {
        "machine": machine(),
        "complete": complete,
        "rows": [asdict(row) for row in measured],
    }
    with output_folder(arguments.output) as unfinished:
        (unfinished / name).write_text(json.dumps(content, indent=2) + "\n")
    return Path(arguments.output) / name


def _drawn(measured: Sequence[Row], folder: Path) -> list[Path]:
    from clip_surgery_ros.benchmark import plots

    with write_together(folder) as unfinished:
        return [folder / one.name for one in plots.draw(measured, unfinished)]


def measure(arguments: argparse.Namespace, chosen: Sequence[str]) -> Iterator[Row]:
    """All rows of these measurements, each printed when it is known, with a progress bar."""
    from tqdm import tqdm

    from clip_surgery_ros.benchmark.setting import Setting

    setting = Setting(arguments.sam_model, arguments.precision, arguments.device, arguments.rounds)
    with tqdm(chosen, unit="measurement", disable=None) as progress:
        progress.write(TABLE_HEAD)
        for name in progress:
            progress.set_postfix_str(name)
            for row in _measured(name, arguments, setting):
                progress.write(table_row(row))
                sys.stdout.flush()  # a run that is broken off has shown it
                yield row


def _measured(name: str, arguments: argparse.Namespace, setting: Setting) -> Iterable[Row]:
    if name == "memory":
        return _function("rows:peak_memory")(arguments.sam_model, arguments.precision)
    if name == "ros":
        return _function("ros_io:ros_in_and_out")(arguments.ros_seconds)
    if name == "node":
        return _function("ros_io:node_over_pipeline")(setting)
    if name == MODELS:
        return _function("models:models")(setting)
    return _function(MEASUREMENTS[name])(setting)


def _function(place: str) -> Any:
    """``module:function`` of ``benchmark``."""
    module, _, function = place.partition(":")
    return getattr(import_module(f"clip_surgery_ros.benchmark.{module}"), function)


def table_row(row: Row) -> str:
    """A row in Markdown, below :data:`TABLE_HEAD`."""
    value = f"{row.value:.3g} {row.unit}".strip() if row.unit else f"{row.value:.3f}"
    seconds = ", ".join(f"{way} {value:.3g}" for way, value in row.seconds.items())
    return f"| {row.what} | {value} | {row.wanted} | {seconds} |"


def about(arguments: argparse.Namespace) -> str:
    """What was measured where, in a line."""
    where = machine()
    return (
        f"ViT-B/16 at 512 and SAM {arguments.sam_model} at 1024, {arguments.precision}, "
        f"{arguments.device}, {where['threads']} threads, {where['capability']}, "
        f"torch {where['torch']}"
    )


def machine() -> dict[str, str | int]:
    """What figures depend on."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
