"""Faults of depth, camera models, transforms and clocks while a node runs, over real ROS."""

from __future__ import annotations

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.depth_scene import (
    FOCAL,
    FRAME,
    NEAR,
    SIZE_HW,
    BoardEngine,
    DepthScene,
    S,
    depth_image,
    of,
    stamp,
)
from ros.harness import wait_for_reader, wait_until
from ros.rig import wait_readers
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from clip_surgery_ros.ros.camera_messages import camera_info
from clip_surgery_ros.ros.images import image_message

MM = 0.001


class Watched(DepthScene):
    """A scene, and what the node says of each image."""

    def __init__(self, rig):
        super().__init__(rig)
        self._segments = rig.inbox(SegmentArray, "segments")
        wait_readers(rig, "segments")

    def place_of(self, header):
        """Return the place of the board in an image."""
        (segment,) = self._segments.wait(of(header)).segments
        return segment.place

    def seen(self, seconds, x):
        """Return the place in an image, with the camera at x in the map around its stamp."""
        self.send_pose(self.at(seconds - 0.1), x)
        self.send_pose(self.at(seconds + 0.1), x)
        return self.place_of(self.send(self.at(seconds)))

    def wait_for_place(self, seconds, x):
        """Send images, 0.2 s apart, until one has a place; return it. Transforms that came before
        the node knew of a jump are lost.
        """
        for number in range(10):
            place = self.seen(seconds + number / 5, x)
            if place.has_box:
                return place
        raise AssertionError(f"no place: {place.message}")


@pytest.fixture
def rig_of(rigs):
    def make(**parameters):
        values = {
            "depth_topics": ["depth/image_raw"],
            "image_timeout_s": 0.0,
            "target_frame": "map",
            "box_mode": "axis_aligned",
            "support": "none",
            "tf_wait": 1.0,
            **parameters,
        }
        rig = rigs(engine=BoardEngine(), **values)
        rig.activate()
        rig.ask("board")
        return rig

    return make


@pytest.fixture
def scene(rig_of):
    return Watched(rig_of())


def x_of(place):
    assert place.has_box, place.message
    return place.box.position.x


def test_depth_that_stops_takes_the_place_of_its_images_only(scene):
    assert x_of(scene.seen(0, 0.5)) == pytest.approx(0.5, abs=2 * MM)
    for second in (1, 2):
        scene.send_info(scene.at(second))
        scene.send_pose(scene.at(second + 0.1), 0.5)
        place = scene.place_of(scene.send_image(scene.at(second)))
        assert (place.has_box, place.reason) == (False, "no_depth")
        assert f"is {second}.000 s away from the image" in place.message
    assert x_of(scene.seen(3, 1.5)) == pytest.approx(1.5, abs=2 * MM)


def test_camera_model_that_becomes_impossible_and_good_again(scene):
    assert scene.seen(0, 0.0).has_box
    scene.send_pose(scene.at(2), 0.0)
    for publisher in scene.infos:
        header = Header(stamp=stamp(scene.at(1)), frame_id=FRAME)
        publisher.publish(camera_info(np.zeros((3, 3)), *SIZE_HW[::-1], header))
    scene.send_depth(scene.at(1))
    place = scene.place_of(scene.send_image(scene.at(1)))
    assert (place.has_box, place.reason) == (False, "camera_model")
    assert scene.seen(3, 0.0).has_box


def test_resolution_of_all_streams_may_change(scene):
    """As when a driver is told another profile: the board stays where it is, and as large."""
    small = scene.seen(0, 0.0)
    size, now = (2 * SIZE_HW[0], 2 * SIZE_HW[1]), scene.at(1)
    header = Header(stamp=stamp(now), frame_id=FRAME)
    matrix = np.array([[2 * FOCAL, 0, 63.5], [0, 2 * FOCAL, 47.5], [0, 0, 1]])
    for publisher in scene.infos:
        publisher.publish(camera_info(matrix, size[1], size[0], header))
    scene.send_pose(scene.at(2), 0.0)
    scene.send_depth(now, depth_image().repeat(2, 0).repeat(2, 1))
    scene.rig.images.publish(image_message(np.zeros((*size, 3), np.uint8), "rgb8", header))
    large = scene.place_of(header)
    assert large.box.position.z == pytest.approx(NEAR, abs=2 * MM)
    assert large.size.x == pytest.approx(small.size.x, abs=20 * MM)


def test_transforms_that_stop_and_come_back(scene):
    assert scene.seen(0, 0.0).has_box
    place = scene.place_of(scene.send(scene.at(1)))
    assert (place.has_box, place.reason) == (False, "tf_future")
    assert "end 0.900 s before the stamp" in place.message
    assert x_of(scene.seen(2, 1.0)) == pytest.approx(1.0, abs=2 * MM)


def test_bag_that_begins_again_without_its_clock_has_places_again(scene):
    """Its transforms are older than those of before by more than transforms are kept."""
    assert x_of(scene.seen(0, 0.0)) == pytest.approx(0, abs=2 * MM)
    assert x_of(scene.wait_for_place(-60, 3.0)) == pytest.approx(3.0, abs=2 * MM)
    assert x_of(scene.seen(-55, 4.0)) == pytest.approx(4.0, abs=2 * MM)


def test_simulated_time_that_jumps_back_begins_anew(rig_of):
    rig = rig_of(use_sim_time=True)
    clock = rig.outside.create_publisher(Clock, "/clock", 10)
    wait_for_reader(clock)
    scene = Watched(rig)

    def set_clock(second):
        clock.publish(Clock(clock=stamp(second * S)))
        wait_until(lambda: rig.node.get_clock().now().nanoseconds == second * S)

    scene.now_ns = 0
    set_clock(1000)
    assert x_of(scene.seen(1000, 0.0)) == pytest.approx(0, abs=2 * MM)
    set_clock(1001)
    assert x_of(scene.seen(1001, 1.0)) == pytest.approx(1, abs=2 * MM)
    set_clock(998)  # the loop's length is shorter than transforms are kept
    place = scene.place_of(scene.send(scene.at(1000.5)))
    assert (place.has_box, place.reason) == (False, "tf_unknown_frame")
    assert x_of(scene.wait_for_place(999, 5.0)) == pytest.approx(5, abs=2 * MM)
