"""Runs the commands of the README's first steps as written, in an empty environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from ros.harness import MIDDLEWARE_LOG, ROOT, START_S
from ros.known_scene import known_scene

from clip_surgery_ros.ros.wheels import TRANSPORT_CHOICES, enter

PRESENT, ABSENT = "teapot", "wrench"
"""The labels in the README's commands."""
PROFILE = Path("share") / "clip_surgery_ros" / "config" / "fastdds.xml"
Terminal = Callable[[str], subprocess.Popen[str]]


def commands(step: str) -> str:
    """Return the commands of a step of the README."""
    text = (ROOT / "README.md").read_text()
    part = text.split(f"<!-- {step} -->")[1].split(f"<!-- /{step} -->")[0]
    return re.search(r"```\n(.*?)```", part, re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with the parts of a checkout that the steps use, and a photo."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "clip_surgery_ros").symlink_to(ROOT / "clip_surgery_ros")
    bgr = cv2.cvtColor(known_scene().image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "photo.png"), bgr)
    return tmp_path


@pytest.fixture
def terminal(folder: Path, ros_context: object) -> Iterator[Terminal]:
    """Start commands in a shell whose environment has only the home folder, the system's commands
    and the test's own ROS domain, so that no other node answers.
    """
    started: list[subprocess.Popen[str]] = []
    domain = {n: os.environ[n] for n in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}

    def run(script: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                ["/bin/bash", "-ec", script],
                cwd=folder,
                env={"HOME": str(folder), "PATH": "/usr/bin:/bin", **domain},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # to signal the shell and its commands together
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=START_S)


def output_of(process: subprocess.Popen[str]) -> str:
    """Return the output of a process that must succeed."""
    output, _ = process.communicate(timeout=START_S)
    assert process.returncode == 0, output
    return output


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    """Read lines until one contains this text."""
    guard = threading.Timer(START_S, os.killpg, (process.pid, signal.SIGTERM))
    guard.start()
    lines: list[str] = []
    while not lines or (lines[-1] and part not in lines[-1]):
        lines.append(process.stdout.readline())
    guard.cancel()
    assert part in lines[-1], "".join(lines)


def check_answer(output: str) -> None:
    """The output says found and not found for the two labels."""
    assert re.search(rf"^  found +{PRESENT} ", output, re.MULTILINE), output
    assert re.search(rf"^  not found +{ABSENT} ", output, re.MULTILINE), output


@pytest.mark.slow
def test_readme_commands_segment_a_picture(terminal: Terminal, folder: Path) -> None:
    output = output_of(terminal(commands("a picture")))
    check_answer(output)
    assert cv2.imread(str(folder / "found.png")) is not None


@pytest.mark.slow
def test_readme_node_answers_a_query_from_another_terminal(terminal: Terminal) -> None:
    wait_for_line(terminal(commands("the node")), "active on")
    check_answer(output_of(terminal(commands("a query"))))


@pytest.mark.slow
def test_commands_run_by_path_without_activated_environment(
    terminal: Terminal,
) -> None:
    wait_for_line(terminal(".venv/bin/clip_surgery_node"), "active on")
    output = output_of(terminal(f".venv/bin/clip_surgery ask '{PRESENT}' --image photo.png"))
    assert re.search(rf"^  found +{PRESENT} ", output, re.MULTILINE), output


@pytest.mark.slow
def test_python_in_the_checkout_runs_the_installed_module(terminal: Terminal) -> None:
    node = terminal(
        ". .venv/bin/activate\npython -m clip_surgery_ros.node.main --ros-args -p device:=gpu"
    )
    output, _ = node.communicate(timeout=START_S)
    # Fast DDS may log that another process holds a port; it says so in colours.
    lines = [line for line in output.splitlines() if not MIDDLEWARE_LOG.search(line)]
    assert lines == [
        "clip_surgery: device is 'gpu', but must be auto, cpu or cuda:N, with N a whole number "
        "such as 0 or 1"
    ]
    assert node.returncode == 2


# The environment variables that each Python process sets when ROS comes from wheels.


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    """Make a Python environment that contains ROS."""
    path = tmp_path / "env"
    (path / "share" / "rclpy").mkdir(parents=True)
    return str(path)


def test_enter_sets_prefix_path_and_dds_profile(prefix: str) -> None:
    environment = {"HOME": "/home/somebody"}
    enter(environment, prefix)
    assert environment == {
        "HOME": "/home/somebody",
        "AMENT_PREFIX_PATH": prefix,
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(Path(prefix) / PROFILE),
    }
    before = dict(environment)
    enter(environment, prefix)  # as in a child process
    assert environment == before


def test_profile_variable_fits_the_fast_dds_version(prefix: str) -> None:
    (Path(prefix) / "share" / "fastdds").mkdir()
    environment: dict[str, str] = {}
    enter(environment, prefix)
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(Path(prefix) / PROFILE)
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in environment


def test_overlay_workspace_stays_first_in_the_prefix_path(prefix: str) -> None:
    environment = {"AMENT_PREFIX_PATH": "/ws/install/b:/ws/install/a"}
    enter(environment, prefix)
    assert environment["AMENT_PREFIX_PATH"] == f"/ws/install/b:/ws/install/a:{prefix}"


def test_sourced_ros_keeps_the_prefix_path(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "ros" / "share" / "rclpy").mkdir(parents=True)
    environment = {"AMENT_PREFIX_PATH": f"/ws/install/a:{tmp_path / 'ros'}"}
    before = environment["AMENT_PREFIX_PATH"]
    enter(environment, prefix)
    assert environment["AMENT_PREFIX_PATH"] == before


@pytest.mark.parametrize("choice", TRANSPORT_CHOICES)
def test_transport_chosen_by_the_user_is_kept(prefix: str, choice: str) -> None:
    environment = {choice: "chosen"}
    enter(environment, prefix)
    assert {
        name: environment[name] for name in environment if "DDS" in name or "RTPS" in name
    } == {choice: "chosen"}
