"""Measure what a frame costs beside the same work done with the packages as they come."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from clip_surgery_ros.benchmark import plots, rows, sweeps
from clip_surgery_ros.benchmark.setting import Row, Setting

NAME = "benchmark"
Measurement = Callable[[Setting], list[Row]]
MEASUREMENTS: dict[str, Measurement] = {
    "end-to-end": rows.end_to_end,
    "clip": rows.clip_forward,
    "sam": rows.sam_encoder,
    "frame": rows.frame_parts,
    "lesser-frames": rows.lesser_frames,
    "labels": sweeps.labels,
    "decoding": sweeps.decoding,
    "sizes": sweeps.sizes,
    "agreement": rows.precision_agreement,
    "start": rows.start,
}
EVERYTHING = (*MEASUREMENTS, "memory", "ros", "node")
"""By the name that ``--only`` takes; memory in processes of its own, ros and node where ROS is."""


TABLE_HEAD = "| what | measured | wanted | median seconds |\n| --- | --- | --- | --- |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``benchmark --precision bfloat16 --output benchmark/``."""
    parser.add_argument(
        "--only", nargs="+", choices=EVERYTHING, help="measure these (default: all)"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--sam-model", choices=("vit_t", "vit_b", "vit_l", "vit_h"), default="vit_b"
    )
    parser.add_argument("--device", default="cpu", help="'cpu' (default) or 'cuda:N'")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default: 5)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own)")
    parser.add_argument(
        "--ros-seconds", type=float, default=90.0, help="of camera images through ROS"
    )
    parser.add_argument("--output", type=Path, help="folder for figures and pictures")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; random weights of true size serve, whose work is that of trained ones."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    chosen = arguments.only or list(EVERYTHING)
    print(about(arguments))
    measured = measure(arguments, chosen)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        path = arguments.output / f"benchmark_{arguments.sam_model}_{arguments.precision}.json"
        content = {"machine": machine(), "rows": [asdict(row) for row in measured]}
        path.write_text(json.dumps(content, indent=2) + "\n")
        pictures = plots.draw(measured, arguments.output)
        print("wrote", ", ".join(str(one) for one in (path, *pictures)))
    return 0


def measure(arguments: argparse.Namespace, chosen: Sequence[str]) -> list[Row]:
    """All rows of these measurements, each printed when it is known, with a progress bar."""
    found: list[Row] = []
    setting = Setting(arguments.sam_model, arguments.precision, arguments.device, arguments.rounds)
    with tqdm(chosen, unit="measurement", disable=None) as progress:
        progress.write(TABLE_HEAD)
        for name in progress:
            progress.set_postfix_str(name)
            rows_of_it = _measured(name, arguments, setting)
            found += rows_of_it
            for row in rows_of_it:
                progress.write(table_row(row))
    return found


def _measured(name: str, arguments: argparse.Namespace, setting: Setting) -> list[Row]:
    if name == "memory":
        return rows.peak_memory(arguments.sam_model, arguments.precision)
    if name in ("ros", "node"):
        return ros_rows(name, arguments, setting)
    return MEASUREMENTS[name](setting)


def ros_rows(name: str, arguments: argparse.Namespace, setting: Setting) -> list[Row]:
    """Rows about ROS; none where it is not installed, unless they were asked for."""
    if not arguments.only and not importlib.util.find_spec("rclpy"):
        return []
    from clip_surgery_ros.benchmark import ros_io

    if name == "node":
        return ros_io.node_over_pipeline(setting)
    return ros_io.ros_in_and_out(arguments.ros_seconds)


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
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
