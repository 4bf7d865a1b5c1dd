"""Converts results to messages: every field against values written by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_surgery_ros.msg import SegmentArray
from rclpy.serialization import deserialize_message, serialize_message
from ros.fakes import SIZE_HW, frame_result
from std_msgs.msg import Header

from clip_surgery_ros.core.types import AbsentLabel, Calibration, Label, Query
from clip_surgery_ros.ros import messages
from clip_surgery_ros.ros.outputs import OUTPUTS, Frame, wanted_work

STAMP = Time(sec=12, nanosec=34)
HEADER = Header(stamp=STAMP, frame_id="camera_optical")
QUERY = Query((Label("red mug", ("red mug",), 0.25), Label("saw", ("saw",))), sequence=7)


@pytest.fixture
def result():
    return frame_result(QUERY)


@pytest.fixture
def frame(result):
    image_rgb = np.zeros((*SIZE_HW, 3), np.uint8)
    return Frame(result, image_rgb, HEADER, messages.query_message(QUERY, STAMP))


def test_query_message_has_labels_thresholds_and_sequence():
    message = messages.query_message(QUERY, STAMP)
    assert message.header.stamp == STAMP
    assert (list(message.labels), message.sequence) == (["red mug", "saw"], 7)
    assert message.thresholds[0] == 0.25 and math.isnan(message.thresholds[1])


def test_segment_array_has_every_field(frame):
    message = messages.segment_array(frame.result, HEADER, frame.query)
    assert message.header == HEADER
    assert message.query.sequence == 7
    (segment,) = message.segments
    assert (segment.id, segment.label, segment.label_id) == (1, "red mug", 0)
    numbers = (segment.score, segment.presence, segment.similarity, segment.agreement)
    assert numbers == (0.75, 0.875, 0.25, 0.5)
    box = segment.box
    assert (box.x_offset, box.y_offset, box.width, box.height) == (2, 1, 4, 3)
    mask = segment.mask
    assert (mask.encoding, mask.height, mask.width, mask.header) == ("mono8", 3, 4, HEADER)
    assert bytes(mask.data) == b"\x00\xff\xff\xff" + b"\xff" * 8
    points = [(point.x, point.y, point.positive) for point in segment.points]
    assert points == [(3, 2, True), (7, 5, False)]


def test_absent_labels_have_a_reason_and_their_presence(frame):
    (absent,) = messages.segment_array(frame.result, HEADER, frame.query).absent
    assert (absent.label, absent.reason) == ("saw", "nothing like it")
    assert (absent.presence, absent.presence_threshold) == (0.125, 0.5)


def test_presence_of_a_label_that_the_network_does_not_know_is_no_number(frame):
    unknown = replace(frame.result, absent=(AbsentLabel("saw", "its name is not known"),))
    (absent,) = messages.segment_array(unknown, HEADER, frame.query).absent
    assert math.isnan(absent.presence) and math.isnan(absent.presence_threshold)


def test_stage_times_have_names(frame):
    message = messages.segment_array(frame.result, HEADER, frame.query)
    assert dict(zip(message.stage_names, message.stage_seconds, strict=True)) == {
        "clip": 0.25,
        "sam": 0.5,
    }


def test_a_consumer_can_tell_whether_values_are_calibrated(frame):
    message = messages.segment_array(frame.result, HEADER, frame.query)
    assert message.calibration_pictures == SegmentArray.UNCALIBRATED == 0
    assert math.isnan(message.presence_error) and math.isnan(message.score_error)
    fitted = replace(frame.result, calibration=Calibration(400, 100, 0.0625, 0.25, 0.9, 0.03))
    message = messages.segment_array(fitted, HEADER, frame.query)
    assert message.calibration_pictures == 400
    assert (message.score_error, message.presence_error) == (0.0625, 0.25)


def test_detection_box_has_centre_and_size(result):
    message = messages.detection_array(result, HEADER)
    (detection,) = message.detections
    assert message.header == detection.header == HEADER
    # Columns 2 to 5 and rows 1 to 3 cover 2 to 6 and 1 to 4.
    centre = detection.bbox.center.position
    assert (centre.x, centre.y, detection.bbox.center.theta) == (4.0, 2.5, 0.0)
    assert (detection.bbox.size_x, detection.bbox.size_y) == (4.0, 3.0)
    hypothesis = detection.results[0].hypothesis
    assert (hypothesis.class_id, hypothesis.score, detection.id) == ("red mug", 0.75, "1")


def test_heatmaps_are_stored_by_label_and_row(result):
    message = messages.heatmap_array(result, HEADER)
    assert (message.header, message.sequence) == (HEADER, 7)
    assert list(message.labels) == ["red mug", "saw"]
    assert (message.height, message.width) == (2, 3)
    assert (message.image_height, message.image_width) == SIZE_HW
    assert np.allclose(message.values, np.arange(12) / 10)
    assert list(message.thresholds) == [0.125, 0.125]


def test_classification_has_a_probability_for_every_label(result):
    message = messages.classification(result, HEADER)
    assert message.header == HEADER
    found = [(hypothesis.class_id, hypothesis.score) for hypothesis in message.results]
    assert found == [("red mug", 0.5), ("saw", 0.5)]


def test_label_info_maps_mask_values_to_labels():
    message = messages.label_info(QUERY, STAMP, 0.5)
    key = {entry.class_id: entry.class_name for entry in message.class_map}
    assert key == {0: "red mug", 1: "saw"}
    assert (message.header.stamp, message.threshold) == (STAMP, 0.5)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.name)
def test_every_output_keeps_the_header_after_serialization(output, frame):
    message = output.build(frame)
    assert message.header == HEADER
    copy = deserialize_message(serialize_message(message), output.message_type)
    assert copy.header == HEADER and type(copy) is output.message_type


@pytest.mark.parametrize(
    ("name", "encoding", "bytes_per_pixel"),
    [
        ("mask", "mono8", 1),
        ("instances", "mono16", 2),
        ("confidence", "mono8", 1),
        ("heatmap", "32FC1", 4),
        ("overlay", "rgb8", 3),
    ],
)
def test_output_images_have_the_size_of_the_source_image(name, encoding, bytes_per_pixel, frame):
    (output,) = [output for output in OUTPUTS if output.name == name]
    message = output.build(frame)
    assert (message.encoding, (message.height, message.width)) == (encoding, SIZE_HW)
    assert message.step == SIZE_HW[1] * bytes_per_pixel
    assert len(message.data) == message.step * SIZE_HW[0]


def test_mask_holds_label_indices_and_255_elsewhere(frame):
    (output,) = [output for output in OUTPUTS if output.name == "mask"]
    pixels = np.frombuffer(output.build(frame).data, np.uint8).reshape(SIZE_HW)
    expected = np.full(SIZE_HW, 255, np.uint8)
    expected[1:4, 2:6] = 0
    expected[1, 2] = 255
    assert pixels.tolist() == expected.tolist()


def test_subscribed_outputs_decide_the_wanted_work():
    outputs = {output.name: output for output in OUTPUTS}
    assert wanted_work([]) is None
    assert not wanted_work([outputs["heatmap"], outputs["heatmaps"]]).segments
    assert wanted_work([outputs["heatmap"], outputs["detections"]]).segments
