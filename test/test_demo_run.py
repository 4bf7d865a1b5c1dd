"""The demo: what it asks, compares and draws."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_surgery_ros.msg import Place, SegmentArray
from clip_surgery_ros.msg import Segment as SegmentMessage
from geometry_msgs.msg import Point, Vector3
from ros.harness import START_S, Process

from clip_surgery_ros.core.geometry import crop, mask_box
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import AbsentLabel, FrameResult, PointPrompts, Segment
from clip_surgery_ros.demo.places import place_lines
from clip_surgery_ros.demo.side_by_side import Sight, sights_picture
from clip_surgery_ros.demo.truth import label_mask, names_in_view, truth_text
from clip_surgery_ros.pictures.render import depth_picture
from clip_surgery_ros.world.recorded import RecordedFrame, read_orbit

RUN = ("-m", "clip_surgery_ros.demo.run")


@pytest.fixture(scope="module")
def frame() -> RecordedFrame:
    return read_orbit().frame(0)


@pytest.fixture(scope="module")
def truth(frame: RecordedFrame) -> dict:
    return json.loads(truth_text(3, frame, (5, 7)))


def test_the_truth_says_when_it_was_and_which_view(truth: dict) -> None:
    assert truth["header"] == {"stamp": {"sec": 5, "nanosec": 7}, "frame_id": "world"}
    assert truth["view"] == 3


def test_a_label_means_what_has_its_name_and_its_colour(frame: RecordedFrame, truth: dict) -> None:
    mugs = {one.colour: frame.mask(one.instance) for one in frame.objects if one.name == "mug"}
    assert set(mugs) == {"red", "blue"}
    np.testing.assert_array_equal(label_mask(truth, frame.ids, "Red mug"), mugs["red"])
    np.testing.assert_array_equal(label_mask(truth, frame.ids, "mug"), mugs["red"] | mugs["blue"])
    assert not label_mask(truth, frame.ids, "giraffe").any()


def test_names_in_view_are_the_most_visible_first_and_each_once(truth: dict) -> None:
    names = names_in_view(truth)
    visible = {f"{o['colour']} {o['name']}".strip(): o["visible"] for o in truth["objects"]}
    assert len(names) == len(set(names)) == 11  # of twelve objects two are green apples
    assert visible[names[0]] >= visible[names[-1]]


def result_of_truth(frame: RecordedFrame) -> FrameResult:
    """A result as perfect networks would have it: the red mug found, a giraffe not."""
    query = parse_query("red mug; giraffe")
    (mug,) = (o for o in frame.objects if (o.colour, o.name) == ("red", "mug"))
    mask = frame.mask(mug.instance)
    box = mask_box(mask)
    assert box is not None
    points = PointPrompts(np.zeros((0, 2), np.int32), np.zeros(0, np.bool_))
    segment = Segment(1, 0, "red mug", 0.9, 0.9, 0.5, 0.8, box, crop(mask, box), points)
    none = np.zeros(2, np.float32)
    similarity = np.stack([cv2.resize(mask.astype(np.float32), (16, 12)), np.zeros((12, 16))])
    return FrameResult(
        query=query,
        size_hw=mask.shape,
        similarity=similarity.astype(np.float32),
        presence=none,
        probabilities=none,
        thresholds=none,
        segments=(segment,),
        absent=(AbsentLabel("giraffe", "presence 0.01 is below 0.5"),),
        stage_seconds={},
    )


def test_views_stand_side_by_side_above_their_maps_and_depth(frame: RecordedFrame) -> None:
    sight = Sight(0, frame.rgb, result_of_truth(frame), frame.sensor_depth)
    one = sights_picture([sight])
    four = sights_picture([sight] * 4)
    assert four.shape == (one.shape[0], 4 * one.shape[1], 3)
    without_depth = Sight(0, frame.rgb, result_of_truth(frame), None)
    assert sights_picture([without_depth]).shape[0] == one.shape[0] * 3 // 4


def test_depth_is_red_near_blue_far_and_black_where_there_is_none() -> None:
    depth = np.concatenate([np.zeros(10), np.linspace(0.5, 2, 90)]).astype(np.float32)[None]
    picture = depth_picture(depth).astype(int)[0]
    assert (picture[:10] == 0).all()
    assert picture[12, 0] > 100 and picture[12, 2] == 0
    assert picture[-1, 2] > 100 and picture[-1, 0] == 0
    assert not depth_picture(np.zeros((4, 5), np.float32)).any()


def test_places_are_printed_with_their_distance_from_the_truth(truth: dict) -> None:
    (mug,) = (o for o in truth["objects"] if (o["colour"], o["name"]) == ("red", "mug"))
    placed = SegmentMessage(label="red mug", track_id="red mug/3", place=Place(has_box=True))
    x, y, z = mug["upright"]["position"]
    placed.place.box.position = Point(x=x + 0.012, y=y, z=z)
    placed.place.size = Vector3(x=0.1, y=0.08, z=0.09)
    placed.place.header.frame_id = "world"
    lost = SegmentMessage(label="mug", place=Place(reason="no_depth", message="no depth here"))
    first, second = place_lines(SegmentArray(segments=[placed, lost]), truth)
    assert first.startswith("  place      red mug/3 ")
    assert "m in world, 100 x 80 x 90 mm; 12 mm from the truth" in first
    assert second.endswith("unknown: no depth here")


@pytest.mark.slow
def test_the_demo_shows_four_views_of_the_recorded_table(tmp_path: Path) -> None:
    with Process(*RUN, "--output", str(tmp_path)) as demo:
        assert demo.wait(START_S) == 0, demo.text()
        assert 'view 4: asked "blue mug; teapot; green apple; wrench"' in demo.text()
        assert demo.text().count("  truth      teapot") == 4
        ids = re.findall(r"^  found +teapot/(\d+) ", demo.text(), re.MULTILINE)
        assert len(ids) >= 3 and len(set(ids)) == 1, "one teapot, one id"
        assert "objects found" in demo.text() and "\n0 objects" not in demo.text()
        found = re.findall(r"^  place +\S.*", demo.text(), re.MULTILINE)
        assert len(found) == len(re.findall(r"^  found +\S.*", demo.text(), re.MULTILINE))
        assert all("m in world" in line or "unknown: " in line for line in found)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {"views.png", *(f"view_{number}.png" for number in range(1, 5))}


@pytest.mark.slow
def test_the_demo_shows_a_picture_of_yours(tmp_path: Path, frame: RecordedFrame) -> None:
    cv2.imwrite(str(tmp_path / "table.jpg"), frame.rgb[..., ::-1])
    arguments = ("--image", str(tmp_path / "table.jpg"), "--query", "mug")
    with Process(*RUN, *arguments, "--output", str(tmp_path / "out")) as demo:
        assert demo.wait(START_S) == 0, demo.text()
        assert 'view 1: asked "mug"' in demo.text()
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"views.png", "view_1.png"}
