"""``clip_surgery fit``: presence, ranking and score from samples, and the whole command."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from clip_surgery_ros.core.ranking import FEATURES, RankingModel
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.evaluation.annotated import DatasetError
from clip_surgery_ros.evaluation.fit_samples import MaskSamples, PictureSamples, SampleFolder
from clip_surgery_ros.evaluation.fitting import fit_logistic, fit_ranking
from clip_surgery_ros.evaluation.metrics import wilson
from clip_surgery_ros.evaluation.named_pictures import named_examples
from clip_surgery_ros.evaluation.outcome import Outcome
from clip_surgery_ros.evaluation.profile_fit import calibration_of, fit, is_held_out
from clip_surgery_ros.networks.profiles import read_profile
from clip_surgery_ros.tools.cli import main

RNG = np.random.default_rng(0)


def picture_samples(
    present: float, absent: float, labels: int = 40, token_help: float = 0.0
) -> list[PictureSamples]:
    """Return samples of labels whose cosine with CLS is about one of two values."""
    there = np.arange(labels) % 2 == 0
    cls = np.where(there, present, absent) + RNG.normal(0, 0.02, labels)
    token = 0.5 + token_help * there + RNG.normal(0, 0.02, labels)
    cosines = np.stack([cls, token], axis=1).astype(np.float32)
    return [
        PictureSamples(row[None], flag[None], ()) for row, flag in zip(cosines, there, strict=True)
    ]


def test_presence_follows_the_cosines_of_the_pictures() -> None:
    samples = picture_samples(present=0.30, absent=0.22, labels=2000)
    fitted = fit(samples, Settings())
    level = fitted.presence
    assert fitted.pictures == 2000 and fitted.ranking is None
    assert level.offset is not None and level.scale > 50
    middle = level.offset - level.peak_weight * 0.5
    assert middle == pytest.approx(0.26, abs=0.01)


def test_tokens_count_where_they_tell_more_and_never_against_a_label() -> None:
    helped = fit(picture_samples(0.26, 0.25, 2000, token_help=0.1), Settings()).presence
    misled = fit(picture_samples(0.30, 0.22, 2000, token_help=-0.1), Settings()).presence
    assert helped.peak_weight > 1
    assert misled.peak_weight == 0 and misled.scale > 0


def test_labels_that_are_told_apart_without_error_have_a_finite_scale() -> None:
    level = fit(picture_samples(0.9, 0.1, 200), Settings()).presence
    assert 0 < level.scale < 1000


def test_too_few_labels_and_swapped_names_are_refused() -> None:
    with pytest.raises(DatasetError, match="19 labels that are there and 19 that are not"):
        fit(picture_samples(0.3, 0.2, labels=38), Settings())
    with pytest.raises(DatasetError, match="check that names and pictures belong together"):
        fit(picture_samples(present=0.2, absent=0.3, labels=400), Settings())


def test_ranking_moves_from_the_weights_in_force_to_what_the_pictures_say() -> None:
    features = RNG.random((3000, len(FEATURES)))
    true = np.zeros((len(FEATURES), len(FEATURES)))
    true[0, 0], true[1, 2] = 0.6, 0.3
    overlaps = np.einsum("mf,fg,mg->m", features, true, features)
    now = RankingModel().weights
    assert np.abs(fit_ranking(features[:0], overlaps[:0], now) - now).max() < 1e-6
    few, many = (fit_ranking(features[:n], overlaps[:n], now) for n in (100, 3000))
    errors = [
        np.abs(np.einsum("mf,fg,mg->m", features, w, features) - overlaps).mean()
        for w in (now, few, many)
    ]
    assert errors[2] < 0.5 * errors[1] < 0.5 * errors[0]


def test_a_score_of_outcomes_without_error_stays_near_what_is_in_force() -> None:
    x = np.linspace(0, 1, 50)
    offset, scale = fit_logistic(x, x > 0.5, towards=(-3.0, 6.0), penalty=1.0)
    assert math.isfinite(offset) and 6 < scale < 30


def masks_of(quality: Sequence[float], overlaps: Sequence[Sequence[float]]) -> MaskSamples:
    """Return candidates of a click each, whose masks do not touch."""
    count = len(quality)
    masks = np.zeros((count, 4 * count, 4), np.bool_)
    features = np.zeros((count, len(FEATURES)), np.float32)
    for row in range(count):
        masks[row, 4 * row : 4 * row + 3, :3] = True
    features[:, 0], features[:, -1] = quality, 1
    prompts = np.arange(count)
    return MaskSamples(True, prompts, features, masks, np.array(overlaps, np.float32))


def test_scores_are_fitted_to_how_often_chosen_masks_are_objects() -> None:
    """Of a network whose estimates are too high, the score falls."""
    pictures = [
        PictureSamples(
            each.cosines,
            each.present,
            (masks_of([0.9, 0.6], [[float(number % 2)] * 1, [0.0]]),),
        )
        for number, each in enumerate(picture_samples(0.3, 0.2, 200))
    ]
    ranking = fit(pictures, Settings()).ranking
    assert ranking is not None
    quality = ranking.predicted_iou(pictures[0].masks[0].features)
    assert quality[0] > quality[1]
    assert ranking.probability_correct(float(quality[0]), False) == pytest.approx(0.5, abs=0.1)


def outcome(score: float, right: bool, present: bool) -> Outcome:
    return Outcome(
        label_ious=(),
        instance_ious=(),
        peak_inside=(),
        scores=(score,),
        true_positives=(right,),
        presence=(0.9 if present else 0.2,),
        present=(present,),
        found=(True,) if present else (),
        false_alarms=() if present else (False,),
        instance_sizes=(),
        first_right=(),
    )


def test_calibration_has_the_worse_ends_of_its_intervals() -> None:
    outcomes = [outcome(0.8, number % 5 != 0, number % 2 == 0) for number in range(200)]
    found = calibration_of(outcomes, pictures=800)
    assert (found.pictures, found.held_out) == (800, 200)
    assert 0.0 < found.score_error < 0.08  # 80 % are right
    assert 0.15 < found.presence_error < 0.2
    assert found.found == pytest.approx(wilson(100, 100)[0])
    assert found.false_alarms == pytest.approx(wilson(0, 100)[1])
    assert "fitted on 800 pictures; on 200 others: score to 0.0" in found.sentence
    without = calibration_of([outcome(0.8, True, True)], 1)
    assert without.false_alarms == 1.0


def test_a_fifth_of_the_pictures_is_held_out_whatever_the_turns_of_sets() -> None:
    held_out = [number for number in range(2000) if is_held_out(number)]
    assert 350 < len(held_out) < 450
    assert all(sum(number % 5 == k for number in held_out) > 50 for k in range(5))


def test_samples_are_kept_and_damaged_ones_are_computed_again(tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path, "pair")
    samples = PictureSamples(
        np.ones((3, 2), np.float32), np.array([True, False, True]), (masks_of([0.5], [[0.7]]),)
    )
    assert folder.read(4) is None
    folder.write(4, samples)
    found = folder.read(4)
    assert found is not None and found.masks[0].all_labels is True
    assert np.array_equal(found.masks[0].masks, samples.masks[0].masks)
    assert np.array_equal(found.cosines, samples.cosines)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-20])
    assert folder.read(4) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "it is not an object"),
        ('{"a.png": "mug"}', "a.png has 'mug' instead of a list"),
        ('{"a.png": [""]}', "instead of a list"),
        ("{", "is no list of names"),
        ('{"a.png": []}', "names nothing in any picture"),
    ],
)
def test_files_of_names_that_are_none_are_refused(
    content: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "names.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match=reason):
        named_examples(file, 10)


def test_names_alone_tell_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    file = tmp_path / "names.json"
    file.write_text('{"a.png": ["mug", "mug", "plate"], "b.png": ["saw"]}')
    example = next(iter(named_examples(file, 10)))
    assert example.image.shape == (20, 30, 3)
    assert example.present == ("mug", "plate") and example.absent == ("saw",)
    assert example.masks == ()


@pytest.mark.slow
def test_the_command_fits_resumes_and_is_used_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    output = tmp_path / "fit"
    command = ["fit", "--sets", "mixed", "--count", "14", "--output", str(output)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    (file,) = (tmp_path / "home" / "profiles").iterdir()
    profile = read_profile(file)
    held_out = sum(is_held_out(number) for number in range(14))
    assert profile.calibration.pictures == 14 - held_out
    assert profile.calibration.held_out == held_out
    assert profile.calibration.sentence in printed and f"wrote {file}" in printed
    assert {"evaluation.md", "reliability.png"} <= {each.name for each in output.iterdir()}

    kept = {each: each.stat().st_mtime_ns for each in (output / "samples").iterdir()}
    first = file.read_bytes()
    assert main(command) == 0
    assert {each: each.stat().st_mtime_ns for each in (output / "samples").iterdir()} == kept
    again = read_profile(file)  # drawn towards the first fit, from the same samples
    assert again.presence.scale == pytest.approx(profile.presence.scale, rel=1e-3)
    assert json.loads(first)["clip"] == json.loads(file.read_bytes())["clip"]

    assert main([*command, "--clip-windows", "never"]) == 2
    assert "has samples of other networks, parameters or pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "name the pictures by one of --coco, --voc, --objects, "),
        (["--sets", "mixed", "--voc", "x"], "name the pictures by one of"),
        (["--names", "n.json", "--objects", "o"], "name the pictures by one of"),
        (["--coco", "a.json"], "give both"),
        (
            ["--sets", "mixed", "--recipe", "reference"],
            "ranks no masks, so there is nothing to fit",
        ),
        (["--names", "missing.json"], "missing.json"),
    ],
)
def test_contradictory_options_are_refused(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["fit", *options, "--output", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
