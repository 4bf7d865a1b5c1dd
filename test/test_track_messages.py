"""Messages about objects that are followed over time, and what happens with very large numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_surgery_ros.msg import Track
from rclpy.serialization import deserialize_message, serialize_message
from ros.depth_scene import BOARD, CENTRE, FOCAL, SIZE_HW, BoardEngine, depth_image
from std_msgs.msg import Header

from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import Box, Wanted
from clip_surgery_ros.ros import messages, space_messages
from clip_surgery_ros.ros.outputs import OUTPUTS, SPACE_OUTPUTS, TRACKS, TRANSFORMS, Frame
from clip_surgery_ros.ros.track_messages import track_message
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import LiftSettings
from clip_surgery_ros.space.objects import lift_all
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tracks.boxes import TrackBoxes
from clip_surgery_ros.tracks.types import Remembered, State, TrackState

HEADER = Header(stamp=Time(sec=20, nanosec=5), frame_id="camera")
LARGE = 70_000
"""A number that 16 bits have no room for; its value there is 70,000 - 65,535."""


def state(number: int, **more: object) -> TrackState:
    """Return an object that was seen at 1.5 s and 10 s, and not at 20 s."""
    values = {
        "number": number,
        "label": "red mug",
        "state": State.HIDDEN,
        "reason": "behind box/2",
        "asked": True,
        "first_ns": 1_500_000_000,
        "seen_ns": 10_000_000_007,
        "stamp_ns": 20_000_000_007,
        "sightings": 4,
        "score": 0.5,
        "presence": 0.625,
        "camera": "front",
        "box": Box(-5, 7, 20, 30),
        "points": np.zeros((0, 3), np.float32),
        "velocity": np.array([0.0, 0.25, 0.0]),
    }
    return TrackState(**{**values, **more})


def frame_of(number: int) -> Frame:
    """Return a frame with a board in space that is an object of this number."""
    image_rgb = np.zeros((*SIZE_HW, 3), np.uint8)
    query = parse_query("red mug")
    result = BoardEngine().run(image_rgb, query, Wanted())
    result = replace(result, segments=(replace(result.segments[0], id=number),))
    camera = Intrinsics(FOCAL, FOCAL, *CENTRE, SIZE_HW[1], SIZE_HW[0])
    depth = DepthImage(depth_image(), camera)
    settings = LiftSettings("axis_aligned", find_support=False)
    space = lift_all(result, depth, Rigid.identity(), "map", settings)
    remembered = Remembered((state(number),), "map", TrackBoxes("axis_aligned"))
    message = messages.query_message(query, HEADER.stamp)
    return Frame(result, image_rgb, HEADER, message, space, remembered)


def built(name: str, frame: Frame) -> object:
    outputs = (*OUTPUTS, *SPACE_OUTPUTS, TRANSFORMS, TRACKS)
    (output,) = [output for output in outputs if output.name == name]
    return output.build(frame)


def test_message_has_a_constant_for_every_state() -> None:
    constants = {name: getattr(Track, name) for name in dir(Track) if name.isupper()}
    assert {name: value for name, value in constants.items() if isinstance(value, str)} == {
        one.name: one.value for one in State
    }


def test_track_has_every_field() -> None:
    points = np.random.default_rng(0).uniform((1, 2, 3), (1.2, 2.4, 3.6), (4000, 3))
    one = state(3, points=points.astype(np.float32))
    message = track_message(one, Remembered((one,), "map", TrackBoxes("axis_aligned")))
    message = deserialize_message(serialize_message(message), Track)
    assert (message.id, message.number, message.label) == ("red mug/3", 3, "red mug")
    assert (message.state, message.reason, message.asked) == (Track.HIDDEN, "behind box/2", True)
    assert message.first_seen == Time(sec=1, nanosec=500_000_000)
    assert message.last_seen == Time(sec=10, nanosec=7)
    assert (message.age, message.unseen) == pytest.approx((18.5, 10.0))
    assert (message.sightings, message.camera) == (4, "front")
    assert (message.score, message.presence) == (0.5, 0.625)
    box = message.box  # without the 5 columns left of the picture
    assert (box.x_offset, box.y_offset, box.width, box.height) == (0, 7, 15, 30)
    assert message.has_place
    assert (message.place.header.frame_id, message.place.header.stamp) == (
        "map",
        Time(sec=10, nanosec=7),
    )
    place, size = message.place.pose.position, message.size
    assert (place.x, place.y, place.z) == pytest.approx((1.1, 2.2, 3.3), abs=0.01)
    assert (size.x, size.y, size.z) == pytest.approx((0.2, 0.4, 0.6), abs=0.01)
    assert (message.velocity.x, message.velocity.y) == (0.0, 0.25)


def test_track_without_depth_has_no_place_and_one_before_1970_has_a_stamp() -> None:
    message = track_message(state(3, first_ns=-1_500_000_000), Remembered())
    assert not message.has_place and message.place.header.frame_id == ""
    assert message.first_seen == Time(sec=-2, nanosec=500_000_000)


@pytest.mark.parametrize("box", [Box(-50, 7, 20, 30), Box(3, -40, 20, 30)])
def test_box_outside_the_picture_is_empty(box: Box) -> None:
    region = track_message(state(3, box=box), Remembered()).box
    assert region.width == 0 or region.height == 0


@pytest.mark.parametrize(("number", "value"), [(3, 3), (65_535, 65_535), (LARGE, 4_465)])
def test_numbers_of_any_size_are_in_all_messages(number: int, value: int) -> None:
    frame, name = frame_of(number), f"red mug/{number}"
    row, column = BOARD.y + 3, BOARD.x + 3
    pixels = np.frombuffer(built("instances", frame).data, np.uint16).reshape(SIZE_HW)
    assert (pixels[row, column], pixels[0, 0]) == (value, 0)
    cloud = np.frombuffer(built("points", frame).data, np.uint32).reshape(*SIZE_HW, 5)
    assert cloud[row, column, 4] == number
    (segment,) = built("segments", frame).segments
    assert (segment.id, segment.track_id) == (number, name)
    assert (segment.score, segment.track_score) == (0.75, 0.5)
    assert (segment.presence, segment.track_presence) == (0.875, 0.625)
    assert built("detections", frame).detections[0].id == name
    assert built("detections_3d", frame).detections[0].id == name
    texts = [(marker.id, marker.text) for marker in built("markers", frame).markers[1:]]
    assert texts == [(number, ""), (number, f"{name} 0.75")]
    (child,) = built("/tf", frame).transforms
    assert child.child_frame_id == f"red_mug_{number}"
    (track,) = built("~/tracks", frame).tracks
    assert (track.id, track.number) == (name, number)


def test_object_without_an_id_yet_has_no_number_in_any_message() -> None:
    frame = frame_of(0)
    assert not any(built("instances", frame).data)
    assert built("detections", frame).detections[0].id == ""
    assert built("detections_3d", frame).detections[0].id == ""
    markers = built("markers", frame).markers[1:]
    assert {marker.id for marker in markers} == {-1} and markers[1].text == "red mug 0.75"
    assert built("/tf", frame) is None
    assert built("~/tracks", frame).tracks[0].id == ""


def test_overlay_shows_ids() -> None:
    frame = frame_of(3)
    named = replace(frame.result.segments[0], name="red mug/3")
    expected = replace(frame, result=replace(frame.result, segments=(named,)), remembered=None)
    shown, plain = built("overlay", frame).data, built("overlay", replace(frame, remembered=None))
    assert shown == built("overlay", expected).data
    assert shown != plain.data


def test_without_tracking_messages_are_as_they_were() -> None:
    frame = replace(frame_of(1), remembered=None)
    assert built("~/tracks", frame) is None
    assert built("detections", frame).detections[0].id == "1"
    (segment,) = built("segments", frame).segments
    assert (segment.id, segment.track_id, segment.track_score) == (1, "", 0.0)
    assert (
        space_messages.markers(frame.result, frame.space, HEADER).markers[2].text == "red mug 0.75"
    )


def test_box_of_an_object_with_one_point_is_not_known() -> None:
    one = state(3, points=np.zeros((1, 3), np.float32))
    assert not track_message(one, Remembered((one,), "map")).has_place


def test_box_is_computed_once_for_each_sighting() -> None:
    boxes = TrackBoxes("axis_aligned")
    points = np.random.default_rng(0).random((200, 3)).astype(np.float32)
    first = boxes.of(3, points)
    assert boxes.of(3, points) is first
    moved = boxes.of(3, points + np.float32(1))
    assert moved.centre == pytest.approx(first.centre + 1, abs=0.01)
    assert boxes.of(4, points).centre == pytest.approx(first.centre)
