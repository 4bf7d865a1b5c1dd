"""Messages of objects in space: reasons, places, names of frames."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_surgery_ros.msg import Place
from ros.fakes import frame_result
from std_msgs.msg import Header

from clip_surgery_ros.core.types import Label, Query
from clip_surgery_ros.ros import space_messages
from clip_surgery_ros.space.boxes import SpaceBox
from clip_surgery_ros.space.lifting import Lifted
from clip_surgery_ros.space.objects import ObjectsInSpace, nowhere
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.transforms import Rigid

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="camera_optical_frame")
BOX = SpaceBox(Rigid(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 0.6, 0.8])), np.array([4, 5, 6.0]))


def test_message_has_a_constant_for_every_reason() -> None:
    constants = {name: getattr(Place, name) for name in dir(Place) if name.isupper()}
    assert {name: value for name, value in constants.items() if isinstance(value, str)} == {
        reason.name: reason.value for reason in Reason
    }


def test_place_has_box_reasons_and_words() -> None:
    findings = (Finding(Reason.FLAT, "it is flat"), Finding(Reason.HOLES, "it has holes"))
    message = space_messages.place(Lifted(BOX, findings), "map", HEADER)
    assert (message.header.stamp, message.header.frame_id) == (HEADER.stamp, "map")
    assert message.has_box and message.is_lower_bound
    assert message.reason == Place.HOLES, "that the object may be larger counts more"
    assert list(message.reasons) == ["flat", "holes"]
    assert message.message == "it is flat; it has holes"
    position, orientation = message.box.position, message.box.orientation
    assert (position.x, position.y, position.z) == (1, 2, 3)
    assert (orientation.z, orientation.w) == (0.6, 0.8)
    assert (message.size.x, message.size.y, message.size.z) == (4, 5, 6)


def test_place_without_a_box_gives_the_reason_for_that() -> None:
    findings = (Finding(Reason.HOLES, "holes"), Finding(Reason.TOO_FEW_POINTS, "3 points"))
    message = space_messages.place(Lifted(None, findings), "map", HEADER)
    assert not message.has_box and message.reason == Place.TOO_FEW_POINTS
    assert message.box.position.x == message.size.x == 0


def test_place_of_an_object_as_it_should_be_has_no_reason() -> None:
    message = space_messages.place(Lifted(BOX, ()), "map", HEADER)
    assert message.has_box and not message.is_lower_bound
    assert message.reason == message.message == "" and not message.reasons


@pytest.mark.parametrize(
    ("label", "frame"),
    [("red mug", "red_mug_1"), ("mug|coffee cup", "mug_coffee_cup_1"), ("杯子", "object_1")],
)
def test_frames_of_objects_have_names_that_ros_knows(label: str, frame: str) -> None:
    result = frame_result(Query((Label(label, (label,)),)))
    (placed,) = space_messages.transforms(
        result, ObjectsInSpace("map", (Lifted(BOX, ()),)), HEADER
    ).transforms
    assert (placed.header.frame_id, placed.child_frame_id) == ("map", frame)
    assert placed.transform.translation.y == 2 and placed.transform.rotation.w == 0.8


def test_pose_of_a_detection_has_the_covariance_of_the_centre_and_any_turn() -> None:
    result = frame_result(Query((Label("mug", ("mug",)),)))
    centre = np.array([[4.0, 1, 0], [1, 5, 0], [0, 0, 6]]) * 1e-6
    found = ObjectsInSpace("map", (Lifted(BOX, (), covariance=centre),))
    (detection,) = space_messages.detection_array(result, found, HEADER).detections
    matrix = np.reshape(detection.results[0].pose.covariance, (6, 6))
    np.testing.assert_array_equal(matrix[:3, :3], centre)
    np.testing.assert_allclose(matrix[3:, 3:], np.eye(3) * 3.29, atol=0.01)
    assert not matrix[:3, 3:].any() and not matrix[3:, :3].any()


def test_objects_without_a_place_are_in_no_list() -> None:
    result = frame_result(Query((Label("mug", ("mug",)),)))
    found = nowhere(1, "map", Finding(Reason.NO_DEPTH, "none"), None)
    detections = space_messages.detection_array(result, found, HEADER)
    assert not detections.detections and detections.header.stamp == HEADER.stamp
    assert len(space_messages.markers(result, found, HEADER).markers) == 1
    assert not space_messages.transforms(result, found, HEADER).transforms
