"""Commands that need no network answer fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ros.harness import children_s

from clip_surgery_ros.benchmark.measurements import MEASUREMENTS, choose, measurement
from clip_surgery_ros.evaluation import conditions
from clip_surgery_ros.tools.truth import CONDITIONS, SETS
from clip_surgery_ros.world import sets

HEAVY = (
    *("torch", "open_clip", "transformers", "segment_anything", "cv2", "matplotlib", "scipy"),
    *("rclpy", "sensor_msgs", "rosbags"),
)
"""Packages whose import takes longer than such a command may."""
FAST_COMMANDS = (
    ["--help"],
    ["segment", "--help"],
    ["compare", "--help"],
    ["evaluate", "--help"],
    ["calibrate", "--help"],
    ["benchmark", "--help"],
    ["train-demo", "clip", "--help"],
    ["weights", "list"],
    ["weights", "fetch", "nothing"],
    ["weights", "verify"],
    ["nothing"],
    ["segment"],
    ["segment", "picture.png", " ; "],
    ["segment", "picture.png", "mug", "--sam-model", "nothing"],
    ["calibrate", "--folder", "x"],
    ["benchmark", "--rounds", "0"],
)
RUN = """
import json, sys
from clip_surgery_ros.tools.cli import main
heavy, commands = json.loads(sys.argv[1])
found = {}
for command in commands:
    main(command)
    found[" ".join(command)] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""
CPU_S = 0.5
"""Limit for the processor time of one command; other processes do not count."""


def test_help_lists_and_errors_import_no_heavy_package(tmp_path: Path) -> None:
    arguments = json.dumps([HEAVY, FAST_COMMANDS])
    done = subprocess.run(
        [sys.executable, "-c", RUN, arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout.splitlines()[-1])
    assert imported == {" ".join(command): [] for command in FAST_COMMANDS}


def test_table_of_parameters_does_not_import_torch() -> None:
    code = "import clip_surgery_ros.parameters.config, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def processor_seconds(command: list[str]) -> float:
    """Run a command; return its processor time in seconds."""
    before_s = children_s()
    subprocess.run(command, capture_output=True, check=True)
    return children_s() - before_s


@pytest.mark.parametrize("arguments", [["--help"], ["weights", "list"]], ids=" ".join)
def test_fast_command_takes_less_than_half_a_second(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "clip_surgery_ros.tools.cli", *arguments]
    assert min(processor_seconds(command) for _ in range(3)) < CPU_S


def test_names_in_options_exist() -> None:
    assert tuple(sets.SETS) == SETS
    assert tuple(conditions.CONDITIONS) == CONDITIONS
    assert all(callable(measurement(name)) for name in MEASUREMENTS)


@pytest.mark.parametrize("package", ["embreex", "manifold3d"])
def test_benchmark_leaves_the_world_out_where_it_cannot_be_rendered(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = (package, "rclpy")  # without rclpy ROS is not probed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name not in missing or None)
    assert "world" not in choose(None)
    assert f"world is left out because {package} is missing" in capsys.readouterr().err
    assert choose(["world"]) == ["world"]  # which then says what to install
