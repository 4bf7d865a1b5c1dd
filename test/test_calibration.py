"""Thresholds proposed from pictures whose content is known, or is not."""

import math

import cv2
import numpy as np
import pytest
import yaml
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
from clip_surgery_ros.world.scenes import SceneGenerator


def test_the_rate_of_false_alarms_is_kept_and_no_lower_threshold_keeps_it():
    absent = np.random.default_rng(0).normal(size=400)
    threshold = threshold_by_false_alarms(absent, 0.05)
    assert np.count_nonzero(absent >= threshold) == 20
    assert np.count_nonzero(absent >= threshold - 1e-9) == 21


def test_no_false_alarm_at_all_may_be_asked_for():
    assert threshold_by_false_alarms([0.1, 0.3, 0.2], 0.0) == np.nextafter(0.3, 1)


def test_equal_values_are_all_kept_out():
    assert threshold_by_false_alarms([0.2] * 10, 0.5) > 0.2


def test_otsu_parts_two_groups():
    rng = np.random.default_rng(0)
    values = [*rng.normal(0.1, 0.01, 50), *rng.normal(0.3, 0.01, 30)]
    assert 0.14 < otsu_threshold(values) < 0.26


def test_otsu_lies_midway_between_the_groups():
    assert otsu_threshold([0.1, 0.12, 0.3, 0.32]) == pytest.approx(0.21)


def test_of_equal_values_none_reaches_the_threshold():
    assert otsu_threshold([0.2, 0.2]) > 0.2


def test_a_proposal_tells_what_it_does_as_written_with_four_digits():
    seen = Similarities(present=[0.5, 0.6, 0.05], absent=[0.1, 0.2, 0.31234])
    proposal = propose_threshold(seen, 0.0)
    assert proposal.threshold == pytest.approx(0.3124)
    assert proposal.recall == pytest.approx(2 / 3)
    assert proposal.false_alarm_rate == 0


def test_without_truth_otsu_decides_and_no_false_alarm_is_claimed():
    proposal = propose_threshold(Similarities(unknown=[0.1, 0.11, 0.4, 0.41]), 0.05)
    assert 0.11 < proposal.threshold < 0.4
    assert proposal.recall == 0.5
    assert math.isnan(proposal.false_alarm_rate)


def test_a_threshold_is_one_that_the_parameter_takes():
    assert propose_threshold(Similarities(present=[1.2], absent=[1.1]), 0.0).threshold == 1.0


@pytest.mark.parametrize(
    "seen",
    [
        Similarities(present=[0.4, 0.5]),
        Similarities(unknown=[0.1]),
        Similarities(present=[0.5], absent=[0.1] * 19),  # a twentieth of these is none
    ],
)
def test_too_little_is_said_to_be_too_little(seen):
    assert propose_threshold(seen, 0.05) is None


def test_label_thresholds_are_read_as_they_are_written():
    written = format_thresholds({"red mug": 0.21, "x=y": -0.5})
    assert parse_thresholds(written) == {"red mug": 0.21, "x=y": -0.5}
    assert parse_thresholds(" Red  MUG = 0.21 ,\n") == {"red mug": 0.21}
    assert parse_thresholds("") == {}


def test_label_thresholds_name_labels_as_queries_do():
    (label,) = parse_query("Mug | coffee  cup + plate").labels
    assert parse_thresholds("mug | Coffee cup+plate = 0.2") == {label.name.casefold(): 0.2}


@pytest.mark.parametrize("text", ["mug", "mug=", "=0.2", "mug=2", "mug=nan", "mug=0.2x"])
def test_label_thresholds_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="label_thresholds has"):
        Config.from_values({"label_thresholds": text})


def test_a_name_that_the_parameter_cannot_hold_is_refused():
    with pytest.raises(ClipSurgeryError, match="separator"):
        parameter_file_text(0.1, {"bed, single": 0.2})


def written(folder):
    """What the parameter file sets."""
    return yaml.safe_load((folder / "thresholds.yaml").read_text())["/**"]["ros__parameters"]


def test_scenes_with_truth_give_thresholds_that_the_node_takes(tmp_path, capsys):
    arguments = ["calibrate", "--set", "twins", "--count", "80", "--per-label"]
    arguments += ["--false-alarms", "0.25"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "all labels" in line)
    _, _, _, absent, _, _, found, alarms, _ = (cell.strip() for cell in row.split("|"))
    assert int(absent) >= 80
    assert float(alarms) <= 0.25
    assert float(found) > 0.9  # the demo's networks know these scenes
    parameters = written(tmp_path)
    config = Config.from_values(parameters)
    assert -1 < config.threshold < 1
    assert parse_thresholds(config.label_thresholds)
    assert cv2.imread(str(tmp_path / "histogram.png")).shape[1] > 600


