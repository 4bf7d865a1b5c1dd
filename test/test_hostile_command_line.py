"""Invalid command lines: one line of error, status 2, and no file written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from clip_surgery_ros.tools.cli import main

OPENAI = ("--clip-model", "openai", "--clip-checkpoint")
VIT_B = ("--sam-model", "vit_b", "--sam-checkpoint")
SEGMENT = ("segment", "image.png", "mug")
COMPARE = ("compare", "image.png", "mug")
SCENES = ("--sets", "single", "--count", "2")
FOLDER = ("calibrate", "--folder", "pictures", "--query", "mug")
SET = ("calibrate", "--set", "mixed")
TRAIN = ("train-demo", "clip", "views")

CASES: list[tuple[tuple[str, ...], str]] = [
    # The command line itself.
    ((), "the following arguments are required: SUBCOMMAND"),
    (("segmant", "image.png", "mug"), "invalid choice: 'segmant' (choose from 'segment'"),
    (("--nothing",), "required: SUBCOMMAND"),
    (("segment",), "required: image, query"),
    (("segment", "image.png"), "required: query"),
    (("compare", "image.png"), "required: query"),
    (("segment", "image.png", "mug", "banana"), "unrecognized arguments: banana"),
    ((*SEGMENT, "--nothing"), "unrecognized arguments: --nothing"),
    ((*SEGMENT, "--output"), "expected one argument"),
    (("weights",), "required: action"),
    (("train-demo",), "required: network"),
    # Pictures.
    (("segment", "none.png", "mug"), "none.png does not exist"),
    (("segment", "pictures", "mug"), "pictures"),
    (("segment", "text.png", "mug"), "text.png"),
    (("segment", "empty.png", "mug"), "empty.png"),
    (("segment", "", "mug"), "image is empty, but must name"),
    (("segment", "x" * 300 + ".png", "mug"), "File name too long"),
    (("compare", "none.png", "mug"), "none.png does not exist"),
    (("compare", "text.png", "mug"), "text.png"),
    # Queries.
    (("segment", "image.png", ""), "names nothing; try 'mug; banana'"),
    (("segment", "image.png", " ;,\n"), "names nothing"),
    (("segment", "image.png", "a\x07b"), "control characters"),
    (("compare", "image.png", ";"), "names nothing"),
    (("calibrate", "--folder", "pictures", "--query", ";"), "names nothing"),
    (("calibrate", "--folder", "pictures", "--query", "a\x07b"), "control characters"),
    # Outputs.
    ((*SEGMENT, "--output", ""), "--output is empty, but must name"),
    ((*SEGMENT, "--output", "pictures"), "pictures is a folder; name the file in it"),
    ((*SEGMENT, "--output", "text.png/out.png"), "text.png is not a folder"),
    ((*SEGMENT, "--output", "text.png/deep/out.png"), "text.png is not a folder"),
    ((*SEGMENT, "--output", "out"), "take an ending such as .png"),
    ((*SEGMENT, "--output", "out.xyz"), "take an ending such as .png"),
    ((*SEGMENT, "--output", "image.png"), "image.png is also the input"),
    ((*SEGMENT, "--output", "link.png"), "link.png is also the input"),
    ((*SEGMENT, "--output", "/proc/out.png"), "/proc cannot be written"),
    ((*SEGMENT, "--output", "dangling/out.png"), "dangling is not a folder"),
    ((*COMPARE, "--output", "image.png"), "image.png is also the input"),
    ((*COMPARE, "--output", "out.xyz"), "take an ending such as .png"),
    ((*COMPARE, "--output", "text.png/out.png"), "text.png is not a folder"),
    (("evaluate", *SCENES, "--output", "text.png"), "text.png is not a folder"),
    (("evaluate", *SCENES, "--output", "text.png/out"), "text.png is not a folder"),
    (("evaluate", *SCENES, "--output", ""), "--output is empty"),
    ((*FOLDER, "--output", "text.png"), "text.png is not a folder"),
    ((*FOLDER, "--output", "pictures"), "pictures is also the input"),
    ((*SET, "--output", "/proc/out"), "/proc"),
    (("benchmark", "--only", "labels", "--output", "text.png"), "text.png is not a folder"),
    ((*TRAIN, "text.png/out.pt"), "text.png is not a folder"),
    ((*TRAIN, "pictures"), "pictures is a folder; name the file in it"),
    (("train-demo", "sam", "views", "text.png/out.pt"), "text.png is not a folder"),
    (("train-demo", "export", "clip.pt", "clip.pt", "text.png"), "text.png is not a folder"),
    # Networks and the method.
    ((*SEGMENT, "--device", "cuda:9"), "CUDA devices"),
    ((*SEGMENT, "--device", "tpu"), "device is 'tpu', but must be auto, cpu or cuda:N"),
    ((*SEGMENT, "--precision", "half"), "'precision' is 'half', but must be one of"),
    ((*SEGMENT, "--precision", "float16", "--device", "cpu"), "float16 is for GPUs"),
    ((*SEGMENT, "--attention", "kk"), "did you mean 'k-k'?"),
    ((*SEGMENT, "--recipe", "instance"), "did you mean 'instances'?"),
    ((*SEGMENT, "--clip-model", "ViT-B/16"), "did you mean 'openai/ViT-B-16' or"),
    ((*SEGMENT, "--clip-model", "ViT-B-16-openai"), "did you mean 'openai/ViT-B-16'?"),
    ((*SEGMENT, "--sam-model", "vit-b"), "did you mean 'vit_b'?"),
    ((*SEGMENT, "--clip-model", "ViT-B/16", "--clip-checkpoint", "clip.pt"), "'ViT-B-16'"),
    ((*SEGMENT, *OPENAI, "none.pt"), "none.pt does not exist"),
    ((*SEGMENT, *OPENAI, "text.png"), "text.png is none of .safetensors"),
    ((*SEGMENT, *OPENAI, "text.pt"), "text.pt is text, not weights"),
    ((*SEGMENT, *OPENAI, "pictures"), "pictures has no weight file"),
    ((*SEGMENT, *OPENAI, "clip.pt"), "not CLIP weights in OpenAI's layout"),
    ((*SEGMENT, *VIT_B, "none.pth"), "none.pth does not exist"),
    ((*SEGMENT, *VIT_B, "pictures"), "pictures has no weight file"),
    ((*SEGMENT, *VIT_B, "text.pt"), "text.pt is text, not weights"),
    ((*SEGMENT, "--sam-checkpoint", "none.pth"), "set sam_model to the checkpoint's network"),
    ((*SEGMENT, *OPENAI, "clip.pt", "--clip-sha256", "xyz"), "8 to 64 hexadecimal digits"),
    ((*SEGMENT, *OPENAI, "clip.pt", "--clip-sha256", "0" * 8), "but 00000000 was expected"),
    ((*SEGMENT, "--clip-input-size", "-1"), "'clip_input_size' is -1, but must be 0 to 2048"),
    ((*SEGMENT, "--min-area", "0"), "'min_area' is 0, but must be at least 1"),
    ((*SEGMENT, "--min-area", "1.5"), "--min-area: invalid int value: '1.5'"),
    ((*SEGMENT, "--presence-threshold", "nan"), "must be 0 to 1"),
    ((*SEGMENT, "--presence-threshold", "x"), "invalid float value: 'x'"),
    ((*SEGMENT, "--threshold", "inf"), "'threshold' is inf, but must be a finite number"),
    ((*SEGMENT, "--templates", "no place"), "'no place', but must have ensemble"),
    ((*SEGMENT, "--label-thresholds", "mug"), "label_thresholds has"),
    # Inputs of evaluate and calibrate.
    (("evaluate", "--sets", "nothing"), "invalid choice: 'nothing'"),
    (("evaluate", "--split", "x"), "invalid choice: 'x'"),
    (("evaluate", "--count", "0"), "--count is 0, but at least one picture"),
    (("evaluate", "--count", "-3"), "--count is -3, but at least one picture"),
    (("evaluate", "--count", "many"), "--count is many"),
    (("evaluate", "--coco", "x.json"), "give both"),
    (("evaluate", "--objects", "x", "--sets", "mixed"), "--sets is about generated scenes"),
    (("evaluate", "--voc", "x", "--sets", "mixed"), "--sets is about generated scenes"),
    (("evaluate", "--space", "--objects", "x"), "--objects is not about objects in space"),
    (("evaluate", "--space", "--scenes", "0"), "--scenes is 0, but at least one scene"),
    (("evaluate", "--space", "--output", "text.png"), "text.png is not a folder"),
    (("evaluate", "--scenes", "3"), "--scenes is about objects in space; add --space"),
    (("evaluate", "--sequences", "--objects", "x"), "--objects is not about ids that last"),
    (("evaluate", "--sequences", "walk"), "walk"),
    (("evaluate", "--sequences", "--space"), "--space and --sequences measure two things"),
    (("evaluate", "--sequences", "--output", "text.png"), "text.png is not a folder"),
    (("evaluate", "--masks", "pipeline"), "--masks is about objects in space and ids that last"),
    (("calibrate", "--voc", "x", "--objects", "y"), "name the pictures by one of"),
    (("evaluate", "--coco", "", "--images", "pictures"), "--coco is empty"),
    (("evaluate", "--coco", "x.json", "--images", "y", "--voc", "z"), "one after the other"),
    (("evaluate", "--coco", "none.json", "--images", "pictures", "--count", "1"), "none.json"),
    (("evaluate", "--voc", "none", "--count", "1"), "none"),
    (("calibrate",), "name the pictures by one of"),
    (("calibrate", "--folder", "pictures"), "needs --query"),
    (("calibrate", "--folder", "none", "--query", "mug"), "none: No such file"),
    (("calibrate", "--folder", "image.png", "--query", "mug"), "image.png: Not a directory"),
    (("calibrate", "--folder", "nothing", "--query", "mug"), "nothing has no .jpg"),
    (("calibrate", "--folder", "", "--query", "mug"), "--folder is empty"),
    ((*FOLDER, "--topic", "/x"), "for a --bag"),
    ((*FOLDER, "--bag", "x"), "name the pictures by one of"),
    ((*FOLDER, "--output", "out"), "text.png"),  # one of the files is not a picture
    (
        ("calibrate", "--bag", "none", "--query", "mug"),
        "the bag none cannot be read: it does not exist",
    ),
    (("calibrate", "--bag", "image.png", "--query", "mug"), "image.png is no bag"),
    (("calibrate", "--bag", "pictures", "--query", "mug"), "pictures is no bag"),
    ((*SET, "--query", "mug"), "leave --query out"),
    ((*SET, "--count", "0"), "--count is 0"),
    ((*SET, "--false-alarms", "1"), "--false-alarms is 1.0"),
    ((*SET, "--false-alarms", "nan"), "--false-alarms is nan"),
    ((*SET, "--false-alarms", "x"), "invalid float value: 'x'"),
    (("calibrate", "--set", "nothing"), "invalid choice: 'nothing'"),
    # The benchmark.
    (("benchmark", "--only"), "expected at least one argument"),
    (("benchmark", "--only", "nothing"), "invalid choice: 'nothing'"),
    (("benchmark", "--rounds", "0"), "--rounds is 0, but must be a whole number of at least 1"),
    (("benchmark", "--rounds", "x"), "--rounds is x"),
    (("benchmark", "--threads", "-1"), "--threads is -1"),
    (("benchmark", "--ros-seconds", "0"), "--ros-seconds is 0, but must be a number above 0"),
    (("benchmark", "--ros-seconds", "nan"), "--ros-seconds is nan"),
    (("benchmark", "--ros-seconds", "inf"), "--ros-seconds is inf"),
    (("benchmark", "--precision", "float16", "--device", "cpu"), "float16 is for GPUs"),
    (("benchmark", "--sam-model", "demo"), "invalid choice: 'demo'"),
    (("benchmark", "--only", "labels", "--device", "cuda:9"), "CUDA devices"),
    (("benchmark", "--only", "labels", "--device", "tpu"), "must be auto, cpu or cuda:N"),
    # Pretrained networks.
    (("weights", "nothing"), "invalid choice: 'nothing'"),
    (("weights", "fetch"), "required: NAME"),
    (("weights", "fetch", "other"), "there is no network 'other'"),
    (("weights", "fetch", "ViT-B/16"), "did you mean 'openai/ViT-B-16' or"),
    (("weights", "fetch", "vit-b"), "did you mean 'vit_b'?"),
    (("weights", "fetch", "sam_vit_b_01ec64"), "did you mean 'vit_b'?"),
    (("weights", "fetch", "mobile_sam"), "did you mean 'vit_t'?"),
    (("weights", "fetch", "vit_b", "vit_l", "--mirror", "x"), "one network at a time"),
    (("weights", "fetch", "vit_b", "--mirror", "x"), "x cannot be fetched: unknown url type"),
    (("weights", "fetch", "vit_b", "--mirror", "file:///none"), "file:///none cannot be fetched"),
    (("weights", "fetch", "vit_b", "--mirror", "http://[::1"), "cannot be fetched"),
    (("weights", "path", "vit_b"), "`clip_surgery weights fetch vit_b` downloads them"),
    (("weights", "verify", "vit_b"), "`clip_surgery weights fetch vit_b` downloads them"),
    (("weights", "verify", "vit-b"), "did you mean 'vit_b'?"),
    # Training.
    ((*TRAIN,), "required: checkpoint"),
    ((*TRAIN, "out.pt", "--steps", "0"), "--steps is 0"),
    ((*TRAIN, "out.pt", "--batch", "0"), "--batch is 0"),
    ((*TRAIN, "out.pt", "--rate", "nan"), "--rate is nan"),
    ((*TRAIN, "out.pt", "--threads", "0"), "--threads is 0"),
    ((*TRAIN, "out.pt", "--seed", "-1"), "--seed is -1"),
    ((*TRAIN, "out.pt", "--validate-every", "0"), "--validate-every is 0"),
    ((*TRAIN, "out.pt", "--resume", "none.pt"), "none.pt does not exist"),
    ((*TRAIN, "out.pt", "--resume", "text.pt"), "text.pt is text"),
    (
        (*TRAIN, "out.pt", "--resume", "junk.pt"),
        "junk.pt is damaged, or not a checkpoint of `train-demo`",
    ),
    ((*TRAIN, "out.pt", "--resume", "clip.pt"), "clip.pt is not of this network: it lacks step"),
    (
        ("train-demo", "sam", "views", "out.pt", "--resume", "trained.pt"),
        "trained.pt is not of this",
    ),
    ((*TRAIN, "out.pt", "--side", "100"), "--side"),
    ((*TRAIN, "out.pt"), "views lacks scene 0 of the train views; run `clip_surgery"),
    (("train-demo", "views", "text.png/views"), "text.png is not a folder"),
    (("train-demo", "views", "views", "--scenes", "0"), "--scenes is 0"),
    (("train-demo", "export", "none.pt", "none.pt", "out"), "none.pt does not exist"),
    (("train-demo", "export", "trained.pt", "trained.pt", "out"), "trained.pt is not of this"),
    (("train-demo", "ranking", "--scenes", "0"), "--scenes is 0"),
    (("train-demo", "card", "--scenes", "x"), "--scenes is x"),
]


@pytest.fixture(scope="module")
def input_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with one picture and many invalid files."""
    folder = tmp_path_factory.mktemp("input")
    cv2.imwrite(str(folder / "image.png"), np.zeros((32, 32, 3), np.uint8))
    for name in ("text.png", "text.pt"):
        (folder / name).write_text("no picture, and no weights")
    (folder / "empty.png").touch()
    (folder / "link.png").symlink_to("image.png")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "nothing").mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "text.png").write_text("no picture")
    torch.save({"a.weight": torch.zeros(2)}, folder / "clip.pt")
    trained = {"step": 1, "seconds": 1.0, "model": {"a.weight": torch.zeros(2)}, "optims": []}
    torch.save(trained, folder / "trained.pt")
    (folder / "junk.pt").write_bytes(b"\x80" + np.random.default_rng(0).bytes(500))
    return folder


