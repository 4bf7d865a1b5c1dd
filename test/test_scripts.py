"""./demo and ./test.sh on machines that lack something: one clear sentence, and nothing done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "cat", "cut", "dirname", "find", "ls", "mkdir", "rm", "sha256sum", "tail", "wc")
DEADLINE_S = 180.0
"""Far more than anything here takes, also beside other work on the machine."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts without an environment, and a folder of commands to be the whole PATH."""
    for name in ("demo", "test.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "setup", tmp_path / "setup")
    commands = tmp_path / "commands"
    commands.mkdir()
    for tool in (*TOOLS, "git", "c++"):
        found = shutil.which(tool)
        assert found, tool
        (commands / tool).symlink_to(found)
    (commands / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return tmp_path


def run(checkout: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [str(checkout / script)],
        env={**kept, "PATH": str(checkout / "commands"), **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.mark.parametrize("script", ["demo", "test.sh"])
@pytest.mark.parametrize(
    ("missing", "sentence"),
    [("c++", "A C++ compiler is needed"), ("git", "git is needed")],
)
def test_a_missing_tool_is_one_sentence(
    checkout: Path, script: str, missing: str, sentence: str
) -> None:
    (checkout / "commands" / missing).unlink()
    done = run(checkout, script)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def test_an_unsupported_python_is_one_sentence(checkout: Path) -> None:
    python = checkout / "commands" / "python3"
    python.unlink()
    python.write_text('#!/bin/bash\n[ "$1" = --version ] && echo "Python 3.8.10"\nexit 1\n')
    python.chmod(0o755)
    done = run(checkout, "demo")
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11 or 3.12 is needed, but Python 3.8.10 was")
    assert not (checkout / ".venv").exists()


def test_missing_headers_of_python_are_one_sentence(checkout: Path) -> None:
    python = checkout / "commands" / "python3"
    real = python.resolve()
    python.unlink()
    python.write_text(
        f'#!/bin/bash\ncase "$*" in *Python.h*) exit 1 ;; esac\nexec "{real}" "$@"\n'
    )
    python.chmod(0o755)
    done = run(checkout, "demo")
    assert done.returncode == 1
    assert done.stderr.startswith("Python's headers are needed")
    assert len(done.stderr.splitlines()) == 1


def shell(checkout: Path, commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Commands that use the functions of the set-up script."""
    return subprocess.run(
        ["bash", "-euc", f'. "{checkout}/setup/environment.sh"\n{commands}'],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_a_sourced_ros_is_found_wherever_it_is(checkout: Path) -> None:
    ros = checkout / "elsewhere"
    (ros / "share" / "rclpy").mkdir(parents=True)
    path = f"{checkout / 'overlay'}:{ros}"
    assert shell(checkout, "find_ros", AMENT_PREFIX_PATH=path).stdout == f"{ros}\n"


def test_an_environment_with_ros_from_wheels_is_not_taken_for_a_sourced_ros(
    checkout: Path,
) -> None:
    wheels = checkout / "wheels"
    (wheels / "share" / "rclpy").mkdir(parents=True)
    (wheels / "pyvenv.cfg").touch()
    assert str(wheels) not in shell(checkout, "find_ros", AMENT_PREFIX_PATH=str(wheels)).stdout


def test_a_step_runs_again_only_when_what_it_depends_on_changed(checkout: Path) -> None:
    count = checkout / "count"
    done = shell(
        checkout,
        f"""mkdir -p "$VENV/stamps"
        work() {{ echo run >>"{count}"; }}
        step "some work" one work
        step "some work" one work
        step "some work" two work""",
    )
    assert done.returncode == 0, done.stderr
    assert count.read_text().splitlines() == ["run", "run"]


def test_a_step_that_fails_names_itself_and_the_log_and_is_tried_again(checkout: Path) -> None:
    commands = """mkdir -p "$VENV/stamps"
        work() { echo "no route to host"; return 3; }
        step "some work" one work
        echo went on"""
    for _ in range(2):
        done = shell(checkout, commands)
        assert done.returncode == 1
        assert "went on" not in done.stdout
        assert "no route to host" in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith('Set-up failed at "some work"')
        assert str(checkout / ".venv" / "setup.log") in last


def test_a_failure_to_make_the_environment_is_told_though_an_old_one_is_cleared_away(
    checkout: Path,
) -> None:
    old = checkout / ".venv" / "lib" / "left_over.py"
    old.parent.mkdir(parents=True)
    old.touch()
    python = checkout / "commands" / "broken_python"
    python.write_text('#!/bin/bash\necho "no space left: $2"\nexit 1\n')
    python.chmod(0o755)
    done = shell(checkout, f'PY="{python}" ROS_PREFIX=\nstep environment one make_venv')
    assert done.returncode == 1
    assert "no space left: venv" in done.stderr
    assert done.stderr.splitlines()[-1].startswith('Set-up failed at "environment"')
    assert not old.exists()


def test_interrupting_a_step_ends_its_processes(checkout: Path) -> None:
    note = checkout / "worker"
    script = f"""mkdir -p "$VENV/stamps"
        work() {{ echo $BASHPID >"{note}.new"; mv "{note}.new" "{note}"; sleep 300; }}
        step "some work" one work"""
    process = subprocess.Popen(
        ["bash", "-euc", f'. "{checkout}/setup/environment.sh"\n{script}'],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        worker = int(note.read_text())
        process.terminate()
        assert process.wait(timeout=DEADLINE_S) == 130
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{worker}").exists()
        assert not (checkout / ".venv" / "stamps" / "some work").exists()
    finally:
        process.kill()


def test_in_the_checkout_python_finds_the_installed_package_not_the_sources(
    checkout: Path,
) -> None:
    sources = checkout / "clip_surgery_ros"
    sources.mkdir()
    (sources / "__init__.py").touch()
    code = "import clip_surgery_ros; print(clip_surgery_ros.__file__)"
    done = shell(checkout, f'cd "{checkout}"\nenter\n"{sys.executable}" -c "{code}"')
    assert done.returncode == 0, done.stderr
    assert not done.stdout.startswith(str(checkout))


# Which ROS


@pytest.mark.parametrize("script", ["demo", "test.sh"])
def test_a_ros_that_is_not_there_and_has_no_wheels_is_one_sentence(
    checkout: Path, script: str
) -> None:
    done = run(checkout, script, ROS_DISTRO="humble")
    assert done.returncode == 1
    assert done.stderr.startswith("ROS_DISTRO is 'humble', but that ROS is not in /opt/ros")
    assert "these alone: jazzy kilted; take one" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def sourced_ros(folder: Path, distribution: str) -> Path:
    """A ROS prefix as apt has it, as far as the set-up looks."""
    (folder / "share" / "rclpy").mkdir(parents=True)
    for suffix in ("bash", "sh"):
        (folder / f"setup.{suffix}").write_text(
            f"export ROS_DISTRO={distribution}\n"
            f'export AMENT_PREFIX_PATH="{folder}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"\n'
        )
    return folder


def test_another_ros_than_the_sourced_one_is_not_taken_in_silence(checkout: Path) -> None:
    ros = sourced_ros(checkout / "ros", "jazzy")
    done = run(checkout, "demo", AMENT_PREFIX_PATH=str(ros), ROS_DISTRO="kilted")
    assert done.returncode == 1
    assert done.stderr == (
        f"ROS_DISTRO is 'kilted', but the ROS in force is 'jazzy' in {ros}; unset ROS_DISTRO, "
        "or start in a shell where that ROS is not sourced\n"
    )
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("asked", "taken"), [({}, "jazzy"), ({"ROS_DISTRO": "kilted"}, "kilted")])
def test_ros_distro_chooses_the_wheels(checkout: Path, asked: dict[str, str], taken: str) -> None:
    done = shell(checkout, 'choose_wheels\necho "$ROS_WHEELS ${ROS_LIST##*/}"', **asked)
    assert done.stdout == f"{taken} requirements-ros-{taken}.txt\n"


def names(distribution: str) -> set[str]:
    """What a distribution's list installs, by the name without the distribution's."""
    lines = (ROOT / "setup" / f"requirements-ros-{distribution}.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in pinned)
    assert all(not name.startswith("ros-") or f"-{distribution}-" in name for name, _ in pinned)
    return {name.replace(f"-{distribution}-", "-") for name, _ in pinned}


def test_both_lists_of_wheels_have_the_same_packages() -> None:
    # Kilted finds Python by CMake's own module, and split the core of ament_cmake_ros off.
    assert names("jazzy") - names("kilted") == {"ros-python-cmake-module"}
    assert names("kilted") - names("jazzy") == {"ros-ament-cmake-ros-core"}


@pytest.mark.parametrize(
    ("installed", "removed"),
    [
        ("numpy==2.0\nros-jazzy-rclpy==7.1.6\nros-rclpy==7.1.6", "ros-jazzy-rclpy ros-rclpy"),
        ("numpy==2.0\nros-kilted-rclpy==9.1.2\nros-rclpy==9.1.2", ""),
        ("numpy==2.0", ""),
    ],
    ids=["of another", "of this one", "none yet"],
)
def test_wheels_of_another_ros_are_removed_before_this_one_s_are_unpacked(
    checkout: Path, installed: str, removed: str
) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/bash\n[ "$3" = freeze ] && echo "{installed}" || echo "$*" >>"{checkout}/did"\n'
    )
    python.chmod(0o755)
    done = shell(checkout, "ROS_PREFIX=\nchoose_wheels\ninstall_build_tools", ROS_DISTRO="kilted")
    assert done.returncode == 0, done.stderr
    did = (checkout / "did").read_text().splitlines()
    uninstalled = f"-m pip uninstall --yes clip_surgery_ros {removed}"
    assert did[:-1] == ([uninstalled] if removed else [])
    assert did[-1] == f"-m pip install -r {checkout}/setup/requirements-ros-kilted.txt"


@pytest.mark.parametrize(
    ("distribution", "fast_dds", "variable"),
    [("jazzy", "fastrtps", "FASTRTPS"), ("kilted", "fastdds", "FASTDDS")],
)
def test_beside_ros_from_apt_activating_the_environment_sources_it_too(
    checkout: Path, distribution: str, fast_dds: str, variable: str
) -> None:
    ros, venv = sourced_ros(checkout / "ros", distribution), checkout / ".venv"
    (ros / "share" / fast_dds).mkdir()
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "activate").touch()
    assert shell(checkout, f'ROS_PREFIX="{ros}"\ncomplete_activate').returncode == 0
    done = subprocess.run(
        ["/bin/bash", "-euc", f'. "{venv}/bin/activate"\nenv'],
        env={"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": "/mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    entered = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert entered["ROS_DISTRO"] == distribution
    assert entered["AMENT_PREFIX_PATH"] == f"{venv}:{ros}"
    assert entered["LD_LIBRARY_PATH"] == f"{venv}/lib:/mine"
    assert entered[f"{variable}_DEFAULT_PROFILES_FILE"] == f"{checkout}/config/fastdds.xml"


# Plugins of pytest that a sourced ROS brings


@pytest.fixture
def old_plugin(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Environment in which pytest finds a plugin that is written for pytest before 9."""

    def make(name: str) -> dict[str, str]:
        site = tmp_path / "site"
        information = site / "old_plugin-3.4.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text("Name: old_plugin\nVersion: 3.4\n")
        (information / "entry_points.txt").write_text(f"[pytest11]\n{name} = old_plugin\n")
        # `path` is gone from this hook since pytest 9; launch_testing's asks for it.
        (site / "old_plugin.py").write_text(
            "def pytest_pycollect_makemodule(path, parent):\n    return None\n"
        )
        # Without what ./test.sh sets against it.
        kept = {k: v for k, v in os.environ.items() if k != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
        return {**kept, "PYTHONPATH": str(site)}

    return make


def pytest_in(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Pytest with this project's configuration on a test that passes."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "test").mkdir(exist_ok=True)
    (folder / "test" / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stand_in_plugin_does_not_start_with_this_pytest(
    tmp_path: Path, old_plugin: Callable[[str], dict[str, str]]
) -> None:
    done = pytest_in(tmp_path, old_plugin("a_name_that_nobody_knows"))
    assert done.returncode != 0
    assert "Argument(s) {'path'} are declared in the hookimpl" in done.stderr


@pytest.mark.parametrize(
    "name",
    ["launch_testing", "launch_pytest", "launch_ros", "launch_testing_ros_pytest_entry_point"],
)
def test_pytest_starts_beside_launch_s_plugins(
    tmp_path: Path, old_plugin: Callable[[str], dict[str, str]], name: str
) -> None:
    done = pytest_in(tmp_path, old_plugin(name))
    assert done.returncode == 0, done.stderr
    assert "1 passed" in done.stdout


def test_the_test_script_starts_beside_any_plugin(
    checkout: Path, old_plugin: Callable[[str], dict[str, str]]
) -> None:
    environment = old_plugin("a_name_that_nobody_knows")
    commands = checkout / "commands"
    for name, does in (
        ("ruff", "true"),
        ("mypy", "true"),
        ("lint-imports", "true"),
        ("pytest", f"{sys.executable} -m pytest"),
    ):
        (commands / name).write_text(f'#!/bin/bash\nexec {does} "$@"\n')
        (commands / name).chmod(0o755)
    (checkout / "setup" / "environment.sh").write_text(
        f'ROOT="{checkout}"\nset_up() {{ PATH="{commands}:$PATH"; }}\n'
    )
    (checkout / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    done = subprocess.run(
        [str(checkout / "test.sh"), "test_nothing.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 passed" in done.stdout
