"""Camera, node and listener as three processes, with the networks that are shipped."""

import signal

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.harness import ROOT, Inbox, Process, wait_for_reader
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from clip_surgery_ros.adapters import qos
from clip_surgery_ros.demo.scenes import SPLITS, SceneGenerator, SceneStyle
from clip_surgery_ros.demo.sprites import NAMES

CAMERA = ("-m", "clip_surgery_ros.demo.camera")
NODE = ("-m", "clip_surgery_ros.main")
SIZE_HW = (240, 320)
# A held-out scene of two objects that do not touch: what is tested here is the way from camera
# to listener; how good the networks are on average is measured by `clip_surgery evaluate`.
SCENE = 29
START_S = 120.0
"""Until the node is up: importing torch and loading networks on a busy machine."""
LAUNCH_FILE = ROOT / "launch" / "clip_surgery.launch.py"


@pytest.fixture(scope="module")
def scene():
    generator = SceneGenerator(SceneStyle(size_hw=SIZE_HW))
    return generator.scene(SPLITS["held_out"].start + SCENE)


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def whole_mask(segment):
    """(H, W) bool of a segment's mask, which is cropped to its box."""
    box = segment.box
    whole = np.zeros(SIZE_HW, np.bool_)
    crop = np.frombuffer(segment.mask.data, np.uint8).reshape(box.height, box.width)
    whole[box.y_offset :, box.x_offset :][: box.height, : box.width] = crop > 0
    return whole


def pixels(image):
    return np.frombuffer(image.data, np.uint8).reshape(SIZE_HW)


def test_camera_and_query_give_the_scenes_own_masks(scene, ros_node):
    absent = next(name for name in NAMES if name not in scene.names)
    query = "; ".join([*scene.names, absent])
    segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
    detections = Inbox(ros_node, Detection2DArray, "/clip_surgery/detections")
    masks = Inbox(ros_node, Image, "/clip_surgery/mask")
    overlays = Inbox(ros_node, Image, "/clip_surgery/overlay", qos.newest_image())
    images = Inbox(ros_node, Image, "/image_raw", qos.newest_image())
    queries = ros_node.create_publisher(String, "query", qos.query())

    camera = Process(*CAMERA, "--scenes", "1", "--first", str(SCENE), "--rate", "5")
    with camera, Process(*NODE) as node:
        node.wait_for_line("images arrive and nothing is asked for", START_S)
        assert not segments.messages, "no query, no work"
        wait_for_reader(queries)
        queries.publish(String(data=query))
        message = segments.wait(lambda found: len(found.query.labels) == len(scene.names) + 1)
        found = {segment.label: segment for segment in message.segments}
        ious = {
            name: overlap(whole_mask(found[name]), scene.label_mask(name)) if name in found else 0
            for name in scene.names
        }
        print("IoU", {name: round(float(iou), 2) for name, iou in ious.items()})
        assert min(ious.values()) > 0.7
        assert [label.label for label in message.absent] == [absent]
        assert message.absent[0].reason
        assert "sam encoder" in message.stage_names and min(message.stage_seconds) > 0

        stamp = message.header.stamp
        image = images.wait(lambda image: image.header.stamp == stamp)
        assert image.header == message.header
        assert bytes(image.data) == scene.image.tobytes()

        boxes = detections.wait(lambda array: array.header.stamp == stamp)
        assert boxes.header == image.header
        assert {box.results[0].hypothesis.class_id for box in boxes.detections} == set(found)
        for box in boxes.detections:
            truth = scene.label_mask(box.results[0].hypothesis.class_id)
            rows, columns = np.nonzero(truth)
            centre = box.bbox.center.position
            assert abs(centre.x - (columns.min() + columns.max() + 1) / 2) < 8
            assert abs(centre.y - (rows.min() + rows.max() + 1) / 2) < 8

        mask = masks.wait(lambda mask: mask.header.stamp == stamp)
        for index, name in enumerate(scene.names):
            assert overlap(pixels(mask) == index, scene.label_mask(name)) > 0.65
        assert not (pixels(mask) == len(scene.names)).any()
        assert overlays.wait().encoding == "rgb8"

        for process in (node, camera):
            process.signal(signal.SIGINT)
        assert (node.wait(), camera.wait()) == (0, 0)
        assert "Traceback" not in node.text() + camera.text()


def test_parameters_that_cannot_work_end_the_program_with_one_sentence():
    with Process(*NODE, "--ros-args", "-p", "clip_model:=ViT-B-16") as node:
        assert node.wait(START_S) == 2
        assert "clip_checkpoint is empty" in node.text()
        assert "Traceback" not in node.text()


def test_missing_weights_leave_a_node_that_can_be_set_right():
    arguments = ("-p", "sam_model:=vit_b", "-p", "sam_checkpoint:=/nowhere/sam.pth")
    with Process(*NODE, "--ros-args", *arguments) as node:
        node.wait_for_line("cannot configure", START_S)
        assert node.alive
        node.signal(signal.SIGINT)
        assert node.wait() == 0
        assert "/nowhere/sam.pth" in node.text() and "Traceback" not in node.text()


def test_the_launch_file_passes_its_arguments_on():
    pytest.importorskip("launch_ros", reason="launch comes with ROS from apt, not from wheels")
    runner = (str(ROOT / "test" / "ros" / "launch_file.py"), str(LAUNCH_FILE))
    arguments = ("namespace:=robot", "image:=front/image", "query:=7; saw")
    environment = {"FASTRTPS_DEFAULT_PROFILES_FILE": ""}
    with Process(*runner, *arguments, environment=environment) as launch:
        launch.wait_for_line("[robot.clip_surgery]: query 1: 7; saw", START_S)
        launch.wait_for_line("images from /robot/front/image", START_S)
        launch.signal(signal.SIGINT)
        assert launch.wait() == 0
        assert "Traceback" not in launch.text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--image", "/nowhere/photo.jpg"), "'/nowhere/photo.jpg' cannot be read as a picture"),
        (("--size", "0x0"), "'0x0' is no size"),
        (("--rate", "0"), "0 is not above 0"),
    ],
)
def test_a_camera_that_cannot_show_anything_says_so(arguments, said):
    with Process(*CAMERA, *arguments) as camera:
        assert camera.wait() == 2
        assert said in camera.text()
