"""The levels, messages and values of ``/diagnostics``."""

import threading

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_surgery_ros.msg import SegmentArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.duration import Duration
from ros.fakes import FakeEngine
from ros.harness import PROFILES_VARIABLE, ROOT, Process, destroy, wait_for_reader
from ros.known_scene import known_scene
from ros.rig import ACTIVATE, CONFIGURE, PIXELS, values_of, wait_frames, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.ros.images import image_message

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def node_status(rig, level, text):
    return rig.health(
        lambda statuses: (statuses[0].level, text in statuses[0].message) == (level, True)
    )[0]


def camera_status(rig, level, text):
    def matches(statuses):
        return len(statuses) > 1 and statuses[1].level == level and text in statuses[1].message

    return rig.health(matches)[1]


def test_diagnostics_have_all_values_after_three_frames(rigs):
    rig = rigs(load=load_networks, distractors=False)
    rig.activate()
    scene = known_scene()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    labels = [*scene.names, "gizmo"]
    rig.ask("; ".join(labels))
    for count in (1, 2, 3):
        changed = scene.image ^ np.uint8(count)  # no camera sends the same image twice
        rig.show("frame", image_message(changed, "rgb8", Header()))
        segments.wait_count(count)
    node, camera = rig.health(lambda statuses: values_of(statuses[1])["frames answered"] == "3")
    values = values_of(node)
    assert node.name == "clip_surgery" and node.hardware_id == "cpu"
    assert node.level == WARN and "does not know the word 'gizmo'" in node.message
    assert values["state"] == "active"
    assert (values["device"], values["device asked for"]) == ("cpu", "auto")
    assert (values["precision"], values["precision asked for"]) == ("float32", "float32")
    assert values["calibration"].startswith("fitted on 351 pictures; on 89 others: score to ")
    assert values["query"] == "; ".join(labels)
    # Features of known names are shipped with the network, unknown labels are never encoded, and
    # a fitted presence level needs no text for "everything else".
    assert int(values["texts encoded"]) == 0
    assert int(values["text cache hits"]) == 3 * len(scene.names)
    for stage in ("convert", "clip", "maps", "points", "sam encoder", "sam decoder", "masks"):
        assert values[f"{stage}: count"] == "3"
        assert 0 <= float(values[f"{stage}: p50 [s]"]) <= float(values[f"{stage}: p95 [s]"])
    assert values["last error"] == ""
    values = values_of(camera)
    assert camera.name == "clip_surgery: camera" and camera.hardware_id == "/image_raw"
    assert values["image"] == "640 x 480 rgb8"
    assert (values["frames in"], values["frames dropped"], values["frames failed"]) == tuple("300")
    assert float(values["frames in [Hz]"]) > 0 and float(values["frames answered [Hz]"]) > 0
    assert 0 < float(values["age: p50 [s]"]) <= float(values["age: p95 [s]"])
    assert float(values["answered: p50 [s]"]) <= float(values["age: p50 [s]"])
    rig.ask("; ".join(scene.names))
    node_status(rig, OK, "ready")


def test_node_level_follows_its_state(rigs):
    rig = rigs()
    node_status(rig, WARN, "not active: unconfigured")
    rig.change(CONFIGURE)
    node_status(rig, WARN, "not active: inactive")
    assert rig.change(ACTIVATE)
    node_status(rig, OK, "waiting for a query")
    rig.ask("mug")
    node_status(rig, OK, "ready")
    rig.queries.publish(String(data="saw\x07"))
    status = node_status(rig, WARN, "control character")
    assert values_of(status)["queries refused"] == "1"
    assert values_of(status)["last error"] == status.message
    rig.ask("saw")
    node_status(rig, OK, "ready")


def test_label_in_unreadable_script_warns_while_in_the_query(rigs):
    rig = rigs()
    rig.networks.multilingual = False
    rig.activate()
    rig.ask("mug; красная кружка")
    node_status(rig, WARN, "label 'красная кружка' is in letters that this CLIP cannot read")
    rig.ask("mug")
    node_status(rig, OK, "ready")
    rig.networks.multilingual = True
    rig.ask("красная кружка")
    node_status(rig, OK, "ready")


def test_camera_level_follows_its_images(rigs):
    rig = rigs(image_timeout_s=0.5)
    destroy(rig.outside, rig.images)
    rig.activate()
    camera_status(rig, WARN, "nobody publishes /image_raw")
    rig.images = rig.outside.create_publisher(Image, "image_raw", 10)
    camera_status(rig, WARN, "no image on /image_raw for")
    second = rig.outside.create_publisher(Image, "image_raw", 10)
    camera_status(rig, WARN, "2 publishers on /image_raw: their frames are mixed")
    destroy(rig.outside, second)
    assert rig.set("image_timeout_s", 0.0).successful
    camera_status(rig, OK, "images arrive")


def test_lost_images_are_reported_with_the_remedy(active):
    destroy(active.outside, active.images)
    # Without the shipped profile: images are larger than the default shared memory of Fast DDS.
    plain = {PROFILES_VARIABLE: None, "FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
    sender = Process(
        str(ROOT / "test" / "ros" / "send_images.py"), "/image_raw", "300", environment=plain
    )
    with sender:
        sender.wait_for_line("matched")
        sender.say("send")
        status = camera_status(active, WARN, "images were lost on their way: ")
        sender.say("done")
    assert "image_transport: compressed" in status.message
    assert int(values_of(status)["frames lost on the way"]) > 0


def test_late_images_are_reported(active):
    now = active.outside.get_clock().now()
    late = image_message(PIXELS, "rgb8", Header(stamp=(now - Duration(seconds=5)).to_msg()))
    wait_for_reader(active.images)
    for number in range(1, 11):
        active.images.publish(late)
        wait_frames(active, "in", number)
        if number == 5:  # a few late images are no slow network
            assert camera_status(active, OK, "images arrive")
    status = camera_status(active, WARN, "s after their stamps: the network is too slow")
    assert float(values_of(status)["age on arrival: p50 [s]"]) >= 5


def test_recorded_images_are_not_reported_as_late(active):
    recorded = image_message(PIXELS, "rgb8", Header(stamp=Time(sec=1_600_000_000)))
    wait_for_reader(active.images)
    active.images.publish(recorded)
    wait_frames(active, "in", 1)
    assert "late" not in camera_status(active, OK, "images arrive").message


def test_failed_frame_is_an_error_until_the_next_answer(rigs):
    active = rigs(image_timeout_s=0.0)  # diagnostics may come late on a busy machine
    active.activate()
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("bad", Image(height=2, width=2, encoding="rgb9", step=6, data=bytes(12)))
    status = camera_status(active, ERROR, "'rgb9' is not known")
    assert values_of(status)["last error"] == status.message
    assert values_of(status)["frames failed"] == "1"
    active.show("good")
    segments.wait()
    status = camera_status(active, OK, "answering frames")
    assert values_of(status)["last error"] == ""


@pytest.mark.parametrize("waiting", [3])
def test_frames_replaced_by_newer_ones_are_counted_as_dropped(rigs, waiting):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=30)))
    rig.activate()
    rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("being processed")
    wait_frames(rig, "in", 1)
    for count in range(2, 2 + waiting):
        rig.show("waiting")
        wait_frames(rig, "in", count)
    gate.release(10)
    wait_frames(rig, "answered", 2)
    (_, camera) = rig.health(lambda statuses: values_of(statuses[1])["frames answered"] == "2")
    assert values_of(camera)["frames dropped"] == str(waiting - 1)
