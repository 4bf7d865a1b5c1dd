"""Faults of cameras, subscribers, other programs and the node itself."""

import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray, TextQuery
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros.fakes import FakeEngine
from ros.forged import send_with_number
from ros.harness import (
    CAMERA,
    NODE,
    ROOT,
    START_S,
    WITHOUT_SHARED_MEMORY,
    Inbox,
    Process,
    call,
    wait_for_reader,
    wait_until,
)
from ros.known_scene import full_mask, overlap
from ros.rig import values_of, wait_readers
from ros.target import running_target
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message

QUICK = ("-p", "distractors:=false", "-p", "presence_threshold:=0.0")
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN


def camera_level(health, level, text):
    """Wait for a new status of the camera."""

    def matches(message):
        return len(message.status) == 2 and (
            message.status[1].level == level and text in message.status[1].message
        )

    return health.wait(matches, after=len(health.messages), deadline_s=START_S)


def test_stopped_camera_is_reported_and_results_resume_with_it(ros_node):
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
                camera_level(health, OK, "answering frames")
            camera_level(health, WARN, "nobody publishes /image_raw")
        assert node.alive and "Traceback" not in node.text()


@pytest.mark.parametrize("number", [2**31 - 1, 2**62], ids=["2^31", "2^62"])
def test_damaged_packet_with_a_huge_number_neither_silences_a_camera_nor_takes_memory(
    ros_context, number
):
    with running_target(ros_context) as target:
        target.check_answers()
        before = target.process.footprint()
        send_with_number(target.node, "/image_raw", Image(), number)
        target.process.wait_for_line("/image_raw was opened again", START_S)
        target.check_answers()
        assert target.process.footprint().held_mib < before.held_mib + 100
        counts, _ = target.settled_counts()
        assert counts["lost on the way"] < 10


def test_resolution_and_encoding_can_change_between_frames(ros_context):
    with running_target(ros_context) as target:
        scene = target.scene
        target.ask(*scene.names)
        for number, (scale, image) in enumerate([*image_variants(scene.image)] * 2):
            image.header.frame_id = f"{number}"
            answer = target.answer_to(lambda image=image: image)
            for segment in answer.segments:
                truth = scene.label_mask(segment.label)
                truth = truth.repeat(scale, axis=0).repeat(scale, axis=1)
                assert overlap(full_mask(segment, truth.shape), truth) > 0.6, image.encoding
            assert {segment.label for segment in answer.segments} == set(scene.names)
        assert "Traceback" not in target.process.text()


def image_variants(pixels):
    """Yield the picture in several sizes and encodings, each with its scale."""
    large = pixels.repeat(2, axis=0).repeat(2, axis=1)
    padded = image_message(np.pad(pixels, ((0, 0), (0, 4), (0, 0))), "rgb8", Header())
    padded.width = pixels.shape[1]
    yield 1, image_message(pixels, "rgb8", Header())
    yield 2, image_message(large[..., ::-1], "bgr8", Header())
    yield 1, image_message(np.dstack([pixels, pixels[..., :1]]), "rgba8", Header())
    yield 1, padded


def test_latched_topics_work_after_the_node_was_killed(ros_node):
    queries = Inbox(ros_node, TextQuery, "/clip_surgery/active_query", qos.latched())
    keys = Inbox(ros_node, LabelInfo, "/clip_surgery/label_info", qos.latched())

    def wait_for_labels(*labels):
        names = list(labels)
        queries.wait(lambda query: list(query.labels) == names, deadline_s=START_S)
        keys.wait(
            lambda key: [entry.class_name for entry in key.class_map] == names, deadline_s=START_S
        )

    arguments = (*NODE, "-p", "default_query:=mug; saw")
    with Process(*arguments, environment=WITHOUT_SHARED_MEMORY) as node:
        wait_for_labels("mug", "saw")
        node.signal(signal.SIGKILL)
        assert node.wait() == -signal.SIGKILL
    with Process(*NODE, "-p", "default_query:=axe") as node:
        wait_for_labels("axe")
        # Calls may go to the killed node until its lease ends.
        wait_until(lambda: ros_node.count_publishers("/clip_surgery/active_query") == 1, START_S)
        request = SetQuery.Request(labels=["car", "hammer"])
        assert call(ros_node, SetQuery, "/clip_surgery/set_query", request, START_S).success
        wait_for_labels("car", "hammer")


