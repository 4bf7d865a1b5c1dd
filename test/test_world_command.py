"""``clip_surgery world``, and what reads its files or the same models."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from model_writer import write_glb, write_obj

from clip_surgery_ros.core.run_lengths import run_lengths
from clip_surgery_ros.evaluation.coco import coco_examples
from clip_surgery_ros.evaluation.model_scenes import model_examples
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.models import load_models

SCENES = 2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two scenes of two models; a third is in millimetres."""
    folder = tmp_path_factory.mktemp("world")
    write_obj(folder / "models" / "025_mug" / "google_16k" / "textured.obj")
    write_glb(folder / "models" / "toy_drill.glb", (0.06, 0.12, 0.05))
    write_obj(folder / "models" / "large" / "model.obj", (101, 80, 60))
    table = {"025_mug": {"synonyms": ["cup"], "symmetric": True}}
    (folder / "models" / "objects.json").write_text(json.dumps(table))
    options = ["--objects", str(folder / "models"), "--scenes", str(SCENES)]
    assert main(["world", *options, "--out", str(folder / "out")]) == 0
    return folder / "out"


def image(folder: Path, name: str) -> np.ndarray:
    return cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)


def test_each_scene_has_a_picture_depth_ids_and_truth(written: Path) -> None:
    for index in range(SCENES):
        name = f"{index:05d}"
        truth = json.loads((written / f"{name}.json").read_text())
        ids = image(written, f"{name}_ids.png")
        exact, measured = (
            image(written, f"{name}_{kind}_depth.png") for kind in ("exact", "measured")
        )
        assert image(written, f"{name}.png").shape == (480, 640, 3)
        assert ids.shape == exact.shape == measured.shape == (480, 640)
        assert exact.dtype == measured.dtype == np.uint16
        assert (exact > 0).all()
        assert 0 < (measured == 0).mean() < 0.5
        assert {one["name"] for one in truth["objects"]} <= {"mug", "toy drill"}
        matrix = np.array(truth["camera_matrix"])
        to_world = np.array(truth["camera_to_world"])
        for one in truth["objects"]:
            seen = ids == one["instance"]
            assert seen.sum() == one["pixels"]
            y, x = np.nonzero(seen)
            rays = np.linalg.inv(matrix) @ np.stack([x, y, np.ones(len(x))])
            points = to_world[:3, :3] @ (rays * exact[seen] * truth["depth_unit"])
            upright = one["upright"]
            pose = np.array(upright["pose"])
            local = pose[:3, :3].T @ (points.T + to_world[:3, 3] - pose[:3, 3]).T
            assert (np.abs(local.T) < np.array(upright["size"]) / 2 + 0.002).all()


def test_truth_has_what_objects_json_says(written: Path) -> None:
    truth = json.loads((written / "00000.json").read_text())
    for one in truth["objects"]:
        assert one["symmetric"] == (one["name"] == "mug")
        assert one["synonyms"] == (["cup"] if one["name"] == "mug" else [])


def test_evaluation_reads_the_annotations(written: Path) -> None:
    examples = list(coco_examples(written / "annotations.json", written, 10))
    assert len(examples) == SCENES
    for index, example in enumerate(examples):
        ids = image(written, f"{index:05d}_ids.png")
        truth = json.loads((written / f"{index:05d}.json").read_text())
        assert set(example.names) <= {"mug", "toy drill"}
        instances = {one["instance"]: one["name"] for one in truth["objects"]}
        for name, mask in zip(example.names, example.masks, strict=True):
            (instance,) = set(ids[mask])
            assert instances[instance] == name
            assert (mask == (ids == instance)).all()


def test_there_is_a_sheet_to_look_at(written: Path) -> None:
    sheet = image(written, "sheet.png")
    assert sheet.shape == (300, 400 * SCENES, 3)
    assert sheet.std() > 10


def test_models_that_cannot_be_used_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_obj(tmp_path / "models" / "large" / "model.obj", (101, 80, 60))
    (tmp_path / "models" / "broken.glb").write_bytes(b"glTF")
    out = tmp_path / "out"
    assert main(["world", "--objects", str(tmp_path / "models"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "left out: " in said
    assert 'files in mm want "scale": 0.001' in said
    assert "broken.glb is damaged" in said
    assert "none of the 2 models" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objects", "nothing"], "nothing is not a folder of models"),
        (["--scenes", "0"], "--scenes is 0"),
        (["--objects", ".", "--out", "."], "is also the input"),
    ],
)
def test_wrong_options_are_refused_in_words(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["world", *options]) == 2
    assert message in capsys.readouterr().err


def test_without_models_the_worlds_own_objects_are_rendered(tmp_path: Path) -> None:
    assert main(["world", "--scenes", "1", "--seed", "3", "--out", str(tmp_path / "out")]) == 0
    (example,) = coco_examples(tmp_path / "out" / "annotations.json", tmp_path / "out", 1)
    assert example.names


def test_run_lengths_begin_with_zeros() -> None:
    assert run_lengths(np.zeros((2, 3), bool)) == [6]
    assert run_lengths(np.ones((2, 3), bool)) == [0, 6]
    assert run_lengths(np.array([[False, True], [False, False]])) == [2, 1, 1]


NAMES = ("box", "book", "brick", "block", "soap", "sponge", "phone", "stapler", "cheese", "bread")


def test_evaluate_and_calibrate_render_scenes_of_the_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        write_obj(tmp_path / "models" / name / "model.obj", (0.15, 0.1, 0.08))
    objects = ["--objects", str(tmp_path / "models"), "--device", "cpu"]
    report = tmp_path / "report"
    assert main(["evaluate", *objects, "--count", "1", "--output", str(report)]) == 0
    printed = capsys.readouterr().out
    assert f"10 models: {', '.join(sorted(NAMES))}" in printed
    figures = json.loads((report / "evaluation.json").read_text())["sets"]
    assert set(figures) == {"models"}
    options = ["--count", "3", "--false-alarms", "0.4", "--output", str(tmp_path / "thresholds")]
    assert main(["calibrate", *objects, *options]) == 0
    assert (tmp_path / "thresholds" / "thresholds.yaml").exists()


def test_examples_of_models_have_the_truth_of_their_scenes(tmp_path: Path) -> None:
    for name in NAMES:
        write_obj(tmp_path / name / "model.obj", (0.15, 0.1, 0.08))
    models, _ = load_models(tmp_path)
    first, second = model_examples(models, "held_out", 2)
    (other,) = model_examples(models, "development", 1)
    again = next(model_examples(models, "held_out", 1))
    assert (first.image == again.image).all() and first.absent == again.absent
    assert not (first.image == other.image).all() and not (first.image == second.image).all()
    for example in (first, second, other):
        assert set(example.present) == set(example.names) <= set(NAMES)
        assert example.absent and not set(example.absent) & set(example.names)
        masks = np.stack(example.masks)
        assert (masks.sum(axis=0) <= 1).all() and not (masks & example.ignored).any()
        assert masks.reshape(len(masks), -1).sum(axis=1).min() >= 24 * 24


def test_a_folder_of_models_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mug").mkdir()
    (tmp_path / "mug" / "model.glb").write_bytes(b"no model")
    assert main(["evaluate", "--objects", str(tmp_path)]) == 2
    assert "none of the 1 models of" in capsys.readouterr().err
