"""Every topic and service: its type, its quality of service, and the source image's own header."""

import pytest
from clip_surgery_ros.msg import HeatmapArray, SegmentArray, TextQuery
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from ros.harness import NODE, ROOT, START_S, Inbox, Process, ros_domain, wait_until
from ros.rig import PIXELS, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.outputs import OUTPUTS

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
VOLATILE, LATCHED = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL
TOPICS_IN = [
    ("/image_raw", Image, BEST_EFFORT, VOLATILE),
    ("/query", String, RELIABLE, VOLATILE),
    ("/clip_surgery/text_query", TextQuery, RELIABLE, VOLATILE),
]
RESULTS = [
    ("segments", SegmentArray, RELIABLE),
    ("detections", Detection2DArray, RELIABLE),
    ("mask", Image, RELIABLE),
    ("instances", Image, RELIABLE),
    ("confidence", Image, RELIABLE),
    ("heatmap", Image, RELIABLE),
    ("heatmaps", HeatmapArray, RELIABLE),
    ("overlay", Image, BEST_EFFORT),
    ("classification", Classification, RELIABLE),
]
TOPICS_OUT = [
    *((f"/clip_surgery/{name}", kind, reliable, VOLATILE) for name, kind, reliable in RESULTS),
    ("/clip_surgery/label_info", LabelInfo, RELIABLE, LATCHED),
    ("/clip_surgery/active_query", TextQuery, RELIABLE, LATCHED),
    ("/diagnostics", DiagnosticArray, RELIABLE, VOLATILE),
]
SERVICES = {
    "/clip_surgery/set_query": "clip_surgery_ros/srv/SetQuery",
    "/clip_surgery/segment": "clip_surgery_ros/srv/Segment",
    "/clip_surgery/enable": "std_srvs/srv/SetBool",
}


NAMESPACE = "/served"

QUALITIES = {
    (RELIABLE, VOLATILE): "reliable",
    (RELIABLE, LATCHED): "reliable, latched",
    (BEST_EFFORT, VOLATILE): "best effort, depth 1",
}


def ros_name(kind):
    return kind.__module__.split(".")[0] + "/msg/" + kind.__name__


@pytest.fixture(scope="module")
def served():
    """The node in a process and a namespace of its own, and somebody who asks the graph of it."""
    with ros_domain() as context:
        asking = Node("asking", context=context)
        with Process(*NODE, "-r", f"__ns:={NAMESPACE}") as node:
            node.wait_for_line("active on", START_S)
            yield asking
        asking.destroy_node()


def in_namespace(name):
    return name if name == "/diagnostics" else NAMESPACE + name


@pytest.mark.parametrize(
    ("way", "rows"), [("subscriptions", TOPICS_IN), ("publishers", TOPICS_OUT)]
)
def test_every_topic_has_the_type_and_quality_of_service_that_is_promised(served, way, rows):
    for topic, kind, reliability, durability in rows:
        end = end_at_the_node(served, way, in_namespace(topic))
        profile = end.qos_profile
        assert end.topic_type == ros_name(kind), topic
        assert (profile.reliability, profile.durability) == (reliability, durability), topic


def end_at_the_node(asking, way, topic):
    """The node's own end of a topic, which the graph tells a moment after it was made."""

    def ends():
        told = getattr(asking, f"get_{way}_info_by_topic")(topic)
        return [end for end in told if end.node_namespace == NAMESPACE]

    wait_until(ends)
    (end,) = ends()
    return end


def known_at_the_node(asking, what, least):
    """Names and types that the graph tells of the node, once these are among them."""

    def known():
        tell = getattr(asking, f"get_{what}_names_and_types_by_node")
        return dict(tell("clip_surgery", NAMESPACE))

    wait_until(lambda: known().keys() >= least)
    return known()


def test_every_service_has_the_type_that_is_promised(served):
    promised = {in_namespace(name): [kind] for name, kind in SERVICES.items()}
    known = known_at_the_node(served, "service", promised.keys())
    assert {name: known[name] for name in promised} == promised


def test_the_page_of_topics_has_a_row_for_each_of_them_and_for_nothing_else():
    table = (
        (ROOT / "docs" / "topics.md")
        .read_text()
        .split("<!-- topics -->")[1]
        .split("<!-- /topics")[0]
    )
    rows = [row.strip("| ").split("|") for row in table.strip().splitlines()[2:]]
    shown = {
        (way.strip(), name.split("`")[1], kind.split(",")[0].strip(), quality.strip())
        for way, name, kind, quality, _ in rows
    }
    promised = {("srv", below(name), told(kind), "") for name, kind in SERVICES.items()}
    for way, topics in (("in", TOPICS_IN), ("out", TOPICS_OUT)):
        for topic, kind, *quality in topics:
            promised.add((way, below(topic), told(ros_name(kind)), QUALITIES[tuple(quality)]))
    assert shown == promised


def below(name):
    """A name as the page has it: below the node's own, or relative to its namespace."""
    return name.replace("/clip_surgery/", "~/").removeprefix("/" if "diag" not in name else "")


def told(kind):
    return kind.replace("/msg/", "/").replace("/srv/", "/")


def test_nothing_is_published_that_is_not_promised(served):
    promised = {in_namespace(topic) for topic, *_ in TOPICS_OUT}
    rclpys_own = {"/rosout", "/parameter_events", f"{NAMESPACE}/clip_surgery/transition_event"}
    known = known_at_the_node(served, "publisher", promised | rclpys_own)
    assert set(known) == promised | rclpys_own


def test_every_result_has_the_source_images_own_header_and_names_its_query(active):
    sequence = active.call(SetQuery, "set_query", SetQuery.Request(labels=["mug"])).sequence
    inboxes = {
        output.name: active.inbox(output.message_type, output.name, output.make_qos())
        for output in OUTPUTS
    }
    wait_readers(active, *inboxes)
    header = Header(frame_id="camera_color_optical_frame")
    header.stamp.sec, header.stamp.nanosec = 1234, 567_890_123
    active.images.publish(image_message(PIXELS, "rgb8", header))
    for name, inbox in inboxes.items():
        assert inbox.wait().header == header, name
    assert inboxes["segments"].messages[0].query.sequence == sequence


def test_results_are_published_when_nothing_is_found_too(rigs):
    """With the networks that are shipped: noise has no mug in it."""
    from clip_surgery_ros.networks.factory import load_networks

    rig = rigs(load=load_networks, distractors=True)
    rig.activate()
    detections = rig.inbox(Detection2DArray, "detections")
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "detections", "segments")
    rig.ask("fire engine")
    rig.show("noise")
    rig.show("noise", image_message(PIXELS.repeat(16, 0).repeat(16, 1), "rgb8", Header()))
    assert list(detections.wait().detections) == []
    (absent,) = segments.wait().absent
    assert absent.label == "fire engine" and absent.reason


def test_a_query_may_bring_a_threshold_per_label_by_service_and_by_topic(active):
    echo = Inbox(active.outside, TextQuery, "/clip_surgery/active_query", qos.latched())
    request = SetQuery.Request(labels=["mug", "saw"], thresholds=[0.25, 0.5])
    answer = active.call(SetQuery, "set_query", request)
    said = echo.wait(lambda message: message.sequence == answer.sequence)
    assert list(said.thresholds) == [0.25, 0.5]
    active.text_queries.publish(TextQuery(labels=["axe", "car"], thresholds=[0.125, 0.75]))
    said = echo.wait(lambda message: list(message.labels) == ["axe", "car"])
    assert list(said.thresholds) == [0.125, 0.75] and said.sequence == answer.sequence + 1
