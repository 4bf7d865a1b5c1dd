"""The list of measurements by name. Importing it imports no network and no ROS."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError

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
    "judging": "judging:judging",
    "tracks": "tracks:tracks",
    "sizes": "sweeps:sizes",
    "agreement": "rows:precision_agreement",
    "start": "rows:start",
    "busy": "busy:busy_machine",
    "memory": "rows:peak_memory",
    "space": "space:objects_in_space",
    "world": "world:world_rates",
    "recorded": "recorded:recorded_bags",
    "label": "labelling:workers_of_label",
    "search": "search:search",
    "ros": "ros_io:ros_in_and_out",
    "node": "ros_io:node_over_pipeline",
    "models": "models:models",
    "gpu-frames": "gpu:frames",
    "gpu-encoders": "gpu:encoders",
    "gpu-waits": "gpu:waits",
    "gpu-memory": "gpu:memory",
    "exactness": "gpu:exactness",
}
"""For each name that ``--only`` takes: a module of this package and its function, which makes rows
from a setting. The table in ``docs/performance.md`` quotes the names of the rows."""
NEED_ROS = ("ros", "node", "recorded", "label")
_ROS = "ros, node, recorded and label"
RENDERING = ("embreex", "manifold3d")
"""Packages without which the world cannot be rendered."""
EXTRAS: Mapping[str, tuple[str, ...]] = {"world": RENDERING, "search": ("faiss",)}
"""Packages that a measurement needs, and that are installed on request only."""
ON_REQUEST = ("models", "gpu-frames", "gpu-encoders", "gpu-waits", "gpu-memory", "exactness")
"""Measured only when named: the first compares networks with each other, not packages; the others
are for GPUs."""

PROBE = """
import rclpy
from ament_index_python.packages import get_package_share_directory
get_package_share_directory("clip_surgery_ros")
rclpy.init()
rclpy.create_node("probe").destroy_node()
rclpy.shutdown()
"""
"""The first steps of the processes that are measured over ROS."""
PROBE_S = 60.0
"""Far more than the probe takes, even on a busy machine."""


def measurement(name: str) -> Callable[[Setting], Iterable[Row]]:
    """Import and return the function of a measurement."""
    module, _, function = MEASUREMENTS[name].partition(":")
    measure: Callable[[Setting], Iterable[Row]] = getattr(
        import_module(f"clip_surgery_ros.benchmark.{module}"), function
    )
    return measure


def choose(requested: Sequence[str] | None) -> list[str]:
    """Return the names to measure: the requested ones, else all that this machine can measure.

    :raises ConfigError: when ROS is requested but missing, or is installed but does not start.
    """
    names = list(requested or (name for name in MEASUREMENTS if name not in ON_REQUEST))
    for name, packages in EXTRAS.items():
        missing = [package for package in packages if not importlib.util.find_spec(package)]
        if missing and not requested:
            print(f"note: {name} is left out because {missing[0]} is missing", file=sys.stderr)
            names.remove(name)
    if not set(names) & set(NEED_ROS):
        return names
    if not importlib.util.find_spec("rclpy"):
        if requested:
            raise ConfigError(f"{_ROS} need ROS, which is missing; leave them out of --only")
        print(f"note: {_ROS} are left out because ROS is missing", file=sys.stderr)
        return [name for name in names if name not in NEED_ROS]
    probe = [sys.executable, "-c", PROBE]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=PROBE_S, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        raise ConfigError(
            f"ROS is installed here but does not start ({reason}); enter its environment (source "
            "its setup.bash, or activate), or use --only to measure without "
            f"{_ROS}"
        )
    return names


def machine(device: str = "cpu") -> dict[str, str | int]:
    """Return what the values depend on: processor, its instructions, threads, torch and GPU.

    :param device: torch device that is measured.
    """
    import torch

    gpu = {} if device == "cpu" else {"gpu": str(torch.cuda.get_device_name(device))}
    return {
        **gpu,
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
