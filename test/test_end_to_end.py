"""Camera, node and listener as three processes, with the shipped networks."""

import signal

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.harness import CAMERA, NODE, START_S, Inbox, Process, wait_for_reader
from ros.known_scene import MIN_IOU, VIEW, known_scene, overlap, overlaps
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from clip_surgery_ros.ros import qos


@pytest.fixture(scope="module")
def scene():
    return known_scene()


def pixels(image):
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width)


def test_query_on_camera_images_gives_the_masks_of_the_scene(scene, ros_node):
    absent = "wrench"
    query = "; ".join([*scene.names, absent])
    segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
    detections = Inbox(ros_node, Detection2DArray, "/clip_surgery/detections")
    masks = Inbox(ros_node, Image, "/clip_surgery/mask")
    overlays = Inbox(ros_node, Image, "/clip_surgery/overlay", qos.newest_image())
    images = Inbox(ros_node, Image, "/image_raw", qos.newest_image())
    queries = ros_node.create_publisher(String, "query", qos.query())

    camera = Process(*CAMERA, *VIEW, "--rate", "5")
    with camera, Process(*NODE) as node:
        node.wait_for_line("images arrive and nothing is asked for", START_S)
        assert not segments.messages, "no query, no work"
        wait_for_reader(queries)
        queries.publish(String(data=query))
        message = segments.wait(lambda found: len(found.query.labels) == len(scene.names) + 1)
        ious = overlaps(message, scene)
        print("IoU", {name: round(iou, 2) for name, iou in ious.items()})
        assert min(ious.values()) > MIN_IOU
        assert [label.label for label in message.absent] == [absent]
        assert message.absent[0].reason
        assert "sam encoder" in message.stage_names and min(message.stage_seconds) > 0

        stamp = message.header.stamp
        image = images.wait(lambda image: image.header.stamp == stamp)
        assert image.header == message.header
        received = np.frombuffer(image.data, np.uint8).reshape(scene.image.shape)
        # The camera changes the last bit from frame to frame.
        np.testing.assert_allclose(received.astype(int), scene.image, atol=1)

        boxes = detections.wait(lambda array: array.header.stamp == stamp)
        assert boxes.header == image.header
        assert {box.results[0].hypothesis.class_id for box in boxes.detections} == set(scene.names)
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


def test_invalid_parameters_end_the_node_with_one_error():
    with Process(*NODE, "-p", "clip_model:=ViT-B-16") as node:
        assert node.wait(START_S) == 2
        assert "clip_checkpoint is empty" in node.text()
        assert "Traceback" not in node.text()


def test_node_with_missing_weights_keeps_running_unconfigured():
    arguments = ("-p", "sam_model:=vit_b", "-p", "sam_checkpoint:=/nowhere/sam.pth")
    with Process(*NODE, *arguments) as node:
        node.wait_for_line("cannot configure", START_S)
        assert node.alive
        node.signal(signal.SIGINT)
        assert node.wait() == 0
        assert "/nowhere/sam.pth" in node.text() and "Traceback" not in node.text()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--image", "/nowhere/photo.jpg"), "/nowhere/photo.jpg does not exist"),
        (("--size", "0x0"), "is 0x0, but must be WIDTHxHEIGHT"),
        (("--rate", "0"), "is 0, but must be from 0.01 to 240"),
    ],
)
def test_demo_camera_with_invalid_arguments_is_an_error(arguments, error):
    with Process(*CAMERA, *arguments) as camera:
        assert camera.wait() == 2
        assert error in camera.text()
