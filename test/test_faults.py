"""What goes wrong around a node: cameras, subscribers, other programs, and the node itself."""

import signal
import threading
import time

import numpy as np
from clip_surgery_ros.msg import SegmentArray, TextQuery
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros.fakes import FakeEngine
from ros.harness import (
    CAMERA,
    NODE,
    ROOT,
    START_S,
    Inbox,
    Process,
    call,
    wait_for_reader,
    wait_until,
)
from ros.known_scene import LEAST_IOU, known_scene, overlaps
from ros.rig import values_of, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.adapters import qos
from clip_surgery_ros.adapters.images import image_message

QUICK = ("-p", "distractors:=false", "-p", "presence_threshold:=0.0")
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN


def camera_level(health, level, said):
    """Wait for the camera's status, from now on."""

    def matches(message):
        return len(message.status) == 2 and (
            message.status[1].level == level and said in message.status[1].message
        )

    return health.wait(matches, after=len(health.messages), deadline_s=START_S)


def test_a_camera_that_stops_is_warned_of_and_when_it_returns_results_flow_again(ros_node):
    arguments = (*QUICK, "-p", "default_query:=car", "-p", "image_timeout_s:=1.0")
    with Process(*NODE, *arguments) as node:
        health = Inbox(ros_node, DiagnosticArray, "/diagnostics")
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        for _ in range(2):
            before = len(segments.messages)
            with Process(*CAMERA, "--rate", "5") as camera:
                segments.wait(after=before, deadline_s=START_S)
                camera_level(health, OK, "answering frames")
                camera.signal(signal.SIGSTOP)
                camera_level(health, WARN, "no image on /image_raw for")
                camera.signal(signal.SIGCONT)
            camera_level(health, WARN, "nobody publishes /image_raw")
        assert node.alive and "Traceback" not in node.text()


def test_resolution_and_encoding_may_change_from_frame_to_frame(ros_node):
    scene = known_scene()
    large = np.ascontiguousarray(scene.image.repeat(2, axis=0).repeat(2, axis=1))
    padded = image_message(np.pad(scene.image, ((0, 0), (0, 4), (0, 0))), "rgb8", Header())
    padded.width = scene.image.shape[1]
    views = [
        image_message(scene.image, "rgb8", Header()),
        image_message(large[..., ::-1], "bgr8", Header()),
        image_message(np.dstack([scene.image, scene.image[..., :1]]), "rgba8", Header()),
        padded,
    ]
    labels = "; ".join(scene.names)
    with Process(*NODE, "-p", f"default_query:={labels}") as node:
        node.wait_for_line("active on", START_S)
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        images = ros_node.create_publisher(Image, "image_raw", 10)
        wait_for_reader(images)
        for number, view in enumerate([*views, *views]):
            view.header.frame_id = f"{number}"
            answered = shown_until_answered(images, view, segments)
            if view.width == scene.image.shape[1]:
                assert min(overlaps(answered, scene).values()) > LEAST_IOU, view.encoding
            else:
                assert {segment.label for segment in answered.segments} == set(scene.names)
        assert "Traceback" not in node.text()


def shown_until_answered(images, view, segments):
    """The answer to an image; best effort may lose one."""

    def answers():
        images.publish(view)
        end_s = time.monotonic() + 5
        while time.monotonic() < end_s:
            for message in segments.messages:
                if message.header == view.header:
                    return message
            segments.wait_count(len(segments.messages) + 1, deadline_s=0.2)
        return None

    found = []
    wait_until(lambda: found.append(answers()) or found[-1] is not None, START_S)
    return found[-1]


def test_who_reads_latched_topics_recovers_from_a_killed_node(ros_node):
    queries = Inbox(ros_node, TextQuery, "/clip_surgery/active_query", qos.latched())
    keys = Inbox(ros_node, LabelInfo, "/clip_surgery/label_info", qos.latched())
    for labels in (["mug", "saw"], ["axe"]):
        with Process(*NODE, *QUICK, "-p", f"default_query:={'; '.join(labels)}") as node:
            queries.wait(lambda m, w=labels: list(m.labels) == w, deadline_s=START_S)
            keys.wait(
                lambda m, w=labels: [entry.class_name for entry in m.class_map] == w,
                deadline_s=START_S,
            )
            node.signal(signal.SIGKILL)
            node.wait()


