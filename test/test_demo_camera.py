"""The camera in the rendered world: its messages, its options, and where they put things."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros.harness import CAMERA, Inbox, Process, spinning, wait_until
from ros.world_listener import WorldListener, pose_of
from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.demo.camera import DemoCamera, chosen_views, main
from clip_surgery_ros.demo.camera_options import parse_options
from clip_surgery_ros.demo.views import Carousel, View, Views
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.camera_messages import COLOUR_ENCODINGS
from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb

SMALL = ("--size", "64x48", "--views", "2", "--rate", "20")
START_S = 60.0


@contextmanager
def camera(node: Node, *arguments: str) -> Iterator[Carousel]:
    """The camera's node in this process, with all its views made."""
    options = parse_options(arguments)
    carousel = Carousel(chosen_views(options))
    carousel.make_others()
    shown = DemoCamera(carousel, options, node.context)
    with spinning(shown, SingleThreadedExecutor(context=node.context)):
        yield carousel
    shown.destroy_node()


def outside(points: NDArray[np.float64], box: dict) -> float:
    """How far the farthest of points (P, 3) is outside a box of the truth, metres."""
    local = (points - box["position"]) @ pose_of(box)[:3, :3]
    return float((np.abs(local) - np.array(box["size"]) / 2).max())


# In space.


@pytest.mark.parametrize("depth", ["16UC1", "32FC1"])
def test_depth_model_and_transforms_put_objects_where_the_truth_says(
    ros_node: Node, depth: str
) -> None:
    listener = WorldListener(ros_node)
    arguments = ("--sensor", "exact", "--depth", depth, "--size", "320x240", "--views", "3")
    with Process(*CAMERA, *arguments, "--hold", "1") as process:
        process.wait_for_line("shows the table", START_S)
        for number in range(3):  # the wrist moves: the table is seen from all sides
            scene = listener.scene(lambda truth, number=number: truth["view"] == number)
            points = scene.points()
            seen = {one["instance"]: one for one in scene.truth["objects"] if one["pixels"]}
            assert len(seen) >= 5
            for instance, truth in seen.items():
                mine = points[scene.instances == instance]
                assert len(mine) == truth["pixels"]
                assert outside(mine, truth["upright"]) < 0.001, truth["name"]
                assert outside(mine, truth["oriented"]) < 0.001, truth["name"]
            room = points[scene.instances == 0]
            table = room[(np.abs(room[:, :2]) < 0.35).all(1) & (room[:, 2] > -0.015)]
            assert len(table) > 5000
            assert np.abs(table[:, 2]).max() < 0.001  # its top is z = 0
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        assert "Traceback" not in process.text()


def test_objects_that_are_all_in_view_fill_their_boxes(ros_node: Node) -> None:
    """A truth of boxes that are too large would hold every point too."""
    listener = WorldListener(ros_node)
    with camera(ros_node, "--sensor", "exact", "--size", "320x240", "--views", "1"):
        scene = listener.scene()
    points = scene.points()
    whole = [one for one in scene.truth["objects"] if one["visible"] > 0.95]
    assert len(whole) >= 3
    for truth in whole:
        top = points[scene.instances == truth["instance"]][:, 2].max()
        upright = truth["upright"]
        assert upright["position"][2] + upright["size"][2] / 2 - top < 0.004


def test_all_messages_of_an_image_have_its_stamp_frame_and_size(ros_node: Node) -> None:
    listener = WorldListener(ros_node)
    with camera(ros_node, *SMALL):
        scene = listener.scene()  # waits for one stamp
    assert scene.image.header.frame_id == "demo_camera_optical_frame"
    for info in (scene.info, scene.depth_info):
        assert info.header == scene.image.header
        assert (info.width, info.height) == (scene.image.width, scene.image.height) == (64, 48)
        assert list(info.d) == [0] * 5 and info.k[0] == info.p[0] > 0
        assert (info.k[2], info.k[5]) == (31.5, 23.5)
    assert scene.truth["header"]["frame_id"] == "world"
    assert {"name", "colour", "finish", "visible"} <= set(scene.truth["objects"][0])


