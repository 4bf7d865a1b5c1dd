"""Every topic and service: its type, its QoS, and the header of results."""

import math

import pytest
from clip_surgery_ros.msg import HeatmapArray, SegmentArray, TextQuery, TrackArray
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from ros.harness import NODE, ROOT, START_S, Inbox, Process, ros_domain, wait_until
from ros.rig import PIXELS, wait_readers
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Classification, Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

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
SPACE_IN = [
    ("/depth/image_raw", Image, BEST_EFFORT, VOLATILE),
    ("/camera_info", CameraInfo, BEST_EFFORT, VOLATILE),
    ("/depth/camera_info", CameraInfo, BEST_EFFORT, VOLATILE),
]
TRANSFORMS_IN = [
    ("/tf", TFMessage, RELIABLE, VOLATILE),
    ("/tf_static", TFMessage, RELIABLE, LATCHED),
]
SPACE_RESULTS = [
    ("detections_3d", Detection3DArray, RELIABLE),
    ("points", PointCloud2, RELIABLE),
    ("background_points", PointCloud2, RELIABLE),
    ("markers", MarkerArray, RELIABLE),
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
SPACE_OUT = [
    *(
        (f"/clip_surgery/{name}", kind, reliable, VOLATILE)
        for name, kind, reliable in SPACE_RESULTS
    ),
    ("/tf", TFMessage, RELIABLE, VOLATILE),
    ("/clip_surgery/tracks", TrackArray, RELIABLE, VOLATILE),
]
SERVICES = {
    "/clip_surgery/set_query": "clip_surgery_ros/srv/SetQuery",
    "/clip_surgery/segment": "clip_surgery_ros/srv/Segment",
    "/clip_surgery/enable": "std_srvs/srv/SetBool",
    "/clip_surgery/locate": "clip_surgery_ros/srv/Locate",
    "/clip_surgery/reset_tracks": "std_srvs/srv/Trigger",
}


NAMESPACE = "/robot"

QUALITIES = {
    (RELIABLE, VOLATILE): "reliable",
    (RELIABLE, LATCHED): "reliable, latched",
    (BEST_EFFORT, VOLATILE): "best effort, depth 1",
}


def ros_name(kind):
    return kind.__module__.split(".")[0] + "/msg/" + kind.__name__


@pytest.fixture(scope="module")
def graph():
    """Run the node in a separate process and namespace; give a node that reads the ROS graph."""
    with ros_domain() as context:
        observer = Node("observer", context=context)
        with Process(*NODE, "-r", f"__ns:={NAMESPACE}") as node:
            node.wait_for_line("active on", START_S)
            yield observer
        observer.destroy_node()


def in_namespace(name):
    return name if name == "/diagnostics" else NAMESPACE + name


@pytest.mark.parametrize(
    ("direction", "rows"), [("subscriptions", TOPICS_IN), ("publishers", TOPICS_OUT)]
)
def test_every_topic_has_its_type_and_qos(graph, direction, rows):
    for topic, kind, reliability, durability in rows:
        endpoint = endpoint_of_node(graph, direction, in_namespace(topic))
        profile = endpoint.qos_profile
        assert endpoint.topic_type == ros_name(kind), topic
        assert (profile.reliability, profile.durability) == (reliability, durability), topic


def endpoint_of_node(graph, direction, topic):
    """Wait for the node's endpoint of a topic and return its info."""

    def endpoints():
        infos = getattr(graph, f"get_{direction}_info_by_topic")(topic)
        return [info for info in infos if info.node_namespace == NAMESPACE]

    wait_until(endpoints)
    (endpoint,) = endpoints()
    return endpoint


@pytest.fixture(scope="module")
def graph_in_space():
    """Run the node with depth, and give a node that reads the ROS graph."""
    depth = ("-p", "depth_topics:=[depth/image_raw]", "-p", "publish_tf:=true")
    with ros_domain() as context:
        observer = Node("observer", context=context)
        where = ("-r", f"__ns:={NAMESPACE}", "-p", "target_frame:=map", "-p", "tracking:=true")
        with Process(*NODE, *where, *depth) as node:
            node.wait_for_line("active on", START_S)
            yield observer
        observer.destroy_node()


@pytest.mark.parametrize(
    ("direction", "rows"),
    [("subscriptions", [*SPACE_IN, *TRANSFORMS_IN]), ("publishers", SPACE_OUT)],
)
def test_every_topic_of_objects_in_space_has_its_type_and_qos(graph_in_space, direction, rows):
    for topic, kind, reliability, durability in rows:
        name = topic if topic.startswith("/tf") else in_namespace(topic)
        endpoint = endpoint_of_node(graph_in_space, direction, name)
        profile = endpoint.qos_profile
        assert endpoint.topic_type == ros_name(kind), topic
        assert (profile.reliability, profile.durability) == (reliability, durability), topic


def names_of_node(graph, kind, expected):
    """Wait until the graph has the expected names for the node; return all names and types."""

    def names():
        get_names = getattr(graph, f"get_{kind}_names_and_types_by_node")
        return dict(get_names("clip_surgery", NAMESPACE))

    wait_until(lambda: names().keys() >= expected)
    return names()


def test_every_service_has_its_type(graph):
    expected = {in_namespace(name): [kind] for name, kind in SERVICES.items()}
    names = names_of_node(graph, "service", expected.keys())
    assert {name: names[name] for name in expected} == expected


def test_table_of_topics_agrees_with_the_node():
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
    expected = {
        ("srv", name_on_page(name), type_on_page(kind), "") for name, kind in SERVICES.items()
    }
    for way, topics in (("in", TOPICS_IN), ("out", TOPICS_OUT)):
        for topic, kind, *quality in topics:
            expected.add(
                (way, name_on_page(topic), type_on_page(ros_name(kind)), QUALITIES[tuple(quality)])
            )
    for topic, kind, *_ in SPACE_IN:
        expected.add(("in", topic[1:], type_on_page(ros_name(kind)), "best effort, depth 5"))
    for way, topics in (("in", TRANSFORMS_IN), ("out", SPACE_OUT)):
        for topic, kind, *quality in topics:
            name = topic.replace("/clip_surgery/", "~/")
            expected.add((way, name, type_on_page(ros_name(kind)), QUALITIES[tuple(quality)]))
    assert shown == expected


def name_on_page(name):
    """Return a name as the page writes it: private (~/) or relative to the namespace."""
    return name.replace("/clip_surgery/", "~/").removeprefix("/" if "diag" not in name else "")


def type_on_page(kind):
    return kind.replace("/msg/", "/").replace("/srv/", "/")


def test_node_publishes_no_other_topics(graph):
    expected = {in_namespace(topic) for topic, *_ in TOPICS_OUT}
    added_by_rclpy = {"/rosout", "/parameter_events", f"{NAMESPACE}/clip_surgery/transition_event"}
    names = names_of_node(graph, "publisher", expected | added_by_rclpy)
    assert set(names) == expected | added_by_rclpy


def test_every_result_has_the_header_of_its_image_and_its_query(active):
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


def test_results_are_published_when_nothing_is_found(rigs):
    """The shipped networks find no teapot in noise, and do not know fire engines."""
    from clip_surgery_ros.networks.factory import load_networks

    rig = rigs(load=load_networks, distractors=True)
    rig.activate()
    detections = rig.inbox(Detection2DArray, "detections")
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "detections", "segments")
    rig.ask("fire engine; teapot")
    rig.show("noise")
    rig.show("noise", image_message(PIXELS.repeat(16, 0).repeat(16, 1), "rgb8", Header()))
    assert list(detections.wait().detections) == []
    unknown, absent = segments.wait().absent
    assert (unknown.label, absent.label) == ("fire engine", "teapot")
    assert unknown.reason and math.isnan(unknown.presence)
    assert absent.reason and 0 <= absent.presence < absent.presence_threshold == 0.5


def test_query_has_a_threshold_per_label_by_service_and_topic(active):
    echo = Inbox(active.outside, TextQuery, "/clip_surgery/active_query", qos.latched())
    request = SetQuery.Request(labels=["mug", "saw"], thresholds=[0.25, 0.5])
    answer = active.call(SetQuery, "set_query", request)
    query = echo.wait(lambda message: message.sequence == answer.sequence)
    assert list(query.thresholds) == [0.25, 0.5]
    active.text_queries.publish(TextQuery(labels=["axe", "car"], thresholds=[0.125, 0.75]))
    query = echo.wait(lambda message: list(message.labels) == ["axe", "car"])
    assert list(query.thresholds) == [0.125, 0.75] and query.sequence == answer.sequence + 1