def test_a_storm_of_queries_leaves_the_last_one_in_force_and_calls_answered(ros_node):
    with Process(*CAMERA, "--rate", "10"), Process(*NODE, *QUICK) as node:
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        echo = Inbox(ros_node, TextQuery, "/clip_surgery/active_query", qos.latched())
        node.wait_for_line("active on", START_S)
        queries = ros_node.create_publisher(String, "query", 10)
        wait_for_reader(queries)
        storm = threading.Thread(target=send_queries, args=(queries, 600, 200.0))
        storm.start()
        parameter = Parameter("min_area", value=20).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        answers = 0
        while storm.is_alive():
            name = "/clip_surgery/set_parameters"
            assert call(ros_node, SetParameters, name, request, START_S).results[0].successful
            answers += 1
            storm.join(0.2)
        assert answers > 3
        queries.publish(String(data="car; hammer"))
        last = echo.wait(lambda m: list(m.labels) == ["car", "hammer"], deadline_s=START_S)
        segments.wait(lambda m: m.query.sequence == last.sequence, deadline_s=START_S)
        # A history of ten may lose some while the executor is busy, and never most of them.
        assert last.sequence > 300
        assert "Traceback" not in node.text()


def send_queries(publisher, count, rate_hz):
    """At a steady rate, not in bursts: a reliable publisher's history is ten deep."""
    pause, start_s = threading.Event(), time.monotonic()
    for number in range(count):
        pause.wait(max(0.0, start_s + number / rate_hz - time.monotonic()))
        publisher.publish(String(data=f"car; thing {number % 7}"))


def test_a_subscriber_that_never_reads_keeps_nobody_else_waiting(ros_node):
    listener = str(ROOT / "test" / "ros" / "listen.py")
    camera = Process(*CAMERA, "--rate", "10", "--size", "640x480")
    with camera, Process(*NODE, *QUICK, "-p", "default_query:=car") as node:
        with Process(listener, "/clip_surgery/mask") as stuck:
            stuck.wait_for_line("received", START_S)
            stuck.signal(signal.SIGSTOP)
            segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
            # Many more than any history holds.
            assert len(segments.wait_count(40, START_S)) >= 40
            health = Inbox(ros_node, DiagnosticArray, "/diagnostics")
            camera_level(health, OK, "answering frames")
            stuck.signal(signal.SIGKILL)
        segments.wait(after=len(segments.messages))
        assert node.alive and "Traceback" not in node.text()


def test_two_publishers_on_one_topic_are_answered_and_warned_of(rigs):
    rig = rigs()
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    second = rig.outside.create_publisher(Image, "image_raw", 10)
    for number, publisher in enumerate((rig.images, second)):
        rig.show(f"camera {number}", publisher=publisher)
        assert segments.wait(after=number).header.frame_id == f"camera {number}"
    _, camera = rig.health(lambda statuses: statuses[1].level == WARN)
    assert "2 publishers on /image_raw" in camera.message
    assert values_of(camera)["publishers"] == "2"


def test_an_exception_on_the_worker_costs_one_frame_and_is_told(rigs, capfd):
    errors = [KeyError("a defect"), MemoryError(), AssertionError("never so")]
    rig = rigs(engine=FakeEngine(lambda _: raise_next(errors)))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    for failed, said in enumerate(("a defect", "MemoryError", "never so"), start=1):
        rig.show("bad")
        rig.health(lambda statuses, said=said: said in statuses[1].message)
        counts = rig.node.cameras[0].tally.counts
        assert (counts["failed"], counts["answered"]) == (failed, 0)
    rig.show("good")
    assert segments.wait().header.frame_id == "good"
    assert capfd.readouterr().err.count("Traceback") == 3


def raise_next(errors):
    if errors:
        raise errors.pop(0)
