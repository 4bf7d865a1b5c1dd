"""Diagnostics and log say what keeps images, queries and time from arriving."""

import numpy as np
import open_clip
import pytest
import rclpy
from clip_surgery_ros.msg import SegmentArray
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.node import Node
from ros.fakes import FakeEngine, FakeNetworks
from ros.harness import Inbox, destroy, wait_for_reader
from ros.rig import ACTIVATE, CONFIGURE, DEACTIVATE, values_of, wait_frames, wait_readers
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from small_networks import small_clip
from std_msgs.msg import Header, String

from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.cameras import DEMO_FRAME
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
YEAR_S = 31_557_600
OVERRIDE = "qos_overrides./{}.subscription.{}"


@pytest.fixture
def without_images(rigs):
    """Make an active node whose image topic has no publisher."""

    def make(**parameters):
        rig = rigs(**parameters)
        destroy(rig.outside, rig.images)
        rig.activate()
        return rig

    return make


@pytest.fixture
def other_process(ros_node):
    """A node with a ROS context of its own; within a context a topic has only one type."""
    context = Context()
    rclpy.init(context=context)
    node = Node("driver", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def status_of(rig, index, level, text):
    """Wait until the status of the node (0) or its camera (1) contains the text; return it."""

    def contains_text(statuses):
        return len(statuses) > index and text in statuses[index].message

    status = rig.health(contains_text)[index]
    assert status.level == level
    return status.message


# Topics of a wrong type, and incompatible QoS


@pytest.mark.parametrize(
    ("transport", "kind", "topic", "text"),
    [
        (
            *("raw", CompressedImage, "/image_raw"),
            "/image_raw carries sensor_msgs/msg/CompressedImage, and this node reads "
            "sensor_msgs/msg/Image there: set image_transport to compressed and remap "
            "/image_raw/compressed to /image_raw",
        ),
        (
            *("raw", PointCloud2, "/image_raw"),
            "/image_raw carries sensor_msgs/msg/PointCloud2, and this node reads "
            "sensor_msgs/msg/Image there: name a topic of sensor_msgs/msg/Image",
        ),
        (
            *("compressed", Image, "/image_raw/compressed"),
            "carries sensor_msgs/msg/Image, and this node reads sensor_msgs/msg/CompressedImage "
            "there: set image_transport to raw and name the topic /image_raw/compressed",
        ),
        (
            *("raw", CompressedImage, "/image_raw/compressed"),
            "nobody publishes /image_raw, but /image_raw/compressed carries "
            "sensor_msgs/msg/CompressedImage: set image_transport to compressed",
        ),
        (
            *("compressed", Image, "/image_raw"),
            "nobody publishes /image_raw/compressed, but /image_raw carries "
            "sensor_msgs/msg/Image: set image_transport to raw",
        ),
    ],
)
def test_wrong_image_type_warns_with_the_remedy(
    without_images, transport, kind, topic, text, other_process
):
    rig = without_images(image_transport=transport)
    other_process.create_publisher(kind, topic, 10)
    status_of(rig, 1, WARN, text)


def test_full_name_of_a_compressed_topic_warns_with_the_base_name(without_images, other_process):
    rig = without_images(image_topics=["/cam/image_raw/compressed"])
    other_process.create_publisher(CompressedImage, "/cam/image_raw/compressed", 10)
    remedy = "set image_transport to compressed and name the topic /cam/image_raw"
    assert status_of(rig, 1, WARN, "carries").endswith(remedy)


def test_images_arrive_although_a_second_publisher_has_a_wrong_type(without_images, other_process):
    rig = without_images()
    other_process.create_publisher(PointCloud2, "image_raw", 10)
    rig.images = rig.outside.create_publisher(Image, "image_raw", 10)
    rig.show("received")
    wait_frames(rig, "in", 1)
    status_of(rig, 1, WARN, "/image_raw carries sensor_msgs/msg/PointCloud2")
    (_, camera) = rig.health(lambda statuses: values_of(statuses[1])["publishers"] == "1")
    assert camera.level == WARN


@pytest.mark.parametrize(
    ("policy", "requested", "offered", "text"),
    [
        ("reliability", "reliable", qos.newest_image, "publishes /image_raw best effort, and"),
        ("durability", "transient_local", qos.result, "publishes /image_raw volatile, and"),
    ],
)
def test_incompatible_qos_of_images_warns_with_the_remedy(
    without_images, policy, requested, offered, text, other_process
):
    rig = without_images(**{OVERRIDE.format("image_raw", policy): requested})
    other_process.create_publisher(Image, "image_raw", offered())
    message = status_of(rig, 1, WARN, text)
    assert f"set {OVERRIDE.format('image_raw', policy)} to" in message
    assert "incompatible QoS" in message


def test_wrong_type_or_qos_of_a_query_warns(without_images, other_process):
    rig = without_images()
    status_of(rig, 0, OK, "waiting for a query")
    wrong_type = other_process.create_publisher(String, "/clip_surgery/text_query", 10)
    status_of(rig, 0, WARN, "/clip_surgery/text_query carries std_msgs/msg/String")
    destroy(other_process, wrong_type)
    status_of(rig, 0, OK, "waiting for a query")
    other_process.create_publisher(String, "query", qos.newest_image())
    message = status_of(
        rig, 0, WARN, "publishes /query best effort, and this node asks for reliable"
    )
    assert message.endswith("set qos_overrides./query.subscription.reliability to best_effort")


def test_unread_latched_query_warns_until_a_query_arrives(without_images, other_process):
    rig = without_images()
    other_process.create_publisher(String, "query", qos.latched())
    status_of(rig, 0, WARN, "a query that was latched on /query before this node started is not")
    rig.ask("mug")
    status_of(rig, 0, OK, "ready")


def test_latched_query_arrives_with_transient_local_durability(ros_node, rigs):
    latched = ros_node.create_publisher(String, "query", qos.latched())
    latched.publish(String(data="mug"))
    rig = rigs(**{OVERRIDE.format("query", "durability"): "transient_local"})
    rig.echo.wait(lambda echo: list(echo.labels) == ["mug"])


# Unexpected images and stamps


def test_16uc1_images_are_answered_with_a_warning_about_depth(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    image = image_message(GREY.astype(np.uint16), "mono16", Header())
    image.encoding = "16UC1"
    active.show("depth", image)
    segments.wait()
    status_of(active, 1, WARN, "/image_raw is 16UC1, as depth images are (REP 118)")
    image.encoding = "mono16"
    active.show("grey", image)
    status_of(active, 1, OK, "answering frames")


def test_float_images_are_rejected_as_depth_images(active):
    active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("depth", image_message(GREY.astype(np.float32), "32FC1", Header()))
    text = "'32FC1' is not known: a depth image, so remap image_raw to the camera's colour image"
    status_of(active, 1, ERROR, text)


@pytest.mark.parametrize(
    ("seconds", "limit_s", "outcome", "level", "text"),
    [
        (
            -57 * YEAR_S,
            0.0,
            "answered",
            OK,
            "is stamped 57 years ago, so by a different clock: ages are ",
        ),
        (
            -57 * YEAR_S,
            5.0,
            "skipped: too old",
            WARN,
            "measured, and max_frame_age_s drops them all;",
        ),
        (
            3 * YEAR_S,
            5.0,
            "answered",
            WARN,
            "3 years ahead, so by a different clock: ages are not measured, ",
        ),
        (
            3 * YEAR_S,
            0.0,
            "answered",
            WARN,
            "are not measured; play a bag with --clock and set use_sim_time",
        ),
        (-30 * 3600, 0.0, "answered", OK, "is stamped 30 hours ago, so by a different clock"),
    ],
)
def test_stamps_of_another_clock_are_reported_and_give_no_ages(
    rigs, seconds, limit_s, outcome, level, text
):
    rig = rigs(max_frame_age_s=limit_s)
    rig.activate()
    rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    image = image_message(GREY, "mono8", Header())
    image.header.stamp = rig.outside.get_clock().now().to_msg()
    image.header.stamp.sec = max(1, image.header.stamp.sec + seconds)
    wait_for_reader(rig.images)
    rig.images.publish(image)
    wait_frames(rig, outcome, 1)
    status_of(rig, 1, level, text)
    (_, camera) = rig.health(lambda statuses: len(statuses) == 2)
    assert not [key for key in values_of(camera) if key.startswith("age")]
    rig.show("now")
    wait_frames(rig, "in", 2)
    assert "clock" not in status_of(rig, 1, OK, "answering frames")


def test_simulated_time_without_a_clock_warns(without_images, other_process):
    rig = without_images(use_sim_time=True)
    status_of(rig, 0, WARN, "use_sim_time is true and nobody publishes /clock")
    rig.images = rig.outside.create_publisher(Image, "image_raw", 10)
    rig.show("stamped")
    status_of(rig, 1, OK, "images arrive")
    clock = other_process.create_publisher(Clock, "/clock", 10)
    status_of(rig, 0, OK, "waiting for a query")
    destroy(other_process, clock)
    status_of(rig, 0, WARN, "nobody publishes /clock")


# Networks


def test_demo_networks_on_real_camera_images_warn(rigs):
    rig = rigs()
    rig.networks.know_demo_only = True
    rig.activate()
    rig.show(DEMO_FRAME)
    status_of(rig, 1, OK, "images arrive")
    rig.show("camera")
    message = status_of(
        rig, 1, WARN, "the demo's networks process /image_raw, but they know generated"
    )
    assert message.endswith("set clip_model and sam_model to real networks")


def test_log_names_the_demo_networks_and_their_precision(rigs, capfd):
    rig = rigs(load=load_networks)
    assert rig.change(CONFIGURE)
    log = capfd.readouterr().err
    assert "in float32: CLIP 'demo', which comes with the package; SAM 'demo', which" in log
    assert rig.change(ACTIVATE)
    rig.show("camera")
    status_of(rig, 1, WARN, "the demo's networks process /image_raw")


class GeneralNetworks(FakeNetworks):
    """Fake networks whose labels are encoded by a general CLIP."""

    def __init__(self, clip, labels):
        super().__init__(FakeEngine(lambda _: clip.text_features(labels)))
        self._clip = clip

    @property
    def text_counts(self):
        return self._clip.text_counts


def test_truncated_label_is_named_in_diagnostics_and_log(rigs):
    label = "a mug that is " + "very " * 100 + "large"
    networks = GeneralNetworks(
        ClipBackend(small_clip(), open_clip.SimpleTokenizer()), ["mug", label]
    )
    rig = rigs(load=lambda _: networks)
    rosout = Inbox(rig.outside, Log, "/rosout", 100)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask(f"mug; {label}")
    rosout.wait(lambda log: "query 2" in log.msg)
    rig.show("seen")
    segments.wait()
    status_of(rig, 0, WARN, "label 'a mug that is very very")
    rosout.wait(lambda log: "a mug that is very" in log.msg and "the rest was cut" in log.msg)
    rig.ask("mug")
    status_of(rig, 0, OK, "ready")


def test_only_truncated_labels_of_the_active_query_warn(active):
    active.networks.text_counts = TextCounts(cut=("a very long text",))
    active.ask("mug")
    status_of(active, 0, OK, "ready")
    active.ask("mug; a very long text")
    status_of(active, 0, WARN, "label 'a very long text' is longer than this CLIP reads")


def test_lasting_warning_is_logged_once(without_images, other_process):
    rig = without_images()
    rosout = Inbox(rig.outside, Log, "/rosout", 100)
    rig.ask("mug")
    rosout.wait(lambda log: "query 2" in log.msg)
    wrong = other_process.create_publisher(CompressedImage, "image_raw", 10)
    rosout.wait(lambda log: "carries sensor_msgs/msg/CompressedImage" in log.msg)
    for _ in range(3):
        rig.health()
    logged = [log for log in rosout.messages if "carries sensor_msgs" in log.msg]
    assert len(logged) == 1 and logged[0].level == Log.WARN
    destroy(other_process, wrong)
    status_of(rig, 1, WARN, "nobody publishes")


def test_inactive_node_does_not_warn_about_images(rigs, other_process):
    rig = rigs()
    other_process.create_publisher(CompressedImage, "image_raw", 10)
    rig.activate()
    status_of(rig, 1, WARN, "carries")
    assert rig.change(DEACTIVATE)
    status_of(rig, 1, OK, "not listening")


def test_two_topics_with_the_same_name_are_rejected_on_activate(rigs):
    rig = rigs(image_topics=["query"])
    assert rig.change(CONFIGURE) and not rig.change(ACTIVATE)
    message = status_of(rig, 0, ERROR, "cannot activate: topic '/query' would be")
    assert "sensor_msgs/msg/Image and std_msgs/msg/String at once" in message
