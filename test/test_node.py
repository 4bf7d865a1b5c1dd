"""The node over real ROS, with fake networks."""

import threading

import pytest
from clip_surgery_ros.msg import HeatmapArray, SegmentArray, TextQuery
from clip_surgery_ros.srv import SetQuery
from ros.fakes import FakeEngine, FakeNetworks
from ros.harness import wait_for_reader, wait_until
from ros.rig import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    PIXELS,
    wait_frames,
    wait_readers,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray, LabelInfo

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message


def test_frame_and_query_give_segments_with_the_image_header(active):
    segments = active.inbox(SegmentArray, "segments")
    detections = active.inbox(Detection2DArray, "detections")
    wait_readers(active, "segments", "detections")
    active.ask("mug; saw")
    header = active.show("one")
    message = segments.wait()
    assert message.header == header == detections.wait().header
    assert [segment.label for segment in message.segments] == ["mug"]
    assert [absent.label for absent in message.absent] == ["saw"]
    (pixels, query, _) = active.engine.requests[0]
    assert pixels.tolist() == PIXELS.tolist()
    assert query.names == ("mug", "saw")
    assert message.query.sequence == query.sequence


def test_images_without_a_query_are_skipped_with_one_log_message(active, capfd):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    for count in (1, 2, 3):
        active.show("without a query")
        wait_frames(active, "skipped: nothing asked", count)
    assert capfd.readouterr().err.count("nothing is asked for") == 1
    active.ask("mug")
    active.show("with a query")
    assert segments.wait().header.frame_id == "with a query"
    assert len(active.engine.requests) == 1


def test_empty_query_clears_the_query(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    assert list(active.ask(" ").labels) == []
    active.show("without a query")
    wait_frames(active, "skipped: nothing asked", 1)
    active.ask("saw")
    active.show("with a query")
    assert segments.wait().header.frame_id == "with a query"


def test_outputs_without_subscribers_are_not_computed(active):
    active.ask("mug")
    active.show("unread")
    wait_frames(active, "skipped: nobody reads", 1)
    heatmaps = active.inbox(HeatmapArray, "heatmaps")
    wait_readers(active, "heatmaps")
    active.show("map only")
    assert heatmaps.wait().header.frame_id == "map only"
    assert [wanted.segments for _, _, wanted in active.engine.requests] == [False]
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.show("both")
    segments.wait()
    assert [wanted.segments for _, _, wanted in active.engine.requests] == [False, True]


@pytest.mark.parametrize(
    "bad",
    [
        Image(height=2, width=2, encoding="rgb9", step=6, data=bytes(12)),
        Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(5)),
    ],
    ids=["encoding", "truncated"],
)
def test_node_continues_after_an_invalid_image(active, bad):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("bad", bad)
    active.health(lambda statuses: "rgb" in statuses[1].message)
    active.show("good")
    assert segments.wait().header.frame_id == "good"


def test_node_continues_after_an_error_in_inference(rigs):
    failures = [ValueError("numerical trouble")]

    def before(_):
        if failures:
            raise failures.pop()

    rig = rigs(engine=FakeEngine(before))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("bad")
    rig.health(lambda statuses: statuses[1].message == "numerical trouble")
    rig.show("good")
    assert segments.wait().header.frame_id == "good"


def test_invalid_query_keeps_the_previous_one(active):
    before = active.ask("mug")
    active.queries.publish(String(data="saw\x07"))
    wait_for_reader(active.text_queries)
    active.text_queries.publish(TextQuery(labels=["saw"], thresholds=[7.0]))
    request = SetQuery.Request(labels=["saw"], thresholds=[0.1, 0.2])
    response = active.call(SetQuery, "set_query", request)
    assert not response.success and "2 thresholds" in response.message
    assert response.sequence == before.sequence
    assert active.ask("axe").sequence == before.sequence + 1


def test_text_query_sets_thresholds(active):
    wait_for_reader(active.text_queries)
    before = len(active.echo.messages)
    active.text_queries.publish(TextQuery(labels=["mug"], thresholds=[0.25]))
    echo = active.echo.wait(after=before)
    assert (list(echo.labels), list(echo.thresholds)) == (["mug"], [0.25])


def test_set_query_returns_the_new_sequence(active):
    response = active.call(SetQuery, "set_query", SetQuery.Request(labels=["mug"]))
    assert response.success
    assert (
        active.echo.wait(lambda echo: list(echo.labels) == ["mug"]).sequence == response.sequence
    )


