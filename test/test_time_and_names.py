"""Simulated time, remapping and namespaces."""

import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.harness import NODE, START_S, Inbox, Process, wait_for_reader, wait_until
from ros.known_scene import known_scene
from ros.rig import PIXELS, wait_frames, wait_readers
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.ros.images import image_message


def stamped(sec, frame_id):
    header = Header(frame_id=frame_id)
    header.stamp.sec = sec
    return image_message(PIXELS, "rgb8", header)


def test_ages_are_in_simulated_time_and_stamps_are_kept(rigs):
    rig = rigs(use_sim_time=True, max_frame_age_s=5.0)
    clock = rig.outside.create_publisher(Clock, "/clock", 10)
    wait_for_reader(clock)
    now = Clock()
    now.clock.sec = 1000
    clock.publish(now)
    wait_until(lambda: rig.node.get_clock().now().nanoseconds == 1000 * 10**9)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    wait_for_reader(rig.images)
    rig.images.publish(stamped(990, "old"))
    wait_frames(rig, "skipped: too old", 1)
    rig.images.publish(stamped(998, "fresh"))
    message = segments.wait()
    assert (message.header.frame_id, message.header.stamp.sec) == ("fresh", 998)
    (_, camera) = rig.health(lambda statuses: len(statuses) == 2)
    ages = {pair.key: float(pair.value) for pair in camera.values if pair.key.startswith("age")}
    assert ages["age: p50 [s]"] == pytest.approx(2.0)
    # The simulated clock stands still, but diagnostics continue.
    assert rig.health(lambda statuses: True)


@pytest.mark.parametrize(
    ("transport", "kind", "topic"),
    [("raw", Image, "/eye/color"), ("compressed", CompressedImage, "/eye/color/compressed")],
)
def test_topics_follow_namespace_and_remappings(ros_node, transport, kind, topic):
    arguments = (
        *("-r", "__ns:=/robot", "-r", "__node:=finder", "-r", "image_raw:=/eye/color"),
        *("-r", "/robot/finder/segments:=/found", "-r", "query:=/text"),
        *("-p", f"image_transport:={transport}", "-p", "default_query:=hammer"),
        *("-p", "distractors:=false"),
    )
    with Process(*NODE, *arguments) as node:
        found = Inbox(ros_node, SegmentArray, "/found")
        node.wait_for_line(f"images from {topic}", START_S)
        publisher = ros_node.create_publisher(kind, topic, 10)
        wait_for_reader(publisher)
        wait_until(lambda: ros_node.count_subscribers("/text") == 1)
        wait_until(lambda: ros_node.count_publishers("/robot/finder/mask") == 1)
        image = image_message(known_scene().image, "rgb8", Header(frame_id="eye"))
        if kind is CompressedImage:
            import cv2

            data = cv2.imencode(".jpg", known_scene().image[..., ::-1])[1].tobytes()
            image = CompressedImage(header=image.header, format="jpeg", data=data)
        wait_until(lambda: publisher.publish(image) or found.messages, START_S)
        assert found.messages[0].header == image.header
