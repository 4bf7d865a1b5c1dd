"""What the README tells a newcomer to do next, as it is written, from an empty environment."""

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
import numpy as np
import pytest
from ros.harness import MIDDLEWARE_LOG, ROOT, START_S

from clip_surgery_ros.ros.wheels import TRANSPORT_CHOICES, enter
from clip_surgery_ros.world.scenes import SPLITS, SceneGenerator, SceneStyle

THERE, ABSENT = "banana", "hammer"
"""What the README asks for."""
PROFILE = Path("share") / "clip_surgery_ros" / "config" / "fastdds.xml"
Terminal = Callable[[str], subprocess.Popen[str]]


def commands(step: str) -> str:
    """The commands of one of the README's steps."""
    text = (ROOT / "README.md").read_text()
    part = text.split(f"<!-- {step} -->")[1].split(f"<!-- /{step} -->")[0]
    return re.search(r"```\n(.*?)```", part, re.DOTALL)[1]


def scene_with_one_of_them() -> np.ndarray:
    """A held-out scene that shows the one and not the other."""
    generator = SceneGenerator(SceneStyle(size_hw=(480, 640)))
    scenes = map(generator.scene, SPLITS["held_out"])
    return next(one.image for one in scenes if THERE in one.names and ABSENT not in one.names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout as far as the steps need one, and a photo."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "clip_surgery_ros").symlink_to(ROOT / "clip_surgery_ros")
    bgr = cv2.cvtColor(scene_with_one_of_them(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "photo.png"), bgr)
    return tmp_path


@pytest.fixture
def terminal(folder: Path, ros_context: object) -> Iterator[Terminal]:
    """Starts commands in a shell that knows its home and the system's commands, and no more than
    a ROS domain of the test's own beside them, so that nobody else's node answers.
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
                start_new_session=True,  # a shell's commands end with it
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=START_S)


def printed(process: subprocess.Popen[str]) -> str:
    """What commands printed that ended well."""
    output, _ = process.communicate(timeout=START_S)
    assert process.returncode == 0, output
    return output


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    """Read until a line has this text."""
    guard = threading.Timer(START_S, os.killpg, (process.pid, signal.SIGTERM))
    guard.start()
    lines: list[str] = []
    while not lines or (lines[-1] and part not in lines[-1]):
        lines.append(process.stdout.readline())
    guard.cancel()
    assert part in lines[-1], "".join(lines)


def check_answer(output: str) -> None:
    """The one is found and the other is not."""
    assert re.search(rf"^  found +{THERE} ", output, re.MULTILINE), output
    assert re.search(rf"^  not found +{ABSENT} ", output, re.MULTILINE), output


@pytest.mark.slow
def test_a_picture_of_one_s_own_is_looked_at(terminal: Terminal, folder: Path) -> None:
    output = printed(terminal(commands("a picture")))
    check_answer(output)
    assert cv2.imread(str(folder / "found.png")) is not None


@pytest.mark.slow
def test_a_node_in_one_terminal_answers_a_query_from_another(terminal: Terminal) -> None:
    wait_for_line(terminal(commands("the node")), "active on")
    check_answer(printed(terminal(commands("a query"))))


@pytest.mark.slow
def test_a_command_that_is_called_by_its_path_needs_no_activated_environment(
    terminal: Terminal,
) -> None:
    wait_for_line(terminal(".venv/bin/clip_surgery_node"), "active on")
    output = printed(terminal(f".venv/bin/clip_surgery ask '{THERE}' --image photo.png"))
    assert output.startswith(f"  found      {THERE}")


@pytest.mark.slow
def test_in_the_checkout_the_module_that_is_run_is_the_installed_one(terminal: Terminal) -> None:
    node = terminal(
        ". .venv/bin/activate\npython -m clip_surgery_ros.node.main --ros-args -p device:=gpu"
    )
    output, _ = node.communicate(timeout=START_S)
    # Fast DDS may log that another process holds a port; it says so in colours.
    lines = [line for line in output.splitlines() if not MIDDLEWARE_LOG.search(line)]
    assert lines == ["clip_surgery: device is 'gpu', but must be auto, cpu or cuda:N"]
    assert node.returncode == 2


# What every Python of an environment with ROS from wheels begins with.


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    """An environment with ROS in it."""
    path = tmp_path / "env"
    (path / "share" / "rclpy").mkdir(parents=True)
    return str(path)


def test_an_environment_names_its_ros_and_its_profile(prefix: str) -> None:
    environment = {"HOME": "/home/somebody"}
    enter(environment, prefix)
    assert environment == {
        "HOME": "/home/somebody",
        "AMENT_PREFIX_PATH": prefix,
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(Path(prefix) / PROFILE),
    }
    before = dict(environment)
    enter(environment, prefix)  # a process that another starts
    assert environment == before


def test_the_profile_s_variable_is_that_of_the_fast_dds_in_use(prefix: str) -> None:
    (Path(prefix) / "share" / "fastdds").mkdir()
    environment: dict[str, str] = {}
    enter(environment, prefix)
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(Path(prefix) / PROFILE)
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in environment


def test_a_workspace_that_overlays_it_comes_first(prefix: str) -> None:
    environment = {"AMENT_PREFIX_PATH": "/ws/install/b:/ws/install/a"}
    enter(environment, prefix)
    assert environment["AMENT_PREFIX_PATH"] == f"/ws/install/b:/ws/install/a:{prefix}"


def test_a_ros_that_is_sourced_stays_the_only_one(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "ros" / "share" / "rclpy").mkdir(parents=True)
    environment = {"AMENT_PREFIX_PATH": f"/ws/install/a:{tmp_path / 'ros'}"}
    before = environment["AMENT_PREFIX_PATH"]
    enter(environment, prefix)
    assert environment["AMENT_PREFIX_PATH"] == before


@pytest.mark.parametrize("choice", TRANSPORT_CHOICES)
def test_a_transport_that_was_chosen_stays(prefix: str, choice: str) -> None:
    environment = {choice: "chosen"}
    enter(environment, prefix)
    assert {
        name: environment[name] for name in environment if "DDS" in name or "RTPS" in name
    } == {choice: "chosen"}
