"""Parameters of objects in space: which topics they name, and what cannot work together."""

from __future__ import annotations

from typing import Any

import pytest

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.cameras import SpaceTopics
from clip_surgery_ros.parameters.config import Config

TWO = ["/front/image", "/rear/image"]
DEPTH = ["depth/image_raw"]


def test_no_camera_has_depth_unless_asked_for() -> None:
    assert [camera.space for camera in Config.from_values().cameras] == [None]
    assert [c.space for c in Config.from_values({"image_topics": TWO}).cameras] == [None, None]


def test_depth_belongs_to_the_camera_at_its_place() -> None:
    values = {
        "image_topics": TWO,
        "depth_topics": ["", "/rear/depth"],
        "camera_info_topics": ["", "/rear/info"],
        "depth_info_topics": ["", "/rear/depth_info"],
        "depth_transport": "compressedDepth",
        "publish_tf": True,
    }
    front, rear = Config.from_values(values).cameras
    assert front.space is None
    assert rear.space == SpaceTopics("/rear/depth", "/rear/info", "/rear/depth_info", True, True)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"image_topics": TWO, "depth_topics": ["/d"]}, "depth_topics has 1 entries and image_t"),
        ({"depth_topics": ["/a", "/b"]}, "depth_topics has 2 entries and image_topics 1"),
        ({"depth_topics": ["a b"]}, "depth_topics has 'a b', which is no topic"),
        ({"depth_topics": ["image_raw"]}, "has the image topic image_raw; name the depth's"),
        ({"image_topics": TWO, "depth_topics": ["/d", "/d"]}, "has /d twice"),
        ({"camera_info_topics": ["/info"]}, "no depth topic, so nothing would be read there"),
        ({"depth_info_topics": ["/info"]}, "no depth topic, so nothing would be read there"),
        ({"depth_topics": "depth"}, "wants a list of str"),
        ({"min_depth": 2.0, "max_depth": 2.0}, "min_depth must be smaller"),
        ({"depth_unit": -0.001}, "depth_unit"),
        ({"depth_max_skew": -1.0}, "depth_max_skew"),
        ({"tf_wait": 60.0}, "tf_wait"),
        ({"target_frame": "/map"}, "without a slash at its start"),
        ({"target_frame": "the map"}, "no name of a frame"),
        ({"box_mode": "round"}, "one of upright, oriented, axis_aligned"),
        ({"support": "table"}, "one of plane, none"),
        ({"publish_tf": True}, "no camera has depth; name it in depth_topics"),
        ({"depth_topics": DEPTH, "support": "none"}, "nothing says what is up"),
    ],
)
def test_what_cannot_work_is_refused_in_words(values: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Config.from_values(values)


@pytest.mark.parametrize(
    "values",
    [{"target_frame": "map"}, {"box_mode": "oriented"}, {"box_mode": "axis_aligned"}],
)
def test_without_a_support_something_else_says_what_is_up(values: dict[str, Any]) -> None:
    Config.from_values({"depth_topics": DEPTH, "support": "none", **values})


def test_frames_of_several_robots_have_slashes_inside() -> None:
    assert Config.from_values({"target_frame": "robot1/map"}).target_frame == "robot1/map"
