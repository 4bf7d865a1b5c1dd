"""Thresholds proposed from pictures with and without ground truth."""

import math

import cv2
import numpy as np
import pytest
import yaml
from ros.known_scene import recorded_scenes
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError, ImageError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import Wanted
from clip_surgery_ros.evaluation.calibration import (
    Similarities,
    otsu_threshold,
    parameter_file_text,
    propose_threshold,
    threshold_by_false_alarms,
)
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.parameters.thresholds import format_thresholds, parse_thresholds
from clip_surgery_ros.ros.bag import images_of_bag
from clip_surgery_ros.tools.cli import main


def test_threshold_is_the_lowest_that_keeps_the_false_alarm_rate():
    absent = np.random.default_rng(0).normal(size=400)
    threshold = threshold_by_false_alarms(absent, 0.05)
    assert np.count_nonzero(absent >= threshold) == 20
    assert np.count_nonzero(absent >= threshold - 1e-9) == 21


def test_false_alarm_rate_of_zero_excludes_every_absent_value():
    assert threshold_by_false_alarms([0.1, 0.3, 0.2], 0.0) == np.nextafter(0.3, 1)


def test_threshold_is_above_equal_absent_values():
    assert threshold_by_false_alarms([0.2] * 10, 0.5) > 0.2


def test_otsu_separates_two_groups():
    rng = np.random.default_rng(0)
    values = [*rng.normal(0.1, 0.01, 50), *rng.normal(0.3, 0.01, 30)]
    assert 0.14 < otsu_threshold(values) < 0.26


def test_otsu_threshold_is_midway_between_the_groups():
    assert otsu_threshold([0.1, 0.12, 0.3, 0.32]) == pytest.approx(0.21)


def test_otsu_threshold_is_above_equal_values():
    assert otsu_threshold([0.2, 0.2]) > 0.2


def test_proposal_reports_rates_of_the_threshold_rounded_to_four_digits():
    seen = Similarities(present=[0.5, 0.6, 0.05], absent=[0.1, 0.2, 0.31234])
    proposal = propose_threshold(seen, 0.0)
    assert proposal.threshold == pytest.approx(0.3124)
    assert proposal.recall == pytest.approx(2 / 3)
    assert proposal.false_alarm_rate == 0


def test_proposal_without_truth_uses_otsu_and_has_no_false_alarm_rate():
    proposal = propose_threshold(Similarities(unknown=[0.1, 0.11, 0.4, 0.41]), 0.05)
    assert 0.11 < proposal.threshold < 0.4
    assert proposal.recall == 0.5
    assert math.isnan(proposal.false_alarm_rate)


def test_proposed_threshold_is_within_the_limits_of_the_parameter():
    assert propose_threshold(Similarities(present=[1.2], absent=[1.1]), 0.0).threshold == 1.0


@pytest.mark.parametrize(
    "seen",
    [
        Similarities(present=[0.4, 0.5]),
        Similarities(unknown=[0.1]),
        Similarities(present=[0.5], absent=[0.1] * 19),  # 5 % of 19 is less than one
    ],
)
def test_too_few_pictures_give_no_proposal(seen):
    assert propose_threshold(seen, 0.05) is None


def test_label_thresholds_are_read_back_as_written():
    written = format_thresholds({"red mug": 0.21, "x=y": -0.5})
    assert parse_thresholds(written) == {"red mug": 0.21, "x=y": -0.5}
    assert parse_thresholds(" Red  MUG = 0.21 ,\n") == {"red mug": 0.21}
    assert parse_thresholds("") == {}


def test_label_thresholds_use_the_label_syntax_of_queries():
    (label,) = parse_query("Mug | coffee  cup + plate").labels
    assert parse_thresholds("mug | Coffee cup+plate = 0.2") == {label.name.casefold(): 0.2}


@pytest.mark.parametrize("text", ["mug", "mug=", "=0.2", "mug=2", "mug=nan", "mug=0.2x"])
def test_invalid_label_thresholds_are_rejected(text):
    with pytest.raises(ConfigError, match="label_thresholds has"):
        Config.from_values({"label_thresholds": text})


def test_label_with_a_separator_is_rejected():
    with pytest.raises(ClipSurgeryError, match="separator"):
        parameter_file_text(0.1, {"bed, single": 0.2})


def parameters_in(folder):
    """Return the parameters in the written file."""
    return yaml.safe_load((folder / "thresholds.yaml").read_text())["/**"]["ros__parameters"]