# Options.


def test_an_exact_sensor_measures_everything_and_a_realistic_one_errs(ros_node: Node) -> None:
    found = {}
    for sensor in ("exact", "realistic"):
        arguments = ("--sensor", sensor, "--size", "160x120", "--views", "1", "--motion", "still")
        listener = WorldListener(ros_node)
        with camera(ros_node, *arguments):
            found[sensor] = listener.scene().depth
    exact, realistic = found["exact"], found["realistic"]
    measured = realistic > 0
    assert (exact > 0).all()
    assert 0.5 < measured.mean() < 0.999
    error = np.abs(realistic - exact)[measured]
    assert 0.0002 < np.median(error) < 0.01


def test_no_depth_means_no_depth_topics(ros_node: Node) -> None:
    with camera(ros_node, *SMALL, "--depth", "none"):
        assert ros_node.count_publishers("image_raw") == 1
        assert ros_node.count_publishers("depth/image_raw") == 0
        assert ros_node.count_publishers("depth/camera_info") == 0


@pytest.mark.parametrize("encoding", COLOUR_ENCODINGS)
def test_colour_comes_in_the_encoding_that_was_asked_for(ros_node: Node, encoding: str) -> None:
    images = Inbox(ros_node, Image, "image_raw", qos.newest_image())
    with camera(ros_node, *SMALL, "--encoding", encoding) as carousel:
        image = images.wait()
        assert image.encoding == encoding
        expected = carousel.first.image_rgb.astype(float)
    if encoding == "mono8":
        expected = np.repeat((expected @ (0.299, 0.587, 0.114))[..., None], 3, 2)
    error = np.abs(image_to_rgb(image) - expected)
    assert error.mean() < (12 if encoding.startswith("bayer") else 5)


@pytest.mark.parametrize(
    ("transport", "expected"), [("raw", (1, 0)), ("compressed", (0, 1)), ("both", (1, 1))]
)
def test_colour_comes_by_the_transport_that_was_asked_for(
    ros_node: Node, transport: str, expected: tuple[int, int]
) -> None:
    compressed = Inbox(ros_node, CompressedImage, "image_raw/compressed", qos.newest_image())
    with camera(ros_node, *SMALL, "--transport", transport) as carousel:
        topics = ("image_raw", "image_raw/compressed")
        assert tuple(ros_node.count_publishers(topic) for topic in topics) == expected
        if expected[1]:
            image = compressed.wait()
            assert image.format == "rgb8; jpeg compressed bgr8"
            error = np.abs(compressed_to_rgb(image).astype(int) - carousel.first.image_rgb)
            assert error.mean() < 6


def test_a_rate_and_a_stay_at_each_view_are_kept(ros_node: Node) -> None:
    listener = WorldListener(ros_node)
    with camera(ros_node, "--size", "32x24", "--views", "3", "--rate", "4", "--hold", "0.5"):
        wait_until(lambda: len(listener.truths) >= 14)
    kept = list(listener.truths.items())
    times = np.array([sec + nanosec / 1e9 for (sec, nanosec), _ in kept])
    assert np.median(np.diff(times)) == pytest.approx(0.25, abs=0.05)
    numbers = [truth["view"] for _, truth in kept]
    assert set(numbers) == {0, 1, 2}
    changes = np.flatnonzero(np.diff(numbers))
    assert np.median(np.diff(changes)) == 2  # 0.5 s at 4 Hz


def test_so_many_images_are_sent_as_were_asked_for(ros_node: Node) -> None:
    with camera(ros_node, *SMALL, "--images", "4"):
        images = Inbox(ros_node, Image, "image_raw", qos.newest_image())
        assert len(images.wait_count(4)) == 4
        assert len(images.wait_count(5, deadline_s=0.5)) == 4
    data = {bytes(image.data) for image in images.messages}
    assert len(data) == 4  # no two images of a real camera are the same


