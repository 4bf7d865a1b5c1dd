"""Several cameras: one process with one copy of the networks, or one node each."""

import threading

import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.fakes import FakeEngine
from ros.harness import Inbox, Process, wait_for_reader, wait_until
from ros.rig import PIXELS, wait_frames, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.cameras import CameraTopic, parse_cameras
from clip_surgery_ros.ros.images import image_message

NODE = ("-m", "clip_surgery_ros.node.main")
START_S = 120.0
TWO = ["/front/image_raw", "rear:=/back/color/image_raw"]


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (["image_raw"], [""]),
        (["/front/image_raw"], [""]),
        (["front:=image_raw"], ["front"]),
        (TWO, ["front", "rear"]),
        (["/front/color/image_raw", "image_raw"], ["front_color", "image_raw"]),
        (["~/left/image", "right/image"], ["left", "right"]),
    ],
)
def test_camera_name_is_its_topic_unless_given(entries, names):
    assert [camera.name for camera in parse_cameras(entries)] == names


def test_camera_name_is_not_part_of_the_topic():
    assert parse_cameras(TWO)[1] == CameraTopic("rear", "/back/color/image_raw")


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([], "at least one"),
        ([""], "'' is no topic"),
        (["front image"], "'front image' is no topic"),
        (["/front/"], "is no topic"),
        (["front-left:=/image_raw"], "'front-left' is no name"),
        ([":=/image_raw"], "'' is no name"),
        (["/front/a", "/front/b"], "two cameras of the name 'front'"),
        (["a:=/image_raw", "b:=/image_raw"], "two cameras of the topic"),
    ],
)
def test_invalid_and_duplicate_camera_entries_are_rejected(entries, error):
    with pytest.raises(ConfigError, match=error):
        parse_cameras(entries)


def test_cameras_have_separate_results_and_share_the_networks(rigs):
    rig = rigs(image_topics=TWO)
    rig.activate()
    inboxes = [rig.inbox(SegmentArray, f"{name}/segments") for name in ("front", "rear")]
    for camera in (0, 1):
        wait_readers(rig, "segments", camera=camera)
    rig.ask("mug")
    for topic, name in (("/front/image_raw", "front"), ("/back/color/image_raw", "rear")):
        publisher = rig.outside.create_publisher(Image, topic, 10)
        rig.show(name, publisher=publisher)
    assert [inbox.wait().header.frame_id for inbox in inboxes] == ["front", "rear"]
    assert rig.loads == 1
    statuses = rig.health(lambda statuses: len(statuses) == 3)
    assert [status.name for status in statuses] == [
        "clip_surgery",
        "clip_surgery: front",
        "clip_surgery: rear",
    ]


def test_fast_camera_does_not_starve_a_slow_one(rigs):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=30)), image_topics=TWO)
    rig.activate()
    inboxes = [rig.inbox(SegmentArray, f"{name}/segments") for name in ("front", "rear")]
    for camera in (0, 1):
        wait_readers(rig, "segments", camera=camera)
    rig.ask("mug")
    fast = rig.outside.create_publisher(Image, "/front/image_raw", 10)
    slow = rig.outside.create_publisher(Image, "/back/color/image_raw", 10)
    rig.show("front 1", publisher=fast)
    wait_until(lambda: rig.engine.requests)
    for count in range(2, 10):
        rig.show(f"front {count}", publisher=fast)
        wait_frames(rig, "in", count)
    rig.show("rear 1", publisher=slow)
    wait_frames(rig, "in", 1, camera=1)
    rig.show("front 10", publisher=fast)
    wait_frames(rig, "in", 10)
    gate.release(10)
    assert inboxes[1].wait().header.frame_id == "rear 1"
    frames = [message.header.frame_id for message in inboxes[0].wait_count(2)]
    assert frames == ["front 1", "front 10"]
    assert rig.node.cameras[0].tally.counts["dropped"] == 8
    assert len(rig.engine.requests) == 3


def test_camera_without_subscribers_is_not_processed(rigs):
    rig = rigs(image_topics=TWO)
    rig.activate()
    segments = rig.inbox(SegmentArray, "rear/segments")
    wait_readers(rig, "segments", camera=1)
    rig.ask("mug")
    for topic, name in (("/front/image_raw", "front"), ("/back/color/image_raw", "rear")):
        rig.show(name, publisher=rig.outside.create_publisher(Image, topic, 10))
    assert segments.wait().header.frame_id == "rear"
    wait_frames(rig, "skipped: nobody reads", 1)
    assert len(rig.engine.requests) == 1


def test_cameras_can_change_while_inactive(rigs):
    rig = rigs()
    rig.activate()
    assert not rig.set("image_topics", TWO).successful
    assert rig.change(4) and rig.set("image_topics", TWO).successful and rig.change(3)
    segments = rig.inbox(SegmentArray, "front/segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("front", publisher=rig.outside.create_publisher(Image, "/front/image_raw", 10))
    assert segments.wait().header.frame_id == "front"


def test_segment_call_uses_the_named_camera(rigs):
    rig = rigs(image_topics=TWO)
    rig.activate()
    rig.show("front", publisher=rig.outside.create_publisher(Image, "/front/image_raw", 10))
    wait_frames(rig, "in", 1)
    answer = rig.ask_segment(camera="front", labels=["mug"])
    assert answer.success and answer.result.header.frame_id == "front"
    for camera, error in (("rear", "no image has arrived on /back"), ("", "front, rear")):
        answer = rig.ask_segment(camera=camera, labels=["mug"])
        assert not answer.success and error in answer.message


def test_nodes_in_two_namespaces_do_not_interfere(ros_node):
    queries = ("apple", "hammer")
    names = ("left", "right")
    nodes = [
        Process(*NODE, "--ros-args", "-r", f"__ns:=/{name}", "-p", f"default_query:={query}")
        for name, query in zip(names, queries, strict=True)
    ]
    with nodes[0], nodes[1]:
        inboxes = [Inbox(ros_node, SegmentArray, f"/{n}/clip_surgery/segments") for n in names]
        for node, name, inbox in zip(nodes, names, inboxes, strict=True):
            node.wait_for_line(f"images from /{name}/image_raw", START_S)
            publisher = ros_node.create_publisher(Image, f"/{name}/image_raw", 10)
            wait_for_reader(publisher)
            # The reader of the results must be seen by the node too: send until it answers.
            message = image_message(PIXELS.repeat(8, axis=0).repeat(8, axis=1), "rgb8", Header())
            message.header.frame_id = name
            wait_until(lambda p=publisher, m=message, i=inbox: p.publish(m) or i.messages)
        for name, query, inbox in zip(names, queries, inboxes, strict=True):
            for message in inbox.messages:
                assert message.header.frame_id == name
                assert list(message.query.labels) == [query]
        publisher = ros_node.create_publisher(String, "/left/query", 10)
        wait_for_reader(publisher)
        publisher.publish(String(data="saw"))
        nodes[0].wait_for_line("query 2: saw")
        assert "saw" not in nodes[1].text()
