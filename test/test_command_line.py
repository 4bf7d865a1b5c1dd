"""The command line without ROS, in a separate process or by its function."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros.known_scene import known_scene

from clip_surgery_ros.tools.cli import SUBCOMMANDS, main, without_ros_arguments

ROOT = Path(__file__).resolve().parent.parent


def clip_surgery(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clip_surgery_ros.tools.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


def found(line: str) -> bool:
    return line.startswith("  found ")


def test_segment_prints_found_and_absent_labels_and_draws_masks(tmp_path: Path) -> None:
    scene = known_scene()
    cv2.imwrite(str(tmp_path / "scene.png"), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
    absent = "wrench"
    query = f"{scene.names[-1]}; {absent}"
    done = clip_surgery("segment", "scene.png", query, "--output", "sub/out.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(found(line) and scene.names[-1] in line for line in lines)
    assert any(line.startswith("  not found") and absent in line for line in lines)
    assert "demo networks know the demo's generated scenes only" in done.stderr
    assert cv2.imread(str(tmp_path / "sub" / "out.png")).shape[1] > scene.image.shape[1]


def test_segment_accepts_several_templates_options(tmp_path: Path) -> None:
    scene = known_scene()
    cv2.imwrite(str(tmp_path / "scene.png"), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
    options = ("--templates", "single", "--templates", "the {} in the picture")
    done = clip_surgery("segment", *options, "scene.png", scene.names[-1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = clip_surgery("segment", "--templates", "no place", "scene.png", "mug", cwd=tmp_path)
    assert done.returncode != 0 and "'no place', but must have ensemble" in done.stderr


def test_compare_draws_every_attention_and_plain_clip(tmp_path: Path) -> None:
    scene = known_scene()
    cv2.imwrite(str(tmp_path / "scene.png"), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
    done = clip_surgery("compare", "scene.png", f"{scene.names[-1]}; banana", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["v-v", "k-k", "gem", "naclip"]
    assert scene.names[-1] in lines[0]
    picture = cv2.imread(str(tmp_path / "compare.png"))
    # Per label two rows of maps; then a row of points and a row of masks. Six 4:3 pictures a row.
    rows, columns = 2 * 2 + 2, 6
    assert picture.shape[:2] == (rows * (180 + 34), columns * (240 + 12))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nowhere.png", "mug"), "does not exist"),
        (("text.png", "mug"), "not a picture"),
        (("image.png", "mug", "--device", "cuda:9"), "CUDA devices"),
        (("image.png", "mug", "--clip-model", "ViT-B-16"), "clip_checkpoint is empty"),
        (("image.png", "a\x07b"), "control characters"),
        (("image.png", " ; "), "names nothing"),
        (("image.png", "mug", "--output", "text.png/out.png"), "text.png"),
    ],
)
def test_segment_prints_an_error_without_traceback(
    tmp_path: Path,
    arguments: tuple[str, ...],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((32, 32, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert main(["segment", *arguments]) == 2
    output = capfd.readouterr().err
    assert error in output
    assert "Traceback" not in output


def test_process_exits_with_status_2_after_an_error(tmp_path: Path) -> None:
    done = clip_surgery("segment", "nowhere.png", "mug", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("clip_surgery: nowhere.png does not exist")
    assert "Traceback" not in done.stderr


def test_help_names_every_subcommand(tmp_path: Path) -> None:
    done = clip_surgery("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name in SUBCOMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["list"], ["list"]),
        (["list", "--ros-args", "-r", "__ns:=/robot"], ["list"]),
        (["--ros-args", "-r", "__ns:=/robot", "--", "list"], ["list"]),
        (["--ros-args", "--", "list"], ["list"]),
    ],
)
def test_ros_arguments_are_removed(arguments: list[str], expected: list[str]) -> None:
    assert without_ros_arguments(arguments) == expected


def test_every_subcommand_is_installed_for_ros2_run() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    line = next(row for row in cmake.splitlines() if row.startswith("foreach(name "))
    assert line == f"foreach(name {' '.join(SUBCOMMANDS)})"