def test_a_picture_is_shown_alone(ros_node: Node, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), picture[..., ::-1])
    images = Inbox(ros_node, Image, "image_raw", qos.newest_image())
    with camera(ros_node, "--image", str(tmp_path / "picture.png")):
        np.testing.assert_allclose(image_to_rgb(images.wait()).astype(int), picture, atol=1)
        for topic in ("camera_info", "depth/image_raw", "truth", "/tf"):
            assert ros_node.count_publishers(topic) == 0


def first_frame(*arguments: str) -> View:
    return Carousel(chosen_views(parse_options([*SMALL, *arguments]))).first


def test_scene_split_and_motion_choose_what_is_seen() -> None:
    names = {
        (scene, split): [
            (one.colour, one.name)
            for one in first_frame("--scene", scene, "--split", split).frame.objects
        ]
        for scene, split in (("3", "held_out"), ("4", "held_out"), ("3", "train"))
    }
    assert len({str(value) for value in names.values()}) == 3
    again = first_frame("--scene", "3", "--split", "held_out")
    np.testing.assert_array_equal(again.image_rgb, first_frame("--scene", "3").image_rgb)
    orbit, still, hand = (
        list(chosen_views(parse_options([*SMALL, "--motion", motion])).making)
        for motion in ("orbit", "still", "hand")
    )
    eyes = [[view.frame.camera.pose[:3, 3] for view in views] for views in (orbit, still, hand)]
    moved = [float(np.linalg.norm(second - first)) for first, second in eyes]
    assert moved[0] > 1 and moved[1] == 0 and 0 < moved[2] < 0.2
    assert (still[0].image_rgb != still[1].image_rgb).any()  # other noise


WITHOUT_WHEELS = """
import sys
sys.modules["embreex"] = sys.modules["manifold3d"] = None  # importing them fails
from clip_surgery_ros.demo.camera import main
sys.exit(main())
"""


def test_the_recorded_orbit_needs_no_package_and_has_what_the_demo_asks_for(
    ros_node: Node,
) -> None:
    listener = WorldListener(ros_node)
    with Process("-c", WITHOUT_WHEELS, "--views", "4", "--hold", "0.5") as process:
        process.wait_for_line("the table of the recorded orbit", START_S)
        scenes = [
            listener.scene(lambda truth, number=number: truth["view"] == number)
            for number in range(4)
        ]
    assert {(scene.image.width, scene.image.height) for scene in scenes} == {(640, 480)}
    eyes = np.array([scene.camera[:2, 3] for scene in scenes])
    opposite = np.linalg.norm(eyes[:2] - eyes[2:], axis=1)
    assert (opposite > 1).all()  # evenly spaced on the circle
    objects = [(one["colour"], one["name"]) for one in scenes[0].truth["objects"]]
    names = [name for _, name in objects]
    assert ("red", "mug") in objects and names.count("mug") == 2
    assert {"screwdriver", "banana"} <= set(names)


def test_a_scene_that_cannot_be_rendered_is_one_sentence_that_names_the_recording() -> None:
    with Process("-c", WITHOUT_WHEELS, "--scene", "3") as process:
        assert process.wait(START_S) == 2
    assert len(process.lines) == 1
    assert "Install it with" in process.text() and "recorded orbit" in process.text()


@pytest.mark.parametrize(
    ("arguments", "recorded", "views"),
    [
        ((), True, 24),
        (("--views", "6", "--rate", "2", "--depth", "32FC1"), True, 6),
        (("--views", "25"), False, 25),
        (("--scene", "0"), False, 60),
        (("--size", "320x240"), False, 60),
        (("--sensor", "exact"), False, 60),
        (("--motion", "hand"), False, 60),
        (("--motion", "still"), False, 4),
    ],
)
def test_what_the_recording_lacks_is_rendered(
    arguments: tuple[str, ...], recorded: bool, views: int
) -> None:
    options = parse_options(arguments)
    assert (options.is_recorded, options.views) == (recorded, views)


# Views over time.


