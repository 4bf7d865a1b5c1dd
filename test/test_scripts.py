"""./demo and ./test.sh on machines that lack something: one clear sentence, and nothing done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
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


def run(checkout: Path, script: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [str(checkout / script)],
        env={**kept, "PATH": str(checkout / "commands")},
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
    assert done.stderr.startswith("Python 3.11 or 3.12 is needed, but Python 3.8.10 is what")
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