def test_calibrate_on_scenes_writes_valid_parameters(tmp_path, capsys):
    arguments = ["calibrate", "--set", "twins", "--count", "24", "--false-alarms", "0.25"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "all labels" in line)
    _, _, _, absent, _, _, recall, alarms, _ = (cell.strip() for cell in row.split("|"))
    assert int(absent) >= 24
    assert float(alarms) <= 0.25
    assert float(recall) > 0.65  # the demo's networks were trained for these scenes
    assert -1 < Config.from_values(parameters_in(tmp_path)).threshold < 1
    assert cv2.imread(str(tmp_path / "histogram.png")).shape[1] > 600


def test_calibrate_on_annotated_pictures_proposes_a_threshold_for_each_label(tmp_path):
    """Parts of the recorded table, so that each label is in some pictures and not in others."""
    folder, output = tmp_path / "table", tmp_path / "out"
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    scenes = list(recorded_scenes(24))[::8]
    names = sorted(set().union(*(scene.names for scene in scenes)))
    (folder / "labels.txt").write_text("\n".join(names))
    parts = [(scene, part_around(scene, name)) for scene in scenes for name in scene.names]
    for number, (scene, part) in enumerate(parts):
        classes = np.zeros(scene.image.shape[:2], np.uint8)
        for name, mask in zip(scene.names, scene.masks, strict=True):
            classes[mask] = names.index(name) + 1
        bgr = cv2.cvtColor(scene.image[part], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "JPEGImages" / f"{number}.png"), bgr)
        cv2.imwrite(str(folder / "SegmentationClass" / f"{number}.png"), classes[part])
    options = ["--per-label", "--false-alarms", "0.25", "--output", str(output)]
    assert main(["calibrate", "--voc", str(folder), *options]) == 0
    config = Config.from_values(parameters_in(output))
    thresholds = parse_thresholds(config.label_thresholds)
    assert len(thresholds) >= 3 and set(thresholds) <= set(names)
    assert all(-1 < value < 1 for value in (config.threshold, *thresholds.values()))


def part_around(scene, name):
    """Return rows and columns of the part of a picture around an object."""
    rows, columns = np.nonzero(scene.label_mask(name))
    top, left = (
        int(np.clip((values.min() + values.max()) / 2 - side / 2, 0, whole - side))
        for values, side, whole in ((rows, 180, 480), (columns, 240, 640))
    )
    return slice(top, top + 180), slice(left, left + 240)


def part_with(scene, name, excluded=None):
    """Return the part of a picture around an object; None if an excluded one is in it too."""
    part = part_around(scene, name)
    if excluded is not None and scene.label_mask(excluded)[part].any():
        return None
    return scene.image[part]


@pytest.fixture(scope="module")
def hammers():
    """Pictures with a hammer, then pictures without one, and the count of the former."""
    scenes = list(recorded_scenes(24))[::4]
    with_hammer = [part_with(scene, "hammer") for scene in scenes]
    without = [part_with(scene, name, "hammer") for scene in scenes for name in scene.names]
    without = [part for part in without if part is not None]
    assert len(without) > 4
    return [*with_hammer, *without], len(with_hammer)


def test_calibrate_on_folder_separates_pictures_with_and_without_the_label(hammers, tmp_path):
    images, with_hammer = hammers
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image[..., ::-1])
    output = tmp_path / "out"
    query = ["--query", "hammer", "--output", str(output)]
    assert main(["calibrate", "--folder", str(tmp_path), *query]) == 0
    threshold = parameters_in(output)["threshold"]
    assert "label_thresholds" not in parameters_in(output)
    config = Config.from_values({"threshold": threshold, "presence_threshold": 0.0})
    pipeline = load_networks(config).pipeline(config)
    absent = [
        bool(pipeline.run(image, parse_query("hammer"), Wanted(segments=False)).absent)
        for image in images
    ]
    assert absent == [index >= with_hammer for index in range(len(images))]


