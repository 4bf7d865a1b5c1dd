"""Measure the time of a frame, beside the same work with the unmodified packages."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from clip_surgery_ros.benchmark.measurements import MEASUREMENTS, choose, machine, measurement
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.parameters.arguments import nonempty_path, positive_number, whole_number
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.output import check_output_folder, output_folder

if TYPE_CHECKING:
    from clip_surgery_ros.benchmark.setting import Row

TABLE_HEAD = "| what | measured | wanted | median seconds |\n| --- | --- | --- | --- |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``benchmark --precision bfloat16 --output benchmark/``."""
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(MEASUREMENTS),
        help="measure these (default: all but models, exactness and those for GPUs)",
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16"), default="float32"
    )
    parser.add_argument(
        "--sam-model", choices=("vit_t", "vit_b", "vit_l", "vit_h"), default="vit_b"
    )
    parser.add_argument("--device", default="cpu", help="'cpu' (default) or 'cuda:N'")
    parser.add_argument(
        "--rounds", type=whole_number(1), default=5, help="runs of each variant (default: 5)"
    )
    parser.add_argument(
        "--threads", type=whole_number(1), help="torch's threads (default: torch's own)"
    )
    parser.add_argument(
        "--ros-seconds",
        type=positive_number,
        default=90.0,
        help="how long images are sent through ROS (default: 90)",
    )
    parser.add_argument(
        "--output", type=nonempty_path, help="folder for values, written row by row, and pictures"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Networks have their full size and random weights, which cost the same."""
    if arguments.output:
        check_output_folder(arguments.output)
    Config.from_values({"device": arguments.device, "precision": arguments.precision})
    names = choose(arguments.only)

    import torch

    from clip_surgery_ros.networks.devices import resolve_device, use_tf32

    arguments.device = resolve_device(arguments.device)
    use_tf32(allowed=False)  # as the node does
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(headline(arguments))
    rows: list[Row] = []
    for row in measure(arguments, names):
        rows.append(row)
        if arguments.output:
            write(arguments, rows, complete=False)
    if arguments.output:
        files = [write(arguments, rows, complete=True), *_draw(rows, arguments.output)]
        print("wrote", ", ".join(str(file) for file in files))
    return 0


def write(arguments: argparse.Namespace, rows: Sequence[Row], complete: bool) -> Path:
    """Write the rows measured so far, so that an interrupted run keeps them.

    :return: the file.
    """
    name = f"benchmark_{arguments.sam_model}_{arguments.precision}.json"
    content = {
        "machine": machine(arguments.device),
        "complete": complete,
        "rows": [asdict(row) for row in rows],
    }
    with output_folder(arguments.output) as unfinished:
        (unfinished / name).write_text(json.dumps(content, indent=2) + "\n")
    return Path(arguments.output) / name


def _draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    from clip_surgery_ros.benchmark import plots

    with write_together(folder) as unfinished:
        return [folder / file.name for file in plots.draw(rows, unfinished)]


def measure(arguments: argparse.Namespace, names: Sequence[str]) -> Iterator[Row]:
    """Make all rows of these measurements, with a progress bar; print each when it was taken."""
    from tqdm import tqdm

    from clip_surgery_ros.benchmark.setting import Setting

    setting = Setting(
        arguments.sam_model,
        arguments.precision,
        arguments.device,
        arguments.rounds,
        arguments.ros_seconds,
    )
    with tqdm(names, unit="measurement", disable=None) as progress:
        progress.write(TABLE_HEAD)
        for name in progress:
            progress.set_postfix_str(name)
            for row in measurement(name)(setting):
                yield row
                # Printed after it was written: what an interrupted run has shown is in the file.
                progress.write(table_row(row))
                sys.stdout.flush()


def table_row(row: Row) -> str:
    """Return a row in Markdown, to follow :data:`TABLE_HEAD`."""
    value = f"{row.value:.3g} {row.unit}".strip()
    seconds = ", ".join(f"{variant} {value:.3g}" for variant, value in row.seconds.items())
    return f"| {row.what} | {value} | {row.wanted} | {seconds} |"


def headline(arguments: argparse.Namespace) -> str:
    """Return one line that names the networks, the precision and the machine."""
    about = machine(arguments.device)
    device = f"{arguments.device} ({about['gpu']})" if "gpu" in about else arguments.device
    return (
        f"ViT-B/16 at 512 and SAM {arguments.sam_model} at 1024, {arguments.precision}, "
        f"{device}, {about['threads']} threads, {about['capability']}, "
        f"torch {about['torch']}"
    )
