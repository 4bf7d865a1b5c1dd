"""The node over real ROS, with networks that answer at once."""

import threading

import numpy as np
import pytest
from clip_surgery_ros.msg import HeatmapArray, SegmentArray, TextQuery
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros.fakes import FakeEngine, FakeNetworks
from ros.harness import (
    DEADLINE_S,
    Inbox,
    ros_node,  # noqa: F401
    wait_for_reader,
    wait_until,
)
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray, LabelInfo

from clip_surgery_ros.adapters import qos
from clip_surgery_ros.adapters.images import image_message
from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.node import ClipSurgeryNode

PIXELS = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


class Rig:
    """The node under test, and a program beside it that asks and listens."""

    def __init__(self, node, engine=None, load=None, **overrides):
        self.networks = FakeNetworks(engine)
        self.engine = self.networks.engine
        self.loads = 0
        self.outside = node
        self.parameters = [Parameter(name, value=value) for name, value in overrides.items()]
        self.node = ClipSurgeryNode(
            load or self.load, context=node.context, parameter_overrides=self.parameters
        )
        self.images = node.create_publisher(Image, "image_raw", 10)
        self.queries = node.create_publisher(String, "query", 10)
        self.text_queries = node.create_publisher(
            TextQuery, "/clip_surgery/text_query", qos.query()
        )
        self.echo = self.inbox(TextQuery, "active_query", qos.latched())
        node.executor.add_node(self.node)
        self.echo.wait()

    def load(self, config):
        self.loads += 1
        return self.networks

    def close(self):
        self.outside.executor.remove_node(self.node)
        self.node.destroy_node()

    def inbox(self, kind, name, quality=10):
        return Inbox(self.outside, kind, f"/clip_surgery/{name}", quality)

    def call(self, kind, name, request):
        client = self.outside.create_client(kind, f"/clip_surgery/{name}")
        assert client.wait_for_service(DEADLINE_S)
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        assert answered.wait(DEADLINE_S)
        return future.result()

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, "change_state", request).success

    def state(self):
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def activate(self):
        assert self.change(CONFIGURE) and self.change(ACTIVATE)

    def set(self, name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call(SetParameters, "set_parameters", request).results[0]

    def ask(self, text):
        before = len(self.echo.messages)
        wait_for_reader(self.queries)
        self.queries.publish(String(data=text))
        return self.echo.wait(after=before)

    def show(self, frame_id, message=None, publisher=None):
        """Publish a frame; best effort, but nothing is lost in a process that keeps up."""
        message = message or image_message(PIXELS, "rgb8", Header())
        message.header.frame_id = frame_id
        message.header.stamp = self.outside.get_clock().now().to_msg()
        publisher = publisher or self.images
        wait_for_reader(publisher)
        publisher.publish(message)
        return message.header


def wait_readers(rig, *names):
    """Wait until the node itself sees the readers of these topics."""
    wait_until(lambda: {output.name for output in rig.node.subscribed()} >= set(names))


def skipped(rig, count):
    """Wait until the node has left this many frames alone."""
    wait_until(lambda: rig.node.health.skipped == count)


@pytest.fixture
def rigs(ros_node):  # noqa: F811
    made = []

    def make(**options):
        made.append(Rig(ros_node, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(rigs):
    return rigs()


@pytest.fixture
def active(rig):
    rig.activate()
    return rig


def test_a_frame_and_a_query_give_segments_with_the_images_header(active):
    segments = active.inbox(SegmentArray, "segments")
    detections = active.inbox(Detection2DArray, "detections")
    wait_readers(active, "segments", "detections")
    active.ask("mug; saw")
    header = active.show("one")
    message = segments.wait()
    assert message.header == header == detections.wait().header
    assert [segment.label for segment in message.segments] == ["mug"]
    assert [absent.label for absent in message.absent] == ["saw"]
    (pixels, query, _) = active.engine.asked[0]
    assert pixels.tolist() == PIXELS.tolist()
    assert query.names == ("mug", "saw")
    assert message.query.sequence == query.sequence


def test_without_a_query_no_work_is_done_and_that_is_said_once(active, capfd):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    for count in (1, 2, 3):
        active.show("unasked")
        skipped(active, count)
    assert capfd.readouterr().err.count("nothing is asked for") == 1
    active.ask("mug")
    active.show("asked")
    assert segments.wait().header.frame_id == "asked"
    assert len(active.engine.asked) == 1


def test_an_empty_query_clears(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    assert list(active.ask(" ").labels) == []
    active.show("unasked")
    skipped(active, 1)
    active.ask("saw")
    active.show("asked")
    assert segments.wait().header.frame_id == "asked"


def test_what_nobody_reads_is_not_computed(active):
    active.ask("mug")
    active.show("unread")
    skipped(active, 1)
    heatmaps = active.inbox(HeatmapArray, "heatmaps")
    wait_readers(active, "heatmaps")
    active.show("map only")
    assert heatmaps.wait().header.frame_id == "map only"
    assert [wanted.segments for _, _, wanted in active.engine.asked] == [False]
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.show("both")
    segments.wait()
    assert [wanted.segments for _, _, wanted in active.engine.asked] == [False, True]


@pytest.mark.parametrize(
    "bad",
    [
        Image(height=2, width=2, encoding="rgb9", step=6, data=bytes(12)),
        Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(5)),
    ],
    ids=["encoding", "truncated"],
)
def test_a_frame_that_cannot_be_used_is_survived(active, bad):
    segments = active.inbox(SegmentArray, "segments")
    health = Inbox(active.outside, DiagnosticArray, "/diagnostics")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("bad", bad)
    health.wait(lambda message: "rgb" in message.status[0].message)
    active.show("good")
    assert segments.wait().header.frame_id == "good"


def test_networks_that_raise_are_survived(rigs):
    failures = [ValueError("numerical trouble")]

    def before(_):
        if failures:
            raise failures.pop()

    rig = rigs(engine=FakeEngine(before))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    health = Inbox(rig.outside, DiagnosticArray, "/diagnostics")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("bad")
    health.wait(lambda message: message.status[0].message == "numerical trouble")
    rig.show("good")
    assert segments.wait().header.frame_id == "good"


def test_a_query_that_cannot_be_used_leaves_the_one_before(active):
    before = active.ask("mug")
    active.queries.publish(String(data="saw\x07"))
    wait_for_reader(active.text_queries)
    active.text_queries.publish(TextQuery(labels=["saw"], thresholds=[7.0]))
    request = SetQuery.Request(labels=["saw"], thresholds=[0.1, 0.2])
    response = active.call(SetQuery, "set_query", request)
    assert not response.success and "2 thresholds" in response.message
    assert response.sequence == before.sequence
    assert active.ask("axe").sequence == before.sequence + 1


def test_a_text_query_brings_thresholds(active):
    wait_for_reader(active.text_queries)
    before = len(active.echo.messages)
    active.text_queries.publish(TextQuery(labels=["mug"], thresholds=[0.25]))
    echo = active.echo.wait(after=before)
    assert (list(echo.labels), list(echo.thresholds)) == (["mug"], [0.25])


def test_set_query_answers_with_the_sequence_in_force(active):
    response = active.call(SetQuery, "set_query", SetQuery.Request(labels=["mug"]))
    assert response.success
    assert (
        active.echo.wait(lambda echo: list(echo.labels) == ["mug"]).sequence == response.sequence
    )


def test_live_parameters_take_effect_with_the_next_frame(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("one")
    segments.wait()
    assert active.set("presence_threshold", 0.25).successful
    for count in (2, 3):
        active.show("more")
        assert len(segments.wait_count(count)) == count
    # Made anew when a parameter changed, and not for every frame.
    assert [config.presence_threshold for config in active.networks.configs] == [0.5, 0.25]


def test_who_comes_late_still_gets_query_and_key(active):
    active.ask("mug; saw")
    late = active.inbox(LabelInfo, "label_info", qos.latched())
    assert [entry.class_name for entry in late.wait().class_map] == ["mug", "saw"]


def test_the_default_query_is_asked_at_the_start_and_when_it_is_set(rigs):
    rig = rigs(default_query="mug")
    assert list(rig.echo.wait().labels) == ["mug"]
    assert rig.set("default_query", "saw").successful
    rig.echo.wait(lambda echo: list(echo.labels) == ["saw"])


def test_a_busy_node_answers_calls_and_takes_the_newest_frame(rigs):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=10)))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("first")
    wait_until(lambda: rig.engine.asked)
    for count, frame_id in ((2, "second"), (3, "third")):
        rig.show(frame_id)
        wait_until(lambda count=count: rig.node.health.counts.offered == count)
    # Inference stands still, and the executor does not: this call is answered.
    assert rig.state() == "active"
    gate.release(10)
    segments.wait_count(2)
    assert [message.header.frame_id for message in segments.messages] == ["first", "third"]
    assert rig.engine.threads == {"newest-worker"}


def test_enable_pauses_the_work(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    assert active.call(SetBool, "enable", SetBool.Request(data=False)).success
    active.show("paused")
    skipped(active, 1)
    assert active.call(SetBool, "enable", SetBool.Request(data=True)).success
    active.show("resumed")
    assert segments.wait().header.frame_id == "resumed"


def test_frames_older_than_allowed_are_left_alone(rigs):
    rig = rigs(max_frame_age_s=30.0)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    old = image_message(PIXELS, "rgb8", Header(frame_id="old"))
    old.header.stamp.sec = 1
    wait_for_reader(rig.images)
    rig.images.publish(old)
    skipped(rig, 1)
    rig.show("fresh")
    assert segments.wait().header.frame_id == "fresh"


def test_the_rate_is_limited(rigs):
    rig = rigs(max_rate_hz=0.01)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("first")
    segments.wait()
    rig.show("too soon")
    skipped(rig, 1)
    assert rig.set("max_rate_hz", 0.0).successful
    rig.show("unlimited")
    assert segments.wait(after=1).header.frame_id == "unlimited"


def test_compressed_images_are_read_below_the_images_name(rigs):
    import cv2

    rig = rigs(image_transport="compressed")
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    data = cv2.imencode(".png", PIXELS[..., ::-1])[1].tobytes()
    publisher = rig.outside.create_publisher(CompressedImage, "image_raw/compressed", 10)
    rig.show("packed", CompressedImage(format="png", data=data), publisher)
    assert segments.wait().header.frame_id == "packed"
    assert rig.engine.asked[0][0].tolist() == PIXELS.tolist()


def test_autostart_ends_active(rig):
    assert rig.node.autostart()
    assert rig.state() == "active"


def test_every_transition_may_run_twice(rig):
    for _ in range(2):
        assert rig.change(CONFIGURE) and rig.state() == "inactive"
        for _ in range(2):
            assert rig.change(ACTIVATE) and rig.state() == "active"
            assert rig.change(DEACTIVATE) and rig.state() == "inactive"
        assert rig.change(CLEANUP) and rig.state() == "unconfigured"
    # Once for each configure: activating again does not load what is loaded.
    assert rig.loads == 2


def test_results_flow_again_after_deactivating_and_activating(active):
    active.ask("mug")
    assert active.change(DEACTIVATE) and active.change(ACTIVATE)
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.show("again")
    assert segments.wait().header.frame_id == "again"


@pytest.mark.parametrize("transition", [CONFIGURE, ACTIVATE, CLEANUP, 200])
def test_a_transition_that_the_state_does_not_have_is_refused(active, transition):
    assert not active.change(transition)
    assert active.state() == "active"


@pytest.mark.parametrize("error", [WeightsError("no such file"), ValueError("a defect")])
def test_networks_that_do_not_load_leave_the_node_unconfigured(rigs, error):
    failures = [error]

    def load(_):
        if failures:
            raise failures.pop()
        return FakeNetworks()

    rig = rigs(load=load)
    assert not rig.change(CONFIGURE)
    assert rig.state() == "unconfigured"
    assert rig.change(CONFIGURE)


def test_health_counts_frames(active):
    health = Inbox(active.outside, DiagnosticArray, "/diagnostics")
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("one")
    segments.wait()

    def values_of(message):
        return {pair.key: pair.value for pair in message.status[0].values}

    def answered(message):
        return values_of(message)["frames answered"] == "1"

    (status,) = health.wait(answered).status
    values = {pair.key: pair.value for pair in status.values}
    assert (status.name, status.message) == ("clip_surgery", "answering frames")
    assert (values["state"], values["device"], values["query"]) == ("active", "cpu", "mug")
    assert (values["frames in"], values["frames dropped for newer ones"]) == ("1", "0")
    assert float(values["latency p95 [s]"]) < DEADLINE_S
