"""The service ~/segment: one image and its own query, without effect on the stream."""

import threading

from clip_surgery_ros.msg import SegmentArray
from ros.fakes import FakeEngine
from ros.harness import wait_until
from ros.rig import ACTIVATE, CONFIGURE, DEACTIVATE, PIXELS, wait_frames, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.ros.images import image_message


def test_segment_call_with_image_has_the_header_of_the_image(active):
    image = image_message(PIXELS, "rgb8", Header(frame_id="a photo"))
    answer = active.ask_segment(image=image, labels=["mug", "saw"], thresholds=[0.5, -1.0])
    assert answer.success and answer.message == "1 segments"
    assert answer.result.header == image.header
    assert [segment.label for segment in answer.result.segments] == ["mug"]
    assert [absent.label for absent in answer.result.absent] == ["saw"]
    assert list(answer.result.query.thresholds) == [0.5, -1.0]
    assert active.engine.requests[0][0].tolist() == PIXELS.tolist()


def test_segment_call_without_image_uses_the_newest_frame(active):
    active.show("older")
    wait_frames(active, "in", 1)
    header = active.show("newest")
    wait_frames(active, "in", 2)
    answer = active.ask_segment(labels=["mug"])
    assert answer.success and answer.result.header == header


def test_segment_call_without_labels_uses_the_active_query(active):
    sequence = active.ask("saw").sequence
    answer = active.ask_segment(image=image_message(PIXELS, "rgb8", Header()))
    assert answer.success
    assert (list(answer.result.query.labels), answer.result.query.sequence) == (["saw"], sequence)


def test_segment_call_does_not_change_the_active_query(active):
    segments = active.inbox(SegmentArray, "segments")
    wait_readers(active, "segments")
    sequence = active.ask("saw").sequence
    answer = active.ask_segment(image=image_message(PIXELS, "rgb8", Header()), labels=["mug"])
    assert answer.result.query.sequence == 0
    active.show("streamed")
    message = segments.wait()
    assert (list(message.query.labels), message.query.sequence) == (["saw"], sequence)
    assert len(active.echo.messages) == 2  # the empty query at start, and this query


def test_invalid_segment_call_is_rejected_with_a_message(active):
    bad = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(5))
    good = image_message(PIXELS, "rgb8", Header())
    for request, error in (
        ({"image": bad, "labels": ["mug"]}, "rgb8"),
        ({"image": good}, "there is no query"),
        ({"image": good, "labels": [" "]}, "the labels are empty"),
        ({"image": good, "labels": ["mug"], "thresholds": [2.0]}, "not a cosine"),
        ({"labels": ["mug"]}, "no image has arrived on /image_raw"),
        ({"labels": ["mug"], "camera": "front"}, "no camera 'front'"),
    ):
        answer = active.ask_segment(**request)
        assert not answer.success and error in answer.message, answer.message
    assert not active.engine.requests
    statuses = active.health()
    assert ("segment calls refused: count", "6") in [
        (pair.key, pair.value) for pair in statuses[0].values
    ]


def test_segment_call_to_an_inactive_node_is_rejected(rig):
    image = image_message(PIXELS, "rgb8", Header())
    answer = rig.ask_segment(image=image, labels=["mug"])
    assert not answer.success and "activate it" in answer.message
    assert rig.change(CONFIGURE) and rig.change(ACTIVATE)
    assert rig.ask_segment(image=image, labels=["mug"]).success


def test_segment_call_reports_an_error_in_inference(rigs):
    failures = [ValueError("numerical trouble")]

    def before(_):
        if failures:
            raise failures.pop()

    rig = rigs(engine=FakeEngine(before))
    rig.activate()
    image = image_message(PIXELS, "rgb8", Header())
    answer = rig.ask_segment(image=image, labels=["mug"])
    assert (answer.success, answer.message) == (False, "numerical trouble")
    assert rig.ask_segment(image=image, labels=["mug"]).success


def test_waiting_segment_call_does_not_block_the_node(rigs):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=30)))
    rig.activate()
    answers = []
    image = image_message(PIXELS, "rgb8", Header())
    caller = threading.Thread(
        target=lambda: answers.append(rig.ask_segment(image=image, labels=["mug"]))
    )
    caller.start()
    wait_until(lambda: rig.engine.requests)
    assert rig.state() == "active"
    assert rig.ask("saw")
    assert not answers
    gate.release()
    caller.join()
    assert answers[0].success


def test_deactivate_rejects_waiting_segment_calls(rigs):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=30)))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("in progress")
    wait_until(lambda: rig.engine.requests)
    answers = []
    image = image_message(PIXELS, "rgb8", Header())
    caller = threading.Thread(
        target=lambda: answers.append(rig.ask_segment(image=image, labels=["mug"]))
    )
    caller.start()
    wait_until(lambda: rig.node.tally.counts["segment calls"] == 1)
    stopper = threading.Thread(target=lambda: rig.change(DEACTIVATE))
    stopper.start()
    caller.join()
    assert not answers[0].success and "deactivated" in answers[0].message
    gate.release()
    stopper.join()
    assert segments.wait().header.frame_id == "in progress"
    assert len(rig.engine.requests) == 1