@pytest.fixture(scope="module")
def apples():
    """Pictures with and without a red apple."""
    scenes = list(SceneGenerator().scenes("development", 400))
    shown = [scene for scene in scenes if "red apple" in scene.names][:4]
    others = [scene for scene in scenes if "red apple" not in scene.names][:6]
    assert len(shown) >= 2
    return [scene.image for scene in (*shown, *others)], len(shown)


def test_a_folder_without_truth_parts_pictures_with_the_label_from_those_without(apples, tmp_path):
    images, shown = apples
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image[..., ::-1])
    output = tmp_path / "out"
    query = ["--query", "red apple", "--output", str(output)]
    assert main(["calibrate", "--folder", str(tmp_path), *query]) == 0
    threshold = written(output)["threshold"]
    assert "label_thresholds" not in written(output)
    config = Config.from_values({"threshold": threshold, "presence_threshold": 0.0})
    pipeline = load_networks(config).pipeline(config)
    absent = [
        bool(pipeline.run(image, parse_query("red apple"), Wanted(segments=False)).absent)
        for image in images
    ]
    assert absent == [index >= shown for index in range(len(images))]


def write_bag(
    path,
    images,
    encoding="rgb8",
    plugin=StoragePlugin.SQLITE3,
    topics=("/camera",),
    missing_rows=0,
):
    """A bag of image messages, as a recorder writes them."""
    store = get_typestore(Stores.ROS2_JAZZY)
    kinds = store.types
    image_type, compressed_type = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
    kind = compressed_type if encoding == "png" else image_type
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = [writer.add_connection(topic, kind, typestore=store) for topic in topics]
        text = kinds["std_msgs/msg/String"]
        other = writer.add_connection("/chatter", text.__msgtype__, typestore=store)
        writer.write(other, 0, store.serialize_cdr(text("hello"), text.__msgtype__))
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
def test_a_bag_gives_its_pictures_evenly(tmp_path, encoding, plugin):
    write_bag(tmp_path / "bag", PICTURES, encoding, plugin)
    shown = list(images_of_bag(tmp_path / "bag", None, 4))
    assert [int(image[0, 0, 0]) for image in shown] == [0, 3, 6, 9]
    assert all(np.array_equal(image, PICTURES[int(image[0, 0, 0])]) for image in shown)


def test_of_several_topics_one_must_be_named(tmp_path):
    write_bag(tmp_path / "bag", PICTURES[:2], topics=("/left", "/right"))
    with pytest.raises(ImageError, match=r"/left, /right; name --topic"):
        next(images_of_bag(tmp_path / "bag", None, 4))
    assert len(list(images_of_bag(tmp_path / "bag", "/right", 4))) == 2
    with pytest.raises(ImageError, match="no images on /chatter"):
        next(images_of_bag(tmp_path / "bag", "/chatter", 4))


def test_what_is_no_bag_is_said_to_be_none(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        next(images_of_bag(tmp_path / "none", None, 4))


def test_a_damaged_picture_in_a_bag_is_an_error_in_a_sentence(tmp_path):
    write_bag(tmp_path / "bag", PICTURES[:1], missing_rows=1)
    with pytest.raises(ImageError, match="cut short"):
        next(images_of_bag(tmp_path / "bag", None, 4))


def test_one_picture_is_too_little(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "one.png"), PICTURES[0])
    arguments = ["--folder", str(tmp_path), "--query", "hammer", "--output", str(tmp_path / "out")]
    assert main(["calibrate", *arguments]) == 2
    assert "too few pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_label_that_the_network_does_not_know_has_no_say(apples, tmp_path, capsys):
    write_bag(tmp_path / "bag", apples[0])
    thresholds = []
    for query in ("hammer", "hammer; giraffe"):
        arguments = ["--bag", str(tmp_path / "bag"), "--query", query, "--per-label"]
        assert main(["calibrate", *arguments, "--output", str(tmp_path / "out")]) == 0
        thresholds.append(written(tmp_path / "out"))
    assert thresholds[0] == thresholds[1]
    assert "does not know the word 'giraffe'" in capsys.readouterr().err


def test_a_bag_is_calibrated_on(apples, tmp_path):
    write_bag(tmp_path / "bag", apples[0])
    output = ["--output", str(tmp_path / "out")]
    assert main(["calibrate", "--bag", str(tmp_path / "bag"), "--query", "hammer", *output]) == 0
    assert -1 < written(tmp_path / "out")["threshold"] < 1


@pytest.mark.parametrize(
    ("arguments", "told"),
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
def test_options_that_do_not_go_together_are_refused(arguments, told, tmp_path, capsys):
    assert main(["calibrate", *arguments, "--output", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
