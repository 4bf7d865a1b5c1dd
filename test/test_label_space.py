"""Objects in space from recorded depth, camera models and transforms: ``label --depth``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from recorded_bags import EYE, SECOND, record_orbit
from rosbags.highlevel import AnyReader
from test_bag import storage_file

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.parameters.cameras import SpaceTopics
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.plan import make_plan
from clip_surgery_ros.ros.bag_parts import open_part, parts_of_bag
from clip_surgery_ros.ros.bag_space import BagSpace, static_transforms
from clip_surgery_ros.ros.pairing import Paired
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.recorded import read_orbit

QUERY = "teapot; banana; rocket"
IMAGES, DEPTH = "/eye/color/image_raw", "/eye/depth/image_raw"
OPTIONS = ["--query", QUERY, "--clip-windows", "never", "--cpu-threads", "1", "--depth", DEPTH]
OPTIONS += ["--topic", IMAGES, "--images-per-item", "2", "--target-frame", "world"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    bag = record_orbit(folder / "drive", 3)
    command = ["label", str(bag), *OPTIONS, "--output", str(folder / "out")]
    assert main([*command, "--export", "coco", "bag", "page"]) == 0
    return folder / "out"


def surest(coco: dict) -> list[dict]:
    """Return the annotation with the highest score of each label in each image.

    The demo's networks take other things for the label too, with lower scores.
    """
    ordered = sorted(coco["annotations"], key=lambda each: each["score"])
    return [*{(each["image_id"], each["category_id"]): each for each in ordered}.values()]


def test_objects_are_where_the_world_has_them(labelled: Path) -> None:
    coco = json.loads((labelled / "coco.json").read_text())
    truth = {each.name: each.upright for each in read_orbit().frame(0).objects}
    found = [each for each in surest(coco) if each["space"]["box"] is not None]
    assert {each["category_id"] for each in found} == {1, 2}
    for each in found:
        name, box = coco["categories"][each["category_id"] - 1]["name"], each["space"]["box"]
        assert each["space"]["frame"] == "world"
        # The demo's masks of small objects lack parts or have some of what is beside.
        assert box["centre"] == pytest.approx(truth[name].pose[:3, 3].tolist(), abs=0.06)
        assert box["centre"][2] == pytest.approx(truth[name].pose[2, 3], abs=0.005)
        covariance = np.array(each["space"]["covariance"]).reshape(3, 3)
        assert (np.linalg.eigvalsh(covariance) > 0).all()
        assert all(each["text"] for each in each["space"]["reasons"])


def test_objects_keep_their_ids_in_space(labelled: Path) -> None:
    coco = json.loads((labelled / "coco.json").read_text())
    for category in (1, 2):
        own = [each for each in surest(coco) if each["category_id"] == category]
        images = {each["image_id"] for each in own if each["track_id"] is not None}
        numbers = {each["track_id"] for each in own if each["track_id"] is not None}
        assert len(images) >= 2
        assert len(numbers) == 1


def test_side_bag_has_boxes_and_places_in_space(labelled: Path) -> None:
    coco = json.loads((labelled / "coco.json").read_text())
    with AnyReader([labelled / "bags" / "drive"]) as reader:
        messages: dict[str, list] = {}
        for connection, time, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            messages.setdefault(connection.topic, []).append((time, message))
    for n, (time, boxes) in enumerate(messages["/clip_surgery/detections_3d"]):
        assert time == 200 * SECOND + n * SECOND // 2
        assert boxes.header.frame_id == "world"
        own = [each for each in coco["annotations"] if each["image_id"] == n + 1]
        placed = [each for each in own if each["space"]["box"] is not None]
        assert len(boxes.detections) == len(placed)
        for detection, each in zip(boxes.detections, placed, strict=True):
            centre = detection.bbox.center.position
            assert [centre.x, centre.y, centre.z] == each["space"]["box"]["centre"]
            assert detection.id == each["track"]
        segments = messages["/clip_surgery/segments"][n][1]
        assert [each.place.has_box for each in segments.segments] == [
            each["space"]["box"] is not None for each in own
        ]
    assert len(messages["/clip_surgery/markers"]) == 3
    tracks = messages["/clip_surgery/tracks"][-1][1].tracks
    assert any(track.has_place for track in tracks)


def paired(bag: Path, **values) -> list[Paired]:
    """Return what belongs to the images of a bag, without networks."""
    config = Config.from_values({"target_frame": "world", **values})
    compressed = "compressed" in bag.name
    found = []
    (part,) = parts_of_bag(bag)
    with open_part(part, IMAGES) as reader:
        statics = static_transforms(reader)
        space = BagSpace(reader, SpaceTopics(DEPTH, compressed=compressed), statics, config)
        for frame in reader.frames(reader.times(), together=True):
            found.append(space.pair(frame))
    return found


@pytest.mark.parametrize("name", ["raw", "compressed"])
def test_depth_model_and_transforms_of_an_images_stamp_belong_to_it(
    tmp_path: Path, name: str
) -> None:
    orbit = read_orbit()
    for n, found in enumerate(
        paired(record_orbit(tmp_path / name, 3, compressed=name == "compressed"))
    ):
        assert found.failure is None
        assert found.depth is not None
        assert found.depth.header.stamp.nanosec == n % 2 * SECOND // 2
        assert np.allclose(found.to_target.matrix, orbit.frame(n).camera.pose, atol=1e-9)


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        ("/eye/depth/image_raw", Reason.NO_DEPTH),
        ("/eye/color/camera_info", Reason.NO_CAMERA_INFO),
        ("/tf", Reason.TF_UNKNOWN_FRAME),
        ("/tf_static", Reason.TF_UNKNOWN_FRAME),
    ],
)
def test_what_is_not_recorded_is_named(tmp_path: Path, left_out: str, reason: Reason) -> None:
    for found in paired(record_orbit(tmp_path / "bag", 2, (left_out,))):
        assert found.failure is not None
        assert found.failure.reason is reason
        assert found.failure.text


def test_topic_of_depth_that_is_not_in_the_bag_is_an_error(tmp_path: Path) -> None:
    bag = record_orbit(tmp_path / "bag", 1)
    with pytest.raises(ImageError, match=r"no messages on /depth.*--depth.*/eye/depth/image_raw"):
        make_plan(
            [bag], IMAGES, 0, parse_query("mug"), Config.from_values(), space=SpaceTopics("/depth")
        )


def test_images_far_apart_have_what_was_recorded_at_their_time(tmp_path: Path) -> None:
    bag, orbit = record_orbit(tmp_path / "bag", 8), read_orbit()
    (part,) = parts_of_bag(bag)
    config = Config.from_values({"target_frame": "world"})
    with open_part(part, IMAGES) as reader:
        space = BagSpace(reader, SpaceTopics(DEPTH), static_transforms(reader), config)
        wanted = [reader.times()[n] for n in (0, 7)]
        for n, frame in zip((0, 7), reader.frames(wanted, together=False), strict=True):
            found = space.pair(frame)
            assert found.failure is None
            assert np.allclose(found.to_target.matrix, orbit.frame(n).camera.pose, atol=1e-9)


def test_static_transforms_of_another_file_count(tmp_path: Path) -> None:
    files = [
        storage_file(record_orbit(tmp_path / "first", 1)),
        storage_file(record_orbit(tmp_path / "second", 2, ("/tf_static",))),
    ]
    bag = tmp_path / "bag"
    bag.mkdir()
    for n, file in enumerate(files):
        file.rename(bag / f"bag_{n}.mcap")
    config = Config.from_values({"target_frame": "world"})
    topics = SpaceTopics(DEPTH)
    plan = make_plan([bag], IMAGES, 0, parse_query("mug"), config, space=topics)
    assert len(plan.items) == 2
    for item in plan.items:
        (static,) = item.statics
        assert (static.parent, static.child) == ("eye", EYE)
        with open_part(item.part, item.topic) as reader:
            space = BagSpace(reader, topics, item.statics, config)
            found = [space.pair(frame) for frame in reader.frames(item.frames, item.together)]
        assert [each.failure for each in found] == [None] * len(item.frames)


def test_keys_depend_on_depth_and_static_transforms(tmp_path: Path) -> None:
    bag, query, config = (
        record_orbit(tmp_path / "bag", 1),
        parse_query("mug"),
        Config.from_values(),
    )
    one, without, other = (
        make_plan([bag], IMAGES, 0, query, config, space=space).items[0].key
        for space in (SpaceTopics(DEPTH), None, SpaceTopics(DEPTH, "/eye/color/camera_info"))
    )
    assert len({one, without, other}) == 3
