"""Processes of a machine choose the same kernels, so that their results have the same bits."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from clip_surgery_ros.arithmetic.timing import choices, fastest, use_choices
from clip_surgery_ros.networks.same_kernels import FILE, load_with_same_kernels
from clip_surgery_ros.parameters.config import Config

CPU = torch.device("cpu")


def quick() -> None:
    """Take no time."""


def slow() -> None:
    """Take a millisecond."""
    time.sleep(0.001)


def test_choice_stays_in_a_process() -> None:
    assert fastest("stays", {quick: quick, slow: slow}, CPU) is quick
    assert fastest("stays", {quick: slow, slow: quick}, CPU) is quick
    assert choices()["stays"] == "quick"


def test_choice_of_another_process_is_taken_where_it_works() -> None:
    use_choices({"taken": "slow", "missing": "other"})
    assert fastest("taken", {quick: quick, slow: slow}, CPU) is slow
    assert fastest("missing", {quick: quick, slow: slow}, CPU) is quick


def test_first_process_writes_choices_that_others_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    config = Config.from_values({"device": "cpu"})
    load_with_same_kernels(config)
    file = tmp_path / "home" / FILE
    ((machine, chosen),) = json.loads(file.read_text()).items()
    assert any(name.startswith("SAM's attention") for name in chosen)
    file.write_text(json.dumps({machine: {"of another network": "slow"}}))
    load_with_same_kernels(config)
    assert choices()["of another network"] == "slow"
    merged = json.loads(file.read_text())[machine]
    assert merged == {**chosen, **merged, "of another network": "slow"}


@pytest.mark.parametrize("content", ["", "[1]", '{"machine": 3}', "{"])
def test_damaged_file_of_choices_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    (tmp_path / FILE).write_text(content)
    load_with_same_kernels(Config.from_values({"device": "cpu"}))
    assert len(json.loads((tmp_path / FILE).read_text())) == 1


def test_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "file" / "home"))
    load_with_same_kernels(Config.from_values({"device": "cpu"}))
    assert "choice of kernels cannot be kept" in caplog.text