def test_last_of_many_fast_queries_takes_effect_while_calls_are_answered(ros_node):
    with Process(*CAMERA, "--rate", "10"), Process(*NODE, *QUICK) as node:
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        echo = Inbox(ros_node, TextQuery, "/clip_surgery/active_query", qos.latched())
        node.wait_for_line("active on", START_S)
        echo.wait()
        with many_queries(ros_node, 200.0) as queries:

            def have_many_arrived():
                set_parameter(ros_node, "min_area", 20 + len(echo.messages) % 10)
                return echo.messages[-1].sequence > 100

            wait_until(have_many_arrived, START_S)
        queries.publish(String(data="car; hammer"))
        last = echo.wait(lambda m: list(m.labels) == ["car", "hammer"], deadline_s=START_S)
        segments.wait(lambda m: m.query.sequence == last.sequence, deadline_s=START_S)
        assert "Traceback" not in node.text()


def set_parameter(ros_node, name, value):
    parameters = [Parameter(name, value=value).to_parameter_msg()]
    request = SetParameters.Request(parameters=parameters)
    answer = call(ros_node, SetParameters, "/clip_surgery/set_parameters", request, START_S)
    assert answer.results[0].successful


@contextmanager
def many_queries(ros_node, rate_hz):
    """Publish queries at a steady rate inside the ``with`` block."""
    publisher = ros_node.create_publisher(String, "query", 10)
    wait_for_reader(publisher)
    stop = threading.Event()

    def send():
        number, start_s = 0, time.monotonic()
        while not stop.wait(max(0.0, start_s + number / rate_hz - time.monotonic())):
            publisher.publish(String(data=f"car; thing {number % 7}"))
            number += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield publisher
    finally:
        stop.set()
        thread.join()


def test_subscriber_that_never_reads_does_not_block_the_node(ros_node):
    listener = str(ROOT / "test" / "ros" / "listen.py")
    camera = Process(*CAMERA, "--rate", "10", "--size", "640x480")
    with camera, Process(*NODE, *QUICK, "-p", "default_query:=car") as node:
        with Process(listener, "/clip_surgery/mask", environment=WITHOUT_SHARED_MEMORY) as stuck:
            stuck.wait_for_line("received", START_S)
            stuck.signal(signal.SIGSTOP)
            segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
            # Many more than a history depth holds.
            assert len(segments.wait_count(40, START_S)) >= 40
            health = Inbox(ros_node, DiagnosticArray, "/diagnostics")
            camera_level(health, OK, "answering frames")
            stuck.signal(signal.SIGKILL)
        segments.wait(after=len(segments.messages))
        assert node.alive and "Traceback" not in node.text()


def test_two_image_publishers_are_answered_with_a_warning(rigs):
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


def test_worker_exception_loses_one_frame_and_is_reported(rigs, capfd):
    errors = [KeyError("a defect"), MemoryError(), AssertionError("impossible")]
    rig = rigs(engine=FakeEngine(lambda _: raise_next(errors)))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    for failed, text in enumerate(("a defect", "MemoryError", "impossible"), start=1):
        rig.show("bad")
        rig.health(lambda statuses, text=text: text in statuses[1].message)
        counts = rig.node.cameras[0].tally.counts
        assert (counts["failed"], counts["answered"]) == (failed, 0)
    rig.show("good")
    assert segments.wait().header.frame_id == "good"
    assert capfd.readouterr().err.count("Traceback") == 3


def raise_next(errors):
    if errors:
        raise errors.pop(0)