def shown(count: int, is_closed: bool, turns: int) -> list[int]:
    image = np.zeros((2, 2, 3), np.uint8)
    carousel = Carousel(Views((View(k, image) for k in range(count)), count, is_closed))
    carousel.make_others()
    numbers = []
    for _ in range(turns):
        numbers.append(carousel.current.number)
        carousel.turn()
    return numbers


def test_a_circle_goes_round_and_a_path_goes_there_and_back() -> None:
    assert shown(3, True, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert shown(3, False, 9) == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert shown(1, False, 3) == [0, 0, 0]


def test_a_camera_waits_at_the_newest_view_until_the_next_is_made() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    may_go_on = threading.Semaphore(0)

    def making() -> Iterator[View]:
        yield View(0, image)
        for number in (1, 2):
            may_go_on.acquire()
            yield View(number, image)

    carousel = Carousel(Views(making(), 3, True))
    thread = threading.Thread(target=carousel.make_others)
    thread.start()
    for number in (0, 1):
        for _ in range(3):
            carousel.turn()
            assert carousel.current.number == number
        may_go_on.release()
        made = number + 2
        wait_until(lambda made=made: carousel.made == made)
    thread.join()
    assert carousel.is_complete
    order = []
    for _ in range(4):
        carousel.turn()
        order.append(carousel.current.number)
    assert order == [2, 0, 1, 2]


# Command lines.

CASES = [
    (("--rate", "0"), "--rate is 0, but must be from 0.01 to 240"),
    (("--rate", "nan"), "--rate is nan"),
    (("--rate", "inf"), "--rate is inf"),
    (("--rate", "fast"), "--rate is fast"),
    (("--hold", "-1"), "--hold is -1"),
    (("--size", "0x0"), "--size is 0x0, but must be WIDTHxHEIGHT"),
    (("--size", "640"), "--size is 640"),
    (("--size", "640x480x3"), "--size is 640x480x3"),
    (("--size", "100000x100000"), "from 16 to 4096"),
    (("--size", "9" * 5000 + "x480"), "from 16 to 4096"),
    (("--size", "4096x4096"), "60 views of 4096x4096 take"),
    (("--views", "0"), "--views is 0"),
    (("--views", "1" + "0" * 20), "GiB of memory"),
    (("--images", "-1"), "--images is -1"),
    (("--scene", "-1"), "--scene is -1"),
    (("--scene", "1" + "0" * 30), "but the scenes of held_out are 0 to 2199023255551"),
    (("--scene", "mug"), "--scene is mug"),
    (("--split", "train"), "--split is of a --scene"),
    (("--split", "test"), "invalid choice: 'test'"),
    (("--motion", "fly"), "invalid choice: 'fly'"),
    (("--sensor", "none"), "invalid choice: 'none'"),
    (("--encoding", "rgb9"), "invalid choice: 'rgb9'"),
    (("--encoding", "yuv422", "--size", "641x480"), "cells of 2 x 1 pixels"),
    (("--encoding", "bayer_rggb8", "--size", "640x481"), "cells of 2 x 2 pixels"),
    (("--depth", "8UC1"), "invalid choice: '8UC1'"),
    (("--transport", "theora"), "invalid choice: 'theora'"),
    (("--nothing",), "unrecognized arguments: --nothing"),
    (("--image", ""), "--image is empty"),
    (("--image", "/nowhere.png"), "/nowhere.png does not exist"),
    (("--image", "/nowhere.png", "--scene", "3"), "leave --scene out"),
    (("--image", "/nowhere.png", "--depth", "32FC1"), "leave --depth out"),
    (("--image", "/dev/null"), "/dev/null"),
    (("--ros-args", "-r", "no:"), "ROS cannot use its arguments"),
]


@pytest.mark.parametrize(("arguments", "told"), CASES, ids=[" ".join(a)[:40] for a, _ in CASES])
def test_a_command_line_that_cannot_be_is_one_sentence(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture
) -> None:
    try:
        status = main(["demo_camera", *arguments])
    except SystemExit as ended:  # argparse's
        status = ended.code
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("demo_camera: ")
    assert told in lines[0]
