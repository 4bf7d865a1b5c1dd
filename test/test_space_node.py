"""Objects in space over real ROS: a board in front of a wall, whose place is known exactly."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.depth_scene import (
    BOARD,
    FAR,
    FOCAL,
    FRAME,
    HEIGHT,
    NEAR,
    SIZE_HW,
    WIDTH,
    BoardEngine,
    DepthScene,
    centre_x,
    depth_image,
    moved,
    of,
    reason_of,
    stamp,
)
from ros.harness import Inbox, wait_until
from ros.rig import wait_readers
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from clip_surgery_ros.ros.camera_messages import camera_info, depth_message, transform
from clip_surgery_ros.ros.images import image_message

MM = 0.001
IN_MAP = {"target_frame": "map", "box_mode": "axis_aligned", "support": "none", "tf_wait": 2.0}
IN_CAMERA = {**IN_MAP, "target_frame": ""}
SOON = {**IN_MAP, "tf_wait": 0.3}
"""For what never comes."""


@pytest.fixture
def scenes(rigs):
    """Makes a node that is asked for the board, and the scene that it sees."""

    def make(depth_frame=FRAME, engine=None, **parameters):
        quiet = {"image_timeout_s": 0.0}  # a slow machine has pauses between images
        values = {"depth_topics": ["depth/image_raw"], **quiet, **IN_MAP, **parameters}
        rig = rigs(engine=engine or BoardEngine(), **values)
        rig.activate()
        rig.ask("board")
        compressed = parameters.get("depth_transport") == "compressedDepth"
        return DepthScene(rig, depth_frame, compressed)

    return make


def read(scene, kind=Detection3DArray, name="detections_3d"):
    inbox = scene.rig.inbox(kind, name)
    wait_readers(scene.rig, name)
    return inbox


def floats(message: PointCloud2) -> np.ndarray:
    """(H, W, 3) of a cloud."""
    values = np.frombuffer(message.data, np.float32).reshape(message.height, message.width, -1)
    return values[..., :3]


# Where things are.


def test_board_is_where_it_is(scenes):
    scene = scenes()
    found, segments = read(scene), read(scene, SegmentArray, "segments")
    scene.send_pose(scene.at(-1), 0.0)
    scene.send_pose(scene.at(1), 2.0)
    header = scene.send(scene.at(0))
    message = found.wait(of(header))
    assert message.header.frame_id == "map"
    (detection,) = message.detections
    assert (detection.id, detection.results[0].hypothesis.class_id) == ("1", "board")
    box = detection.bbox
    centre = (box.center.position.x, box.center.position.y, box.center.position.z)
    np.testing.assert_allclose(centre, (1.0, 0.0, NEAR), atol=2 * MM)
    # The board's border is half a pixel, 8 mm, outside the outer pixels' centres.
    np.testing.assert_allclose((box.size.x, box.size.y), (WIDTH, HEIGHT), atol=20 * MM)
    assert detection.results[0].pose.pose == box.center
    place = segments.wait(of(header)).segments[0].place
    assert place.has_box and place.box == box.center and place.size == box.size
    assert place.header == message.header


def test_transform_that_comes_after_the_image_is_waited_for(scenes):
    scene = scenes()
    found = read(scene)
    scene.send_pose(scene.at(-1), 0.0)
    header = scene.send(scene.at(0))
    scene.send_pose(scene.at(1), 2.0)
    assert centre_x(found.wait(of(header))) == pytest.approx(1.0, abs=2 * MM)


def test_depth_that_comes_after_the_image_is_waited_for(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    scene.send_info(scene.at(0))
    header = scene.send_image(scene.at(0))
    scene.send_depth(scene.at(0.02))
    assert centre_x(found.wait(of(header))) == pytest.approx(0.0, abs=2 * MM)


def test_nearest_depth_is_taken(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    scene.send_info(scene.at(0))
    scene.send_depth(scene.at(-0.02), np.full(SIZE_HW, FAR, np.float32))
    header = scene.send_image(scene.at(0))
    scene.send_depth(scene.at(0.005))
    (detection,) = found.wait(of(header)).detections
    assert detection.bbox.center.position.z == pytest.approx(NEAR, abs=2 * MM)


def test_inference_of_20_seconds_still_gives_the_place_of_its_image(scenes):
    """Depth of a second and transforms of ten are kept; both are long gone at the end."""
    begun, go_on = threading.Event(), threading.Event()

    def think(_):
        begun.set()
        assert go_on.wait(60)

    scene = scenes(engine=BoardEngine(think))
    found = read(scene)
    scene.send_pose(scene.at(-1), 0.0)
    scene.send_pose(scene.at(1), 2.0)
    header = scene.send(scene.at(0))
    assert begun.wait(60)
    depth = scene.rig.node.cameras[0].depth
    wait_until(lambda: not depth.is_pairing)  # seconds pass in milliseconds here
    for second in range(2, 21):  # the camera goes on, and everything is nearer to it
        now = scene.at(second)
        scene.send_pose(now, second + 1.0)
        scene.send_info(now)
        scene.send_depth(now, depth_image() / 2)
        wait_until(lambda now=now: depth.newest_ns == now)
    go_on.set()
    (detection,) = found.wait(of(header)).detections
    assert detection.bbox.center.position.x == pytest.approx(1.0, abs=2 * MM)
    assert detection.bbox.center.position.z == pytest.approx(NEAR, abs=2 * MM)


def test_depth_of_another_camera_is_projected_into_the_image(scenes):
    """The depth camera stands 0.1 m to the right, so it sees the board 0.1 m to the left."""
    scene = scenes("depth_camera", **IN_CAMERA)
    found = read(scene)
    beside = transform(moved(0.1), FRAME, "depth_camera", stamp(scene.at(0)))
    scene.tf_static.publish(TFMessage(transforms=[beside]))
    shift = round(0.1 / NEAR * FOCAL)
    metres = np.full(SIZE_HW, FAR, np.float32)
    left = BOARD.x - shift
    metres[BOARD.y : BOARD.y + BOARD.height, left : left + BOARD.width] = NEAR
    scene.send_info(scene.at(0))
    scene.send_depth(scene.at(0), metres)
    header = scene.send_image(scene.at(0))
    assert centre_x(found.wait(of(header))) == pytest.approx(0.0, abs=10 * MM)


def test_depth_of_half_the_size_is_used(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    scene.send_info(scene.at(0))
    scene.send_depth(scene.at(0), np.ascontiguousarray(depth_image()[::2, ::2]))
    header = scene.send_image(scene.at(0))
    (detection,) = found.wait(of(header)).detections
    assert detection.bbox.center.position.z == pytest.approx(NEAR, abs=2 * MM)
    assert detection.bbox.size.x == pytest.approx(WIDTH, abs=40 * MM)


def test_compressed_depth_is_read(scenes):
    scene = scenes(**IN_CAMERA, depth_transport="compressedDepth")
    found = read(scene)
    (detection,) = found.wait(of(scene.send(scene.at(0)))).detections
    assert detection.bbox.center.position.z == pytest.approx(NEAR, abs=2 * MM)


def test_changed_camera_model_holds_for_the_images_after_it(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    width = {}
    for second, focal in ((0, FOCAL), (2, 2 * FOCAL)):
        scene.send_info(scene.at(second), focal)
        scene.send_depth(scene.at(second))
        header = scene.send_image(scene.at(second))
        width[focal] = found.wait(of(header)).detections[0].bbox.size.x
    assert width[2 * FOCAL] == pytest.approx(width[FOCAL] / 2, rel=0.01)


# Why there is no place.


def no_place(scene, prepare):
    """Send an image without a place; return its reason and its sentence, as in diagnostics."""
    segments, detections = read(scene, SegmentArray, "segments"), read(scene)
    flat = read(scene, Detection2DArray, "detections")
    header = prepare()
    assert len(flat.wait(of(header)).detections) == 1
    assert not detections.wait(of(header)).detections
    reason, text = reason_of(segments.wait(of(header)))
    warning = f"no object has a place in space: {text}"
    scene.rig.health(lambda statuses: any(warning in status.message for status in statuses))
    return reason, text


def without_depth(scene):
    scene.send_depth(scene.at(-1))
    scene.send_info(scene.at(0))
    return scene.send_image(scene.at(0))


def without_info(scene):
    scene.send_depth(scene.at(0))
    return scene.send_image(scene.at(0))


def without_depth_info(scene):
    scene.depth_frame = "depth_camera"
    matrix = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])
    header = Header(stamp=stamp(scene.at(0)), frame_id=FRAME)
    scene.infos[0].publish(camera_info(matrix, SIZE_HW[1], SIZE_HW[0], header))
    scene.send_depth(scene.at(0))
    return scene.send_image(scene.at(0))


def without_transform(scene):
    return scene.send(scene.at(0))


def transforms_end(scene):
    scene.send_pose(scene.at(-2), 0.0)
    scene.send_pose(scene.at(-0.5), 0.0)
    return scene.send(scene.at(0))


def transforms_begin_later(scene):
    scene.send_pose(scene.at(0.25), 0.0)
    scene.send_pose(scene.at(2), 0.0)
    return scene.send(scene.at(0))


def other_tree(scene):
    scene.send_pose(scene.at(0), 0.0)
    scene.tf.publish(
        TFMessage(transforms=[transform(moved(), "map2", "odom2", stamp(scene.at(0)))])
    )
    return scene.send(scene.at(0))


def other_clock(scene):
    scene.send_info(scene.at(0))
    scene.send_depth(scene.at(-100_000))
    return scene.send_image(scene.at(0))


def no_focal_length(scene):
    for publisher in scene.infos:
        header = Header(stamp=stamp(scene.at(0)), frame_id=FRAME)
        publisher.publish(camera_info(np.zeros((3, 3)), 64, 48, header))
    scene.send_depth(scene.at(0))
    scene.send_pose(scene.at(0), 0.0)
    return scene.send_image(scene.at(0))


def depth_of_another_shape(scene):
    scene.send_info(scene.at(0))
    scene.send_pose(scene.at(0), 0.0)
    scene.send_depth(scene.at(0), np.ones((64, 48), np.float32))
    return scene.send_image(scene.at(0))


def colour_as_depth(scene):
    scene.send_info(scene.at(0))
    scene.send_pose(scene.at(0), 0.0)
    header = Header(stamp=stamp(scene.at(0)), frame_id=FRAME)
    scene.depth.publish(image_message(np.zeros((*SIZE_HW, 3), np.uint8), "rgb8", header))
    return scene.send_image(scene.at(0))


def damaged_depth(scene):
    scene.send_info(scene.at(0))
    scene.send_pose(scene.at(0), 0.0)
    header = Header(stamp=stamp(scene.at(0)), frame_id=FRAME)
    message = depth_message(depth_image(), "16UC1", header)
    message.height = 4000
    scene.depth.publish(message)
    return scene.send_image(scene.at(0))


def wrong_unit(scene):
    scene.send_info(scene.at(0))
    scene.send_pose(scene.at(0), 0.0)
    scene.send_depth(scene.at(0), depth_image() / 1000)
    return scene.send_image(scene.at(0))


@pytest.mark.parametrize(
    ("prepare", "reason", "words"),
    [
        (without_depth, "no_depth", "is 1.000 s away from the image, and 0.03 s are allowed"),
        (without_info, "no_camera_info", "no camera model has arrived on /camera_info"),
        (without_depth_info, "no_camera_info", "no camera model of it has arrived on /depth/cam"),
        (without_transform, "tf_unknown_frame", "no transform names the frame 'map'"),
        (transforms_end, "tf_future", "end 0.500 s before the stamp"),
        (transforms_begin_later, "tf_past", "begin 0.250 s after the stamp"),
        (other_clock, "clock", "stamped 100000 s away from the image, so by another clock"),
        (no_focal_length, "camera_model", "focal lengths must be above 1 pixel"),
        (depth_of_another_shape, "camera_model", "and the picture has 48 x 64"),
        (colour_as_depth, "depth_image", "'rgb8': expected one of 16UC1"),
        (damaged_depth, "depth_image", "the message is cut short"),
        (wrong_unit, "unit", "is the unit of depth right?"),
    ],
)
def test_image_without_a_place_has_its_2d_results_and_a_reason(scenes, prepare, reason, words):
    scene = scenes(**SOON)
    found, text = no_place(scene, lambda: prepare(scene))
    assert found == reason
    assert words in text


def test_frames_of_two_trees_are_not_connected(scenes):
    scene = scenes(**{**SOON, "target_frame": "odom2"})
    found, text = no_place(scene, lambda: other_tree(scene))
    assert found == "tf_not_connected" and "'odom2'" in text


def test_image_without_a_stamp_has_no_moment_among_transforms(scenes):
    scene = scenes(**SOON)
    found, text = no_place(scene, lambda: scene.send(0))
    assert found == "clock" and "no stamp" in text


def test_2d_results_do_not_wait_for_transforms(scenes):
    scene = scenes(tf_wait=2.0)
    flat, deep = read(scene, Detection2DArray, "detections"), read(scene)
    segments = read(scene, SegmentArray, "segments")
    header = scene.send(scene.at(0))
    flat.wait(of(header))
    assert not deep.messages and not segments.messages
    assert not segments.wait(of(header)).segments[0].place.has_box


def test_after_depth_stopped_and_came_back_places_come_back(scenes):
    scene = scenes(**IN_CAMERA)
    assert scene.rig.set("tf_wait", 0.1).successful
    segments = read(scene, SegmentArray, "segments")
    assert segments.wait(of(scene.send(scene.at(0)))).segments[0].place.has_box
    header = scene.send_image(scene.at(2))
    assert reason_of(segments.wait(of(header)))[0] == "no_depth"
    scene.rig.health(lambda s: any("is 2.000 s away from the image" in one.message for one in s))
    assert scene.rig.set("tf_wait", 2.0).successful
    assert segments.wait(of(scene.send(scene.at(3)))).segments[0].place.has_box
    scene.rig.health(lambda s: all("place in space" not in one.message for one in s))


def test_time_that_jumps_back_begins_anew(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    assert centre_x(found.wait(of(scene.send(scene.at(0))))) == pytest.approx(0, abs=2 * MM)
    assert centre_x(found.wait(of(scene.send(scene.at(-60))))) == pytest.approx(0, abs=2 * MM)


def test_lens_and_frame_that_do_not_fit_are_warned_of(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    header = Header(stamp=stamp(scene.at(0)), frame_id="another_camera")
    matrix = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])
    info = camera_info(matrix, SIZE_HW[1], SIZE_HW[0], header)
    info.d = [-0.4, 0.0, 0.0, 0.0, 0.0]
    scene.infos[0].publish(info)
    scene.send_depth(scene.at(0))
    found.wait(of(scene.send_image(scene.at(0))))
    scene.rig.health(lambda s: any("is of the frame 'another_camera'" in one.message for one in s))


def test_depth_topic_without_a_publisher_is_warned_of(rigs):
    rig = rigs(depth_topics=["depth/image_raw"], image_timeout_s=0.0)
    rig.activate()
    nobody = "nobody publishes /depth/image_raw: no object has a place in space"
    rig.health(lambda statuses: any(nobody in status.message for status in statuses))


# What is published.


def test_points_are_the_board_and_background_points_the_wall(scenes):
    scene = scenes(**IN_CAMERA)
    points = read(scene, PointCloud2, "points")
    background = read(scene, PointCloud2, "background_points")
    header = scene.send(scene.at(0))
    cloud = points.wait(of(header))
    assert cloud.header == header
    assert (cloud.height, cloud.width, cloud.is_dense) == (*SIZE_HW, False)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb", "instance"]
    xyz, board = floats(cloud), depth_image() == np.float32(NEAR)
    assert (np.isfinite(xyz[..., 2]) == board).all()
    row, column = 20, 30
    expected = ((30 - 31.5) / FOCAL * NEAR, (20 - 23.5) / FOCAL * NEAR, NEAR)
    np.testing.assert_allclose(xyz[row, column], expected, atol=MM)
    integers = np.frombuffer(cloud.data, np.uint32).reshape(*SIZE_HW, 5)
    assert (integers[..., 4] == board).all()
    assert integers[row, column, 3] == 200 << 16
    behind = floats(background.wait(of(header)))
    grown = cv2.dilate(board.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (np.isnan(behind[..., 2]) == grown).all()
    np.testing.assert_allclose(behind[~grown][:, 2], FAR, atol=MM)


def test_markers_show_the_box_and_remove_those_before(scenes):
    scene = scenes(**IN_CAMERA)
    inbox = read(scene, MarkerArray, "markers")
    scene.send(scene.at(0))
    first, cube, name = inbox.wait().markers
    assert first.action == Marker.DELETEALL
    assert (cube.type, cube.header.frame_id) == (Marker.CUBE, FRAME)
    assert cube.pose.position.z == pytest.approx(NEAR, abs=2 * MM)
    assert name.text == "board 0.75"


def test_objects_are_transforms_where_that_is_asked_for(scenes):
    scene = scenes(publish_tf=True)
    inbox = Inbox(scene.rig.outside, TFMessage, "/tf", 100)
    wait_readers(scene.rig, "/tf")
    scene.send_pose(scene.at(0), 0.5)
    header = scene.send(scene.at(0))

    def is_object(message):
        return message.transforms[0].child_frame_id == "board_1"

    (placed,) = inbox.wait(is_object).transforms
    assert (placed.header.stamp, placed.header.frame_id) == (header.stamp, "map")
    assert placed.transform.translation.x == pytest.approx(0.5, abs=2 * MM)


def test_nothing_is_computed_without_a_reader(scenes):
    scene = scenes(**IN_CAMERA)
    flat = read(scene, Detection2DArray, "detections")
    flat.wait(of(scene.send(scene.at(0))))
    found = read(scene)
    found.wait(of(scene.send(scene.at(1))))
    assert scene.rig.node.tally.counts["space"] == 1


def test_transforms_are_listened_to_only_where_they_are_needed(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    found.wait(of(scene.send(scene.at(0))))
    assert scene.rig.outside.count_subscribers("/tf") == 0


def test_segment_service_places_an_image_that_is_sent_with_depth(scenes):
    scene = scenes(**IN_CAMERA)
    header = Header(stamp=stamp(scene.at(0)), frame_id=FRAME)
    matrix = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])
    sent = {
        "image": image_message(np.zeros((*SIZE_HW, 3), np.uint8), "rgb8", header),
        "depth": depth_message(depth_image(), "32FC1", header),
    }
    answer = scene.rig.ask_segment(
        **sent, camera_info=camera_info(matrix, SIZE_HW[1], SIZE_HW[0], header)
    )
    place = answer.result.segments[0].place
    assert place.has_box and place.box.position.z == pytest.approx(NEAR, abs=2 * MM)
    assert reason_of(scene.rig.ask_segment(**sent).result)[0] == "no_camera_info"
    sent.pop("depth")
    alone = scene.rig.ask_segment(**sent).result.segments[0].place
    assert not alone.has_box and alone.reason == ""


def test_segment_service_places_the_newest_image(scenes):
    scene = scenes(**IN_CAMERA)
    found = read(scene)
    found.wait(of(scene.send(scene.at(0))))
    place = scene.rig.ask_segment().result.segments[0].place
    assert place.has_box and place.box.position.z == pytest.approx(NEAR, abs=2 * MM)