def test_changed_parameter_applies_to_the_next_frame(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    active.show("one")
    segments.wait()
    assert active.set("presence_threshold", 0.25).successful
    for count in (2, 3):
        active.show("more")
        assert len(segments.wait_count(count)) == count
    # The engine is rebuilt for a changed parameter, not for every frame.
    assert [config.presence_threshold for config in active.networks.configs] == [0.5, 0.25]


def test_late_subscriber_receives_label_info(active):
    active.ask("mug; saw")
    late = active.inbox(LabelInfo, "label_info", qos.latched())
    assert [entry.class_name for entry in late.wait().class_map] == ["mug", "saw"]


def test_default_query_takes_effect_at_start_and_when_set(rigs):
    rig = rigs(default_query="mug")
    assert list(rig.echo.wait().labels) == ["mug"]
    assert rig.set("default_query", "saw").successful
    rig.echo.wait(lambda echo: list(echo.labels) == ["saw"])


def test_busy_node_answers_calls_and_processes_the_newest_frame(rigs):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=10)))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("first")
    wait_until(lambda: rig.engine.requests)
    for count, frame_id in ((2, "second"), (3, "third")):
        rig.show(frame_id)
        wait_frames(rig, "in", count)
    # Inference is blocked, but the executor answers this call.
    assert rig.state() == "active"
    gate.release(10)
    segments.wait_count(2)
    assert [message.header.frame_id for message in segments.messages] == ["first", "third"]
    assert rig.engine.threads == {"newest-worker"}


def test_enable_service_pauses_and_resumes_inference(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.ask("mug")
    assert active.call(SetBool, "enable", SetBool.Request(data=False)).success
    active.show("paused")
    wait_frames(active, "skipped: switched off", 1)
    assert active.call(SetBool, "enable", SetBool.Request(data=True)).success
    active.show("resumed")
    assert segments.wait().header.frame_id == "resumed"


def test_frames_older_than_the_limit_are_skipped(rigs):
    rig = rigs(max_frame_age_s=30.0)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    old = image_message(PIXELS, "rgb8", Header(frame_id="old"))
    old.header.stamp.sec = 1
    wait_for_reader(rig.images)
    rig.images.publish(old)
    wait_frames(rig, "skipped: too old", 1)
    rig.show("fresh")
    assert segments.wait().header.frame_id == "fresh"


def test_frames_above_the_rate_limit_are_skipped(rigs):
    rig = rigs(max_rate_hz=0.01)
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("first")
    segments.wait()
    rig.show("too soon")
    wait_frames(rig, "skipped: rate limit", 1)
    assert rig.set("max_rate_hz", 0.0).successful
    rig.show("unlimited")
    assert segments.wait(after=1).header.frame_id == "unlimited"


def test_autostart_activates_the_node(rig):
    assert rig.node.autostart()
    assert rig.state() == "active"


def test_every_transition_can_run_twice(rig):
    for _ in range(2):
        assert rig.change(CONFIGURE) and rig.state() == "inactive"
        for _ in range(2):
            assert rig.change(ACTIVATE) and rig.state() == "active"
            assert rig.change(DEACTIVATE) and rig.state() == "inactive"
        assert rig.change(CLEANUP) and rig.state() == "unconfigured"
    # Once for each configure; activate does not load networks again.
    assert rig.loads == 2


def test_results_resume_after_deactivate_and_activate(active):
    active.ask("mug")
    assert active.change(DEACTIVATE) and active.change(ACTIVATE)
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    active.show("again")
    assert segments.wait().header.frame_id == "again"


@pytest.mark.parametrize("transition", [CONFIGURE, ACTIVATE, CLEANUP, 200])
def test_invalid_transition_of_an_active_node_is_rejected(active, transition):
    assert not active.change(transition)
    assert active.state() == "active"


@pytest.mark.parametrize("error", [WeightsError("no such file"), ValueError("a defect")])
def test_loading_error_leaves_the_node_unconfigured(rigs, error):
    failures = [error]

    def load(_):
        if failures:
            raise failures.pop()
        return FakeNetworks()

    rig = rigs(load=load)
    assert not rig.change(CONFIGURE)
    assert rig.state() == "unconfigured"
    assert rig.change(CONFIGURE)
