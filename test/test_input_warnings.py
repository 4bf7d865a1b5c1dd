"""What keeps images, queries and the time from arriving is told in diagnostics and in the log."""

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
from ros.harness import Inbox, wait_for_reader
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
def alone(rigs):
    """Makes an active node whose camera topic nobody publishes yet."""

    def make(**parameters):
        rig = rigs(**parameters)
        rig.outside.destroy_publisher(rig.images)
        rig.activate()
        return rig

    return make


@pytest.fixture
def elsewhere(ros_node):
    """A node of another process, as far as the middleware knows: one has one type for a topic."""
    context = Context()
    rclpy.init(context=context)
    node = Node("driver", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def status_of(rig, index, level, said):
    """The status of the node (0) or its camera (1) once it says this."""

    def says(statuses):
        return len(statuses) > index and said in statuses[index].message

    status = rig.health(says)[index]
    assert status.level == level
    return status.message


# Topics of another type, and qualities of service that cannot match


@pytest.mark.parametrize(
    ("transport", "kind", "topic", "said"),
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
def test_images_of_another_type_are_told_with_what_to_set(
    alone, transport, kind, topic, said, elsewhere
):
    rig = alone(image_transport=transport)
    elsewhere.create_publisher(kind, topic, 10)
    status_of(rig, 1, WARN, said)


def test_a_compressed_topic_that_is_named_whole_is_told_with_its_right_name(alone, elsewhere):
    rig = alone(image_topics=["/cam/image_raw/compressed"])
    elsewhere.create_publisher(CompressedImage, "/cam/image_raw/compressed", 10)
    cure = "set image_transport to compressed and name the topic /cam/image_raw"
    assert status_of(rig, 1, WARN, "carries").endswith(cure)


def test_a_topic_of_the_right_type_beside_one_of_another_is_heard_and_both_are_told(
    alone, elsewhere
):
    rig = alone()
    elsewhere.create_publisher(PointCloud2, "image_raw", 10)
    rig.images = rig.outside.create_publisher(Image, "image_raw", 10)
    rig.show("heard")
    wait_frames(rig, "in", 1)
    status_of(rig, 1, WARN, "/image_raw carries sensor_msgs/msg/PointCloud2")
    (_, camera) = rig.health(lambda statuses: values_of(statuses[1])["publishers"] == "1")
    assert camera.level == WARN


@pytest.mark.parametrize(
    ("policy", "asked", "offered", "said"),
    [
        ("reliability", "reliable", qos.newest_image, "publishes /image_raw best effort, and"),
        ("durability", "transient_local", qos.result, "publishes /image_raw volatile, and"),
    ],
)
def test_images_of_a_quality_that_cannot_match_are_told(
    alone, policy, asked, offered, said, elsewhere
):
    rig = alone(**{OVERRIDE.format("image_raw", policy): asked})
    elsewhere.create_publisher(Image, "image_raw", offered())
    message = status_of(rig, 1, WARN, said)
    assert f"set {OVERRIDE.format('image_raw', policy)} to" in message
    assert "incompatible QoS" in message


def test_a_query_of_another_type_or_quality_is_told(alone, elsewhere):
    rig = alone()
    status_of(rig, 0, OK, "waiting for a query")
    other = elsewhere.create_publisher(String, "/clip_surgery/text_query", 10)
    status_of(rig, 0, WARN, "/clip_surgery/text_query carries std_msgs/msg/String")
    elsewhere.destroy_publisher(other)
    status_of(rig, 0, OK, "waiting for a query")
    elsewhere.create_publisher(String, "query", qos.newest_image())
    said = status_of(rig, 0, WARN, "publishes /query best effort, and this node asks for reliable")
    assert said.endswith("set qos_overrides./query.subscription.reliability to best_effort")


def test_a_query_that_was_latched_before_the_node_came_is_told_until_there_is_one(
    alone, elsewhere
):
    rig = alone()
    elsewhere.create_publisher(String, "query", qos.latched())
    status_of(rig, 0, WARN, "a query that was latched on /query before this node started is not")
    rig.ask("mug")
    status_of(rig, 0, OK, "ready")


def test_a_latched_query_is_heard_where_the_node_is_told_to_ask_for_it(ros_node, rigs):
    latched = ros_node.create_publisher(String, "query", qos.latched())
    latched.publish(String(data="mug"))
    rig = rigs(**{OVERRIDE.format("query", "durability"): "transient_local"})
    rig.echo.wait(lambda echo: list(echo.labels) == ["mug"])


# What arrives and is not what it should be


def test_16_bit_images_that_may_be_depth_are_answered_and_told(active):
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


def test_float_images_are_refused_as_depth(active):
    active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("depth", image_message(GREY.astype(np.float32), "32FC1", Header()))
    said = "'32FC1' is not known: a depth image, so remap image_raw to the camera's colour image"
    status_of(active, 1, ERROR, said)


@pytest.mark.parametrize(
    ("seconds", "limit_s", "became", "level", "said"),
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
def test_stamps_of_another_clock_are_told_and_make_no_ages(
    rigs, seconds, limit_s, became, level, said
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
    wait_frames(rig, became, 1)
    status_of(rig, 1, level, said)
    (_, camera) = rig.health(lambda statuses: len(statuses) == 2)
    assert not [key for key in values_of(camera) if key.startswith("age")]
    rig.show("now")
    wait_frames(rig, "in", 2)
    assert "clock" not in status_of(rig, 1, OK, "answering frames")


def test_simulated_time_without_a_clock_is_told(alone, elsewhere):
    rig = alone(use_sim_time=True)
    status_of(rig, 0, WARN, "use_sim_time is true and nobody publishes /clock")
    rig.images = rig.outside.create_publisher(Image, "image_raw", 10)
    rig.show("stamped")
    status_of(rig, 1, OK, "images arrive")
    clock = elsewhere.create_publisher(Clock, "/clock", 10)
    status_of(rig, 0, OK, "waiting for a query")
    elsewhere.destroy_publisher(clock)
    status_of(rig, 0, WARN, "nobody publishes /clock")


# Networks


def test_the_demos_networks_on_another_camera_than_the_demos_are_told(rigs):
    rig = rigs()
    rig.networks.know_demo_only = True
    rig.activate()
    rig.show(DEMO_FRAME)
    status_of(rig, 1, OK, "images arrive")
    rig.show("camera")
    said = status_of(
        rig, 1, WARN, "the demo's networks process /image_raw, but they know generated"
    )
    assert said.endswith("set clip_model and sam_model to real networks")


def test_the_demos_networks_are_known_for_what_they_are_and_named_in_the_log(rigs, capfd):
    rig = rigs(load=load_networks)
    assert rig.change(CONFIGURE)
    said = capfd.readouterr().err
    assert "in float32: CLIP 'demo', which comes with the package; SAM 'demo', which" in said
    assert rig.change(ACTIVATE)
    rig.show("camera")
    status_of(rig, 1, WARN, "the demo's networks process /image_raw")


class OpenNetworks(FakeNetworks):
    """Answers at once, with labels read by a CLIP that knows language at large."""

    def __init__(self, clip, labels):
        super().__init__(FakeEngine(lambda _: clip.text_features(labels)))
        self._clip = clip

    @property
    def text_counts(self):
        return self._clip.text_counts


def test_a_label_that_is_cut_is_told_with_its_name(rigs):
    label = "a mug that is " + "very " * 100 + "large"
    networks = OpenNetworks(ClipBackend(small_clip(), open_clip.SimpleTokenizer()), ["mug", label])
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


def test_only_labels_in_force_are_told_to_be_cut(active):
    active.networks.text_counts = TextCounts(cut=("a very long text",))
    active.ask("mug")
    status_of(active, 0, OK, "ready")
    active.ask("mug; a very long text")
    status_of(active, 0, WARN, "label 'a very long text' is longer than this CLIP reads")


def test_what_is_told_in_diagnostics_is_logged_once_while_it_lasts(alone, elsewhere):
    rig = alone()
    rosout = Inbox(rig.outside, Log, "/rosout", 100)
    rig.ask("mug")
    rosout.wait(lambda log: "query 2" in log.msg)
    wrong = elsewhere.create_publisher(CompressedImage, "image_raw", 10)
    rosout.wait(lambda log: "carries sensor_msgs/msg/CompressedImage" in log.msg)
    for _ in range(3):
        rig.health()
    logged = [log for log in rosout.messages if "carries sensor_msgs" in log.msg]
    assert len(logged) == 1 and logged[0].level == Log.WARN
    elsewhere.destroy_publisher(wrong)
    status_of(rig, 1, WARN, "nobody publishes")


def test_nothing_is_complained_of_while_the_node_does_not_listen(rigs, elsewhere):
    rig = rigs()
    elsewhere.create_publisher(CompressedImage, "image_raw", 10)
    rig.activate()
    status_of(rig, 1, WARN, "carries")
    assert rig.change(DEACTIVATE)
    status_of(rig, 1, OK, "not listening")


def test_topics_of_the_node_that_are_remapped_to_one_are_refused(rigs):
    rig = rigs(image_topics=["query"])
    assert rig.change(CONFIGURE) and not rig.change(ACTIVATE)
    said = status_of(rig, 0, ERROR, "cannot activate: topic '/query' would be")
    assert "sensor_msgs/msg/Image and std_msgs/msg/String at once" in said
