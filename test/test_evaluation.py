"""Evaluation: outcomes, metrics and intervals by hand; COCO and VOC folders; the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from ros.known_scene import recorded_scenes

from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Segment
from clip_surgery_ros.evaluation.annotated import DatasetError
from clip_surgery_ros.evaluation.coco import coco_examples
from clip_surgery_ros.evaluation.conditions import CONDITIONS
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.metrics import (
    METRICS,
    Bootstrap,
    auroc,
    calibration_error,
    of_sizes,
    reliability,
)
from clip_surgery_ros.evaluation.outcome import Outcome, match_objects, outcome_of
from clip_surgery_ros.evaluation.report import report_of
from clip_surgery_ros.evaluation.report_files import markdown
from clip_surgery_ros.evaluation.voc import voc_examples
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.objects import NAMES

SIZE = (8, 12)
POINTS = PointPrompts(np.zeros((1, 2), np.int32), np.ones(1, np.bool_))


def block(x: int, y: int, width: int, height: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def segment(label: int, name: str, score: float, box: tuple[int, int, int, int]) -> Segment:
    whole = Box(*box)
    mask = np.ones((whole.height, whole.width), np.bool_)
    return Segment(1, label, name, score, score, 0.5, 0.5, whole, mask, POINTS)


def answer(truth: Example, segments: list[Segment], peak: tuple[int, int]) -> FrameResult:
    count = len(truth.queried)
    similarity = np.zeros((count, *SIZE), np.float32)
    similarity[:, peak[1], peak[0]] = 1
    presence = np.linspace(0.9, 0.1, count, dtype=np.float32)
    return FrameResult(
        query_of(truth.queried), SIZE, similarity, presence, presence, presence, tuple(segments)
    )


def picture() -> NDArray[np.uint8]:
    return np.zeros((*SIZE, 3), np.uint8)


def test_outcome_of_hand_made_segments() -> None:
    """Two mugs, one found with a mask of twice its size; a missed saw; an absent car."""
    truth = Example.of_objects(
        picture(),
        ["mug", "mug", "saw"],
        [block(0, 0, 2, 4), block(8, 0, 4, 4), block(0, 5, 3, 3)],
        ["car"],
    )
    found = [
        segment(0, "mug", 0.6, (0, 0, 4, 4)),
        segment(0, "mug", 0.9, (4, 4, 2, 2)),
        segment(2, "car", 0.3, (0, 0, 2, 2)),
    ]
    outcome = outcome_of(truth, answer(truth, found, peak=(1, 6)))
    # Intersection 8; union: 20 predicted and 24 true pixels, less 8.
    assert outcome.label_ious == pytest.approx((8 / (20 + 24 - 8), 0))
    assert outcome.instance_ious == pytest.approx((0.5, 0, 0))
    assert outcome.peak_inside == (False, True)
    assert outcome.scores == (0.9, 0.6, 0.3)
    assert outcome.true_positives == (False, True, False)
    assert outcome.present == (True, True, False)
    assert outcome.found == (True, False)
    assert outcome.false_alarms == (True,)
    assert outcome.instance_sizes == pytest.approx((8**0.5 / 8, 4 / 8, 3 / 8))
    assert outcome.first_right == (False, False)


def test_ignored_pixels_do_not_change_the_overlap() -> None:
    ignored = block(4, 0, 4, 8)
    truth = Example.of_objects(picture(), ["mug"], [block(0, 0, 4, 4)], [], ignored)
    found = [segment(0, "mug", 0.9, (0, 0, 8, 4))]
    assert outcome_of(truth, answer(truth, found, (0, 0))).label_ious == (1,)


def test_segment_on_ignored_pixels_counts_only_where_its_label_is_absent() -> None:
    ignored = block(4, 0, 8, 8)
    truth = Example.of_objects(picture(), ["mug"], [block(0, 0, 4, 4)], ["car"], ignored)
    found = [
        segment(0, "mug", 0.9, (5, 0, 4, 4)),
        segment(0, "mug", 0.5, (0, 0, 5, 4)),
        segment(1, "car", 0.3, (5, 0, 4, 4)),
    ]
    outcome = outcome_of(truth, answer(truth, found, (0, 0)))
    assert outcome.scores == (0.5, 0.3) and outcome.true_positives == (True, False)
    assert outcome.first_right == (True,) and outcome.false_alarms == (True,)


def test_phrase_and_name_can_mean_the_same_object() -> None:
    red, blue = block(0, 0, 4, 4), block(6, 0, 4, 4)
    truth = Example(
        picture(),
        ("mug", "mug"),
        (red, blue),
        ("red mug",),
        (),
        np.zeros(SIZE, np.bool_),
        (frozenset({"red mug", "red cup"}), frozenset()),
    )
    assert truth.masks_of("mug") == [red, blue] and truth.masks_of("red cup") == [red]
    both = [segment(0, "red mug", 0.9, (6, 0, 4, 4)), segment(0, "red mug", 0.8, (0, 0, 4, 4))]
    outcome = outcome_of(truth, answer(truth, both, (0, 0)))
    assert outcome.first_right == (False,) and outcome.true_positives == (False, True)


def test_objects_are_told_by_size() -> None:
    found = replace(outcome(0.2, 0.9, 0.6), instance_sizes=(0.05, 0.1, 0.3))
    assert of_sizes(found, 0.1, 0.3).instance_ious == (0.9,)
    assert of_sizes(found, 0.1, 0.3).label_ious == found.label_ious
    report = report_of({"one": {"a": [found], "b": [found]}})
    assert [size.objects for size in report.sizes] == [1, 1, 1]
    assert report.sizes[0].metrics["instance recall"]["b"].value == 0
    lines = markdown(report).splitlines()
    assert lines[2].startswith("| one | 1 | 0.567 | 0.667 |")
    assert "| 10% to 20% | 1 | 0.900 | 0.900 | 1.000 | 1.000 |" in lines


def test_object_matches_only_the_segment_with_the_best_score() -> None:
    first, second = block(0, 0, 4, 4), block(6, 0, 4, 4)
    assert match_objects([first, first, second], [second, first]) == {1: 0, 0: 2}
    assert match_objects([], [first]) == {} and match_objects([block(0, 0, 1, 1)], [first]) == {}


def outcome(*ious: float) -> Outcome:
    sizes = (0.2,) * len(ious)
    return Outcome(ious, ious, (), (), (), (), (), (), (), sizes, ())


def test_metric_is_over_all_labels_and_paired_difference_has_a_narrow_interval() -> None:
    rng = np.random.default_rng(0)
    base = [outcome(*rng.random(int(rng.integers(1, 4)))) for _ in range(100)]
    better = [outcome(*(iou + 0.05 for iou in result.label_ious)) for result in base]
    bootstrap, metric = Bootstrap(100), METRICS[0]
    ious = [iou for result in base for iou in result.label_ious]
    estimate = bootstrap.estimate(metric, base)
    assert estimate.value == pytest.approx(np.mean(ious))
    # The interval of a mean has 4 standard errors; tolerance one third.
    assert estimate.high - estimate.low == pytest.approx(
        4 * np.std(ious) / len(ious) ** 0.5, rel=1 / 3
    )
    difference = bootstrap.difference(metric, better, base)
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.05,) * 3)


def test_metric_without_samples_is_nan() -> None:
    assert np.isnan(Bootstrap(2).estimate(METRICS[0], [outcome(), outcome()]).value)
    assert np.isnan(auroc([], [0.5]))


def test_auroc_is_the_fraction_of_ordered_pairs() -> None:
    assert auroc([0.9, 0.5], [0.5, 0.1]) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_reliability_bins_and_calibration_error() -> None:
    bins = reliability([0.05, 0.95, 0.91, 1.0], [False, True, True, False])
    assert [(row.count, row.fraction_true) for row in bins] == [(1, 0), (3, pytest.approx(2 / 3))]
    error = (1 * 0.05 + 3 * abs((0.95 + 0.91 + 1) / 3 - 2 / 3)) / 4
    assert calibration_error(bins) == pytest.approx(error)


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((5, 7, 3), np.uint8))
    # The string is from pycocotools: rows 1 to 3 and columns 2 to 4, and the last pixel.
    compressed = {"size": [5, 7], "counts": ";320008N"}
    annotations = [
        {"image_id": 1, "category_id": 3, "segmentation": [[0, 0, 2, 0, 2, 5, 0, 5]]},
        {"image_id": 1, "category_id": 7, "segmentation": compressed},
        {
            "image_id": 1,
            "category_id": 7,
            "segmentation": {"size": [5, 7], "counts": [30, 5]},
            "iscrowd": 1,
        },
    ]
    names = {3: "mug", 7: "saw", 8: "car", 9: "axe"}
    content = {
        "images": [{"id": 0, "file_name": "none.png"}, {"id": 1, "file_name": "one.png"}],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in names.items()],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def test_coco_polygons_run_lengths_and_crowds_are_read(coco_folder: Path) -> None:
    (truth,) = coco_examples(coco_folder / "instances.json", coco_folder, 10)
    assert truth.names == ("mug", "saw") and set(truth.absent) == {"car", "axe"}
    mug, saw = truth.masks
    expected = np.zeros((5, 7), np.bool_)
    expected[:, :2] = True
    assert (mug == expected).all()
    expected = np.zeros((5, 7), np.bool_)
    expected[1:4, 2:5] = True  # the crowd covers its last pixel
    assert (saw == expected).all()
    assert (np.flatnonzero(truth.ignored.any(axis=0)) == [6]).all()


def test_invalid_coco_file_is_a_dataset_error(coco_folder: Path) -> None:
    wrong = coco_folder / "wrong.json"
    nameless = '{"images": [{"id": 1}], "annotations": [{"image_id": 1}], "categories": []}'
    for text in (nameless, "{", "[]", "{}", '{"images": 3, "annotations": [], "categories": []}'):
        wrong.write_text(text)
        with pytest.raises(DatasetError, match=r"wrong\.json is not a COCO file"):
            list(coco_examples(wrong, coco_folder, 1))
    wrong.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DatasetError, match="shows nothing"):
        list(coco_examples(wrong, coco_folder, 1))
    whole = json.loads((coco_folder / "instances.json").read_text())
    for counts in ("\x7f", "o", [1, 2], [40, -5]):
        whole["annotations"][0]["segmentation"] = {"size": [5, 7], "counts": counts}
        wrong.write_text(json.dumps(whole))
        with pytest.raises(DatasetError, match=r"one\.png cannot be read"):
            list(coco_examples(wrong, coco_folder, 1))


def test_voc_objects_are_separate_and_borders_ignored(tmp_path: Path) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "JPEGImages" / "a.jpg"), np.zeros((4, 6, 3), np.uint8))
    indices, objects = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    indices[:, :2], indices[:, 2], indices[:, 3:] = 12, 255, 12
    objects[:, :2], objects[:, 2], objects[:, 3:] = 1, 255, 2
    for folder, values in (("SegmentationClass", indices), ("SegmentationObject", objects)):
        coloured = Image.fromarray(values)
        coloured.putpalette([(7 * value) % 256 for value in range(768)])
        coloured.save(tmp_path / folder / "a.png")
    (truth,) = voc_examples(tmp_path, 10)
    assert truth.names == ("dog", "dog") and "dog" not in truth.absent
    assert [int(mask.sum()) for mask in truth.masks] == [8, 12]
    assert truth.ignored.sum() == 4
    (tmp_path / "labels.txt").write_text("mug\nsaw\n")
    with pytest.raises(DatasetError, match="class 12, but only 2 are named"):
        list(voc_examples(tmp_path, 10))
    with pytest.raises(DatasetError, match="no SegmentationClass"):
        list(voc_examples(tmp_path / "JPEGImages", 10))


def write_voc_folder(root: Path, count: int) -> None:
    """Write views of the recorded orbit as a VOC folder with a label file."""
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(NAMES))
    for number, scene in enumerate(recorded_scenes(count)):
        indices = np.zeros(scene.image.shape[:2], np.uint8)
        for name, mask in zip(scene.names, scene.masks, strict=True):
            indices[mask] = NAMES.index(name) + 1
        colours = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(root / "JPEGImages" / f"{number}.png"), colours)
        Image.fromarray(indices).save(root / "SegmentationClass" / f"{number}.png")


def test_evaluate_command_compares_recipes_and_writes_report_and_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_voc_folder(tmp_path / "mine", 6)
    output = tmp_path / "out"
    assert main(["evaluate", "--voc", str(tmp_path / "mine"), "--output", str(output)]) == 0
    assert "| mine | 6 | mean IoU per label |" in capsys.readouterr().out
    report = json.loads((output / "evaluation.json").read_text())
    assert report["recipes"] == ["reference", "instances"]
    figures = report["sets"]["mine"]["figures"]
    assert figures["mean IoU per label"]["instances"]["value"] > 0.5
    assert figures["pointing accuracy"]["reference"]["value"] > 0.7
    assert all(area > 0.75 for area in report["sets"]["mine"]["presence AUROC"].values())
    for name in ("recipes.png", "reliability.png"):
        assert cv2.imread(str(output / name)) is not None


def test_evaluate_command_compares_conditions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_voc_folder(tmp_path / "mine", 6)
    command = ["evaluate", "--voc", str(tmp_path / "mine"), "--conditions", "jpeg", "grey"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["recipes"] == ["unchanged", "jpeg", "grey"]
    overlap = report["sets"]["mine"]["figures"]["mean IoU per label"]
    assert overlap["grey"]["value"] < overlap["unchanged"]["value"]


def test_conditions_change_pictures_as_they_say() -> None:
    picture = next(recorded_scenes(1)).image
    before = picture.copy()
    changed = {name: change(picture) for name, change in CONDITIONS.items()}
    assert (picture == before).all()
    for name, image in changed.items():
        assert image.shape == picture.shape and image.dtype == np.uint8, name
        assert (image != picture).mean() > 0.3, name
    red, _, blue = (changed["cast"] / np.maximum(picture, 1.0))[picture.max(2) < 200].mean(0)
    assert red == pytest.approx(1.15, abs=0.02) and blue == pytest.approx(0.85, abs=0.02)
    lit = picture > 80
    light = ((changed["dark"][lit] / 255.0) / (picture[lit] / 255.0)) ** 2.2
    assert np.median(light) == pytest.approx(0.25, abs=0.02)
    assert (np.ptp(changed["grey"], axis=2) == 0).all()
    assert cv2.Laplacian(changed["blur"], cv2.CV_32F).std() < 0.3 * (
        cv2.Laplacian(picture, cv2.CV_32F).std()
    )
    errors = changed["noise"].astype(float) - picture
    assert errors[(picture > 80) & (picture < 170)].std() == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--coco", "a.json"], "give both"),
        (["--coco", "a.json", "--voc", "b"], "one after the other"),
        (["--count", "0"], "at least one picture"),
        (["--coco", "a.json", "--objects", "b"], "one after the other"),
        (["--conditions", "--absent", "0", "5"], "two comparisons"),
        (["--space", "--conditions"], "--conditions is not about objects in space"),
        (["--protocol", "voc20", "--conditions"], "another measurement"),
        (["--objects", "b", "--sets", "large"], "leave it out beside --coco, --voc and --objects"),
    ],
)
def test_evaluate_rejects_invalid_options(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert error in capsys.readouterr().err