def write_bag(
    path,
    images,
    encoding="rgb8",
    plugin=StoragePlugin.SQLITE3,
    topics=("/camera",),
    missing_rows=0,
):
    """Write a bag of image messages, as a recorder does."""
    store = get_typestore(Stores.ROS2_JAZZY)
    kinds = store.types
    image_type, compressed_type = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
    kind = compressed_type if encoding == "png" else image_type
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = [writer.add_connection(topic, kind, typestore=store) for topic in topics]
        text = kinds["std_msgs/msg/String"]
        chatter = writer.add_connection("/chatter", text.__msgtype__, typestore=store)
        writer.write(chatter, 0, store.serialize_cdr(text("hello"), text.__msgtype__))
        for index, image in enumerate(images):
            stamp = kinds["builtin_interfaces/msg/Time"](index, 0)
            header = kinds["std_msgs/msg/Header"](stamp, "camera")
            height, width = image.shape[:2]
            if encoding == "png":
                data = cv2.imencode(".png", image[..., ::-1])[1].ravel()
                message = kinds[kind](header, "png", data)
            else:
                flat = np.ascontiguousarray(image[missing_rows:]).ravel()
                message = kinds[kind](header, height, width, encoding, 0, 3 * width, flat)
            for connection in connections:
                writer.write(connection, index * 10**9, store.serialize_cdr(message, kind))


PICTURES = [np.full((24, 32, 3), (value, 100, 200), np.uint8) for value in range(10)]


@pytest.mark.parametrize("encoding", ["rgb8", "png"])
@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_bag_images_are_sampled_evenly(tmp_path, encoding, plugin):
    write_bag(tmp_path / "bag", PICTURES, encoding, plugin)
    sampled = list(images_of_bag(tmp_path / "bag", None, 4))
    assert [int(image[0, 0, 0]) for image in sampled] == [0, 3, 6, 9]
    assert all(np.array_equal(image, PICTURES[int(image[0, 0, 0])]) for image in sampled)


def test_bag_with_several_image_topics_needs_a_topic(tmp_path):
    write_bag(tmp_path / "bag", PICTURES[:2], topics=("/left", "/right"))
    with pytest.raises(ImageError, match=r"/left, /right; name --topic"):
        next(images_of_bag(tmp_path / "bag", None, 4))
    assert len(list(images_of_bag(tmp_path / "bag", "/right", 4))) == 2
    with pytest.raises(ImageError, match="no images on /chatter"):
        next(images_of_bag(tmp_path / "bag", "/chatter", 4))


def test_missing_bag_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        next(images_of_bag(tmp_path / "none", None, 4))


def test_damaged_image_of_a_bag_is_an_error(tmp_path):
    write_bag(tmp_path / "bag", PICTURES[:1], missing_rows=1)
    with pytest.raises(ImageError, match="cut short"):
        next(images_of_bag(tmp_path / "bag", None, 4))


def test_calibrate_with_one_picture_is_an_error(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "one.png"), PICTURES[0])
    arguments = ["--folder", str(tmp_path), "--query", "hammer", "--output", str(tmp_path / "out")]
    assert main(["calibrate", *arguments]) == 2
    assert "too few pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_label_does_not_change_the_calibrated_thresholds(hammers, tmp_path, capsys):
    write_bag(tmp_path / "bag", hammers[0])
    thresholds = []
    for query in ("hammer", "hammer; giraffe"):
        arguments = ["--bag", str(tmp_path / "bag"), "--query", query, "--per-label"]
        assert main(["calibrate", *arguments, "--output", str(tmp_path / "out")]) == 0
        thresholds.append(parameters_in(tmp_path / "out"))
    assert thresholds[0] == thresholds[1]
    assert "does not know the word 'giraffe'" in capsys.readouterr().err


def test_calibrate_on_bag_writes_a_threshold(hammers, tmp_path):
    write_bag(tmp_path / "bag", hammers[0])
    output = ["--output", str(tmp_path / "out")]
    assert main(["calibrate", "--bag", str(tmp_path / "bag"), "--query", "hammer", *output]) == 0
    assert -1 < parameters_in(tmp_path / "out")["threshold"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the pictures by one of"),
        (["--folder", "x", "--set", "mixed"], "name the pictures by one of"),
        (["--folder", "x"], "needs --query"),
        (["--set", "mixed", "--query", "mug"], "leave --query out"),
        (["--coco", "x"], "give both"),
        (["--set", "mixed", "--topic", "/x"], "for a --bag"),
        (["--set", "mixed", "--count", "0"], "--count is 0"),
        (["--set", "mixed", "--false-alarms", "1"], "--false-alarms is 1"),
    ],
)
def test_calibrate_rejects_conflicting_options(arguments, message, tmp_path, capsys):
    assert main(["calibrate", *arguments, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
