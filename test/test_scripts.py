"""./demo and ./test.sh on machines with a missing tool: one error, and no environment."""

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
"""Much longer than any command here takes on a busy machine."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the scripts without an environment; make a folder with the commands of PATH."""
    for name in ("demo", "test.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "setup", tmp_path / "setup")
    commands = tmp_path / "commands"
    commands.mkdir()
    for tool in (*TOOLS, "git", "c++"):
        path = shutil.which(tool)
        assert path, tool
        (commands / tool).symlink_to(path)
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
def test_missing_tool_is_one_error(
    checkout: Path, script: str, missing: str, sentence: str
) -> None:
    (checkout / "commands" / missing).unlink()
    done = run(checkout, script)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def test_unsupported_python_is_one_error(checkout: Path) -> None:
    python = checkout / "commands" / "python3"
    python.unlink()
    python.write_text('#!/bin/bash\n[ "$1" = --version ] && echo "Python 3.8.10"\nexit 1\n')
    python.chmod(0o755)
    done = run(checkout, "demo")
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11 or 3.12 is needed, but Python 3.8.10 was")
    assert not (checkout / ".venv").exists()


def test_missing_python_headers_are_one_error(checkout: Path) -> None:
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
    """Run commands that use the functions of the set-up script."""
    return subprocess.run(
        ["bash", "-euc", f'. "{checkout}/setup/environment.sh"\n{commands}'],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_sourced_ros_is_found_in_any_folder(checkout: Path) -> None:
    ros = checkout / "ros"
    (ros / "share" / "rclpy").mkdir(parents=True)
    path = f"{checkout / 'overlay'}:{ros}"
    assert shell(checkout, "find_ros", AMENT_PREFIX_PATH=path).stdout == f"{ros}\n"


def test_environment_with_ros_from_wheels_is_no_sourced_ros(
    checkout: Path,
) -> None:
    wheels = checkout / "wheels"
    (wheels / "share" / "rclpy").mkdir(parents=True)
    (wheels / "pyvenv.cfg").touch()
    assert str(wheels) not in shell(checkout, "find_ros", AMENT_PREFIX_PATH=str(wheels)).stdout


def test_step_runs_again_only_if_its_stamp_changed(checkout: Path) -> None:
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


def test_failed_step_names_its_log_and_runs_again(checkout: Path) -> None:
    commands = """mkdir -p "$VENV/stamps"
        work() { echo "no route to host"; return 3; }
        step "some work" one work
        echo continued"""
    for _ in range(2):
        done = shell(checkout, commands)
        assert done.returncode == 1
        assert "continued" not in done.stdout
        assert "no route to host" in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith('Set-up failed at "some work"')
        assert str(checkout / ".venv" / "setup.log") in last


def test_failed_venv_step_removes_the_old_environment(
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


def test_interrupted_step_ends_its_processes(checkout: Path) -> None:
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


def test_python_in_the_checkout_finds_the_installed_package(
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
def test_unavailable_ros_distro_is_one_error(checkout: Path, script: str) -> None:
    done = run(checkout, script, ROS_DISTRO="humble")
    assert done.returncode == 1
    assert done.stderr.startswith("ROS_DISTRO is 'humble', but that ROS is not in /opt/ros")
    assert "these alone: jazzy kilted; take one" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def sourced_ros(folder: Path, distribution: str) -> Path:
    """Make the parts of an apt ROS prefix that the set-up reads."""
    (folder / "share" / "rclpy").mkdir(parents=True)
    for suffix in ("bash", "sh"):
        (folder / f"setup.{suffix}").write_text(
            f"export ROS_DISTRO={distribution}\n"
            f'export AMENT_PREFIX_PATH="{folder}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"\n'
        )
    return folder


def test_ros_distro_unlike_the_sourced_ros_is_an_error(checkout: Path) -> None:
    ros = sourced_ros(checkout / "ros", "jazzy")
    done = run(checkout, "demo", AMENT_PREFIX_PATH=str(ros), ROS_DISTRO="kilted")
    assert done.returncode == 1
    assert done.stderr == (
        f"ROS_DISTRO is 'kilted', but the ROS in force is 'jazzy' in {ros}; unset ROS_DISTRO, "
        "or start in a shell where that ROS is not sourced\n"
    )
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("environment", "chosen"), [({}, "jazzy"), ({"ROS_DISTRO": "kilted"}, "kilted")]
)
def test_ros_distro_chooses_the_wheels(
    checkout: Path, environment: dict[str, str], chosen: str
) -> None:
    done = shell(checkout, 'choose_wheels\necho "$ROS_WHEELS ${ROS_LIST##*/}"', **environment)
    assert done.stdout == f"{chosen} requirements-ros-{chosen}.txt\n"


def names(distribution: str) -> set[str]:
    """Return the packages in a distribution's list, without the distribution in their names."""
    lines = (ROOT / "setup" / f"requirements-ros-{distribution}.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in pinned)
    assert all(not name.startswith("ros-") or f"-{distribution}-" in name for name, _ in pinned)
    return {name.replace(f"-{distribution}-", "-") for name, _ in pinned}


def test_lists_of_wheels_have_the_same_packages() -> None:
    # Kilted uses CMake's own module to find Python, and has ament_cmake_ros_core as a package.
    assert names("jazzy") - names("kilted") == {"ros-python-cmake-module"}
    assert names("kilted") - names("jazzy") == {"ros-ament-cmake-ros-core"}


@pytest.mark.parametrize(
    ("installed", "removed"),
    [
        ("numpy==2.0\nros-jazzy-rclpy==7.1.6\nros-rclpy==7.1.6", "ros-jazzy-rclpy ros-rclpy"),
        ("numpy==2.0\nros-kilted-rclpy==9.1.2\nros-rclpy==9.1.2", ""),
        ("numpy==2.0", ""),
    ],
    ids=["another", "the same", "none"],
)
def test_wheels_of_another_ros_are_removed_before_installation(
    checkout: Path, installed: str, removed: str
) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/bash\n[ "$3" = freeze ] && echo "{installed}" || echo "$*" >>"{checkout}/calls"\n'
    )
    python.chmod(0o755)
    done = shell(checkout, "ROS_PREFIX=\nchoose_wheels\ninstall_build_tools", ROS_DISTRO="kilted")
    assert done.returncode == 0, done.stderr
    calls = (checkout / "calls").read_text().splitlines()
    uninstalled = f"-m pip uninstall --yes clip_surgery_ros {removed}"
    assert calls[:-1] == ([uninstalled] if removed else [])
    assert calls[-1] == f"-m pip install -r {checkout}/setup/requirements-ros-kilted.txt"


@pytest.mark.parametrize(
    ("distribution", "fast_dds", "variable"),
    [("jazzy", "fastrtps", "FASTRTPS"), ("kilted", "fastdds", "FASTDDS")],
)
def test_activate_sources_ros_from_apt(
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
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert variables["ROS_DISTRO"] == distribution
    assert variables["AMENT_PREFIX_PATH"] == f"{venv}:{ros}"
    assert variables["LD_LIBRARY_PATH"] == f"{venv}/lib:/mine"
    assert variables[f"{variable}_DEFAULT_PROFILES_FILE"] == f"{checkout}/config/fastdds.xml"


# pytest plugins of a sourced ROS


@pytest.fixture
def old_plugin(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Give an environment where pytest finds a plugin for versions before 9."""

    def make(name: str) -> dict[str, str]:
        site = tmp_path / "site"
        information = site / "old_plugin-3.4.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text("Name: old_plugin\nVersion: 3.4\n")
        (information / "entry_points.txt").write_text(f"[pytest11]\n{name} = old_plugin\n")
        # pytest 9 removed `path` from this hook; launch_testing uses it.
        (site / "old_plugin.py").write_text(
            "def pytest_pycollect_makemodule(path, parent):\n    return None\n"
        )
        # Without the variable that ./test.sh sets against such plugins.
        kept = {k: v for k, v in os.environ.items() if k != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
        return {**kept, "PYTHONPATH": str(site)}

    return make


def pytest_in(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run pytest with this project's configuration on a test that passes."""
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


def test_unknown_old_plugin_breaks_pytest(
    tmp_path: Path, old_plugin: Callable[[str], dict[str, str]]
) -> None:
    done = pytest_in(tmp_path, old_plugin("unknown_plugin"))
    assert done.returncode != 0
    assert "Argument(s) {'path'} are declared in the hookimpl" in done.stderr


@pytest.mark.parametrize(
    "name",
    ["launch_testing", "launch_pytest", "launch_ros", "launch_testing_ros_pytest_entry_point"],
)
def test_pytest_starts_with_old_launch_plugins(
    tmp_path: Path, old_plugin: Callable[[str], dict[str, str]], name: str
) -> None:
    done = pytest_in(tmp_path, old_plugin(name))
    assert done.returncode == 0, done.stderr
    assert "1 passed" in done.stdout


def test_test_script_starts_with_any_old_plugin(
    checkout: Path, old_plugin: Callable[[str], dict[str, str]]
) -> None:
    environment = old_plugin("unknown_plugin")
    commands = checkout / "commands"
    for name, command in (
        ("ruff", "true"),
        ("mypy", "true"),
        ("lint-imports", "true"),
        ("pytest", f"{sys.executable} -m pytest"),
    ):
        (commands / name).write_text(f'#!/bin/bash\nexec {command} "$@"\n')
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