def contents(folder: Path) -> list[tuple[str, bytes]]:
    """Return the paths in a folder with their contents."""
    files = sorted(path for path in folder.rglob("*"))
    return [(str(path), path.read_bytes() if path.is_file() else b"") for path in files]


@pytest.mark.parametrize(
    ("arguments", "message"), CASES, ids=[" ".join(arguments)[:60] for arguments, _ in CASES]
)
def test_invalid_command_line_prints_one_error_and_writes_nothing(
    arguments: tuple[str, ...],
    message: str,
    input_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(input_folder)
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    before = contents(input_folder)

    status = main(arguments)

    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if not line.startswith(("note: ", "vit_b: licence"))]
    assert status == 2
    assert len(errors) == 1
    assert errors[0].startswith("clip_surgery")
    assert message in errors[0]
    assert contents(input_folder) == before


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.roll(noise, 9 * number, axis=1))
    return tmp_path / "0.png"


@contextmanager
def limited_file_size(max_bytes: int) -> Iterator[None]:
    """Limit the size of files, so that writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITING = {
    "segment": lambda folder, out: [
        "segment",
        f"{folder}/0.png",
        "mug",
        "--output",
        f"{out}/o.png",
    ],
    "calibrate": lambda folder, out: [
        *("calibrate", "--folder", str(folder), "--query", "hammer", "--output", str(out))
    ],
    "benchmark": lambda folder, out: [
        *("benchmark", "--only", "start", "--rounds", "1", "--output", str(out))
    ],
}


@pytest.mark.parametrize("subcommand", WRITING)
def test_full_disk_leaves_no_partial_output(
    subcommand: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "made" / "out"
    arguments = WRITING[subcommand](scene.parent, out)
    with limited_file_size(100):
        assert main(arguments) == 2
    assert "File too large" in capsys.readouterr().err.splitlines()[-1]
    assert not out.parent.exists()


@pytest.mark.parametrize("subcommand", WRITING)
def test_new_output_folder_is_reported_and_old_files_are_replaced(
    subcommand: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "made" / "out"
    arguments = WRITING[subcommand](scene.parent, out)
    assert main(arguments) == 0
    assert f"made the folder {out}" in capsys.readouterr().err
    written = {file.name for file in out.iterdir()}
    for file in out.iterdir():
        file.write_bytes(b"old content")
    assert main(arguments) == 0
    assert "made the folder" not in capsys.readouterr().err
    assert {file.name for file in out.iterdir()} == written
    assert all(file.read_bytes() != b"old content" for file in out.iterdir())


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "clip_surgery_ros.tools.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})


def test_interrupted_benchmark_keeps_its_measured_rows(tmp_path: Path) -> None:
    process = start("benchmark", "--only", "labels", "end-to-end", "--output", str(tmp_path))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("| feature surgery, memory added by 1000 labels"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    assert len(content["rows"]) >= 5
    assert content["complete"] is False


def test_benchmark_without_working_ros_ends_with_an_error(tmp_path: Path) -> None:
    environment = {**os.environ, "RMW_IMPLEMENTATION": "rmw_missing"}
    process = start(
        "benchmark", "--only", "ros", "--output", str(tmp_path / "out"), env=environment
    )
    output, errors = process.communicate()
    assert process.returncode == 2
    assert "ROS is installed here but does not start" in errors
    assert "enter its environment" in errors
    assert len(errors.splitlines()) == 1
    assert output == ""
    assert not (tmp_path / "out").exists()


def test_closed_output_pipe_is_no_error() -> None:
    process = start("weights", "list")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_full_output_device_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        process = start("weights", "list", stdout=full)
        _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.splitlines() == ["clip_surgery: No space left on device"]
