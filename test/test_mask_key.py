"""Subscribers never read a mask with the label_info of another query."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros.fakes import BOX, FakeEngine, frame_result
from ros.harness import wait_until
from ros.rig import DEACTIVATE, PIXELS, wait_frames, wait_readers
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message

CHANGES = 40
PERIOD_S = 0.1


class Gate:
    """Blocks inference of the first frame until the test opens the gate."""

    def __init__(self):
        self.started, self._open = threading.Event(), threading.Event()

    def __call__(self, _):
        self.started.set()
        assert self._open.wait(30)

    def open(self):
        self._open.set()


def label_info_qos():
    """Return a latched profile deep enough to keep all messages."""
    profile = qos.latched()
    profile.depth = 50
    return profile


class Reader:
    """Collects label_info, masks and segments in the order of their publication."""

    def __init__(self, rig, camera=""):
        self.arrived = []
        prefix = f"{camera}/" if camera else ""
        for kind, name, quality in (
            (LabelInfo, "label_info", label_info_qos()),
            (Image, f"{prefix}mask", 50),
            (SegmentArray, f"{prefix}segments", 50),
        ):
            self._listen(rig.outside, kind, f"/clip_surgery/{name}", quality)

    def _listen(self, node, kind, topic, quality):
        def keep(message, info):
            self.arrived.append((info["source_timestamp"], message))

        node.create_subscription(kind, topic, keep, quality)

    def messages_of(self, kind):
        return [
            message
            for _, message in sorted(self.arrived, key=lambda entry: entry[0])
            if isinstance(message, kind)
        ]

    def wait_for_frame(self):
        wait_until(lambda: self.messages_of(Image) and self.messages_of(SegmentArray))

    def labels_of_masks(self):
        """Return the labels in each mask, by the label_info published before it."""
        names, shown = {}, []
        for _, message in sorted(self.arrived, key=lambda entry: entry[0]):
            if isinstance(message, LabelInfo):
                names = {entry.class_id: entry.class_name for entry in message.class_map}
            if isinstance(message, Image):
                shown.append({names.get(value) for value in set(message.data) - {255}})
        return shown


class MugEngine(FakeEngine):
    """Finds the mug at any position in the query."""

    def run(self, image_rgb, query, wanted):
        super().run(image_rgb, query, wanted)
        result = frame_result(query, image_rgb.shape[:2])
        (found,) = result.segments
        index = query.names.index("mug")
        return replace(result, segments=(replace(found, label=index, name="mug"),))


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def blocked(rigs, gate):
    """Give a node whose inference of a frame for ``mug; saw`` is blocked."""
    rig = rigs(engine=MugEngine(gate))
    rig.activate()
    rig.reader = Reader(rig)
    wait_readers(rig, "mask", "segments")
    rig.ask("mug; saw")
    rig.show("in progress")
    assert gate.started.wait(30)
    yield rig
    gate.open()


def keys(rig):
    return [
        [entry.class_name for entry in key.class_map] for key in rig.reader.messages_of(LabelInfo)
    ]


def test_frame_in_progress_is_repeated_after_a_query_change(blocked, gate):
    blocked.ask("saw; mug")
    wait_until(lambda: ["saw", "mug"] in keys(blocked))  # at once, without a frame
    gate.open()
    blocked.reader.wait_for_frame()
    assert blocked.reader.labels_of_masks() == [{"mug"}]
    (mask,) = blocked.reader.messages_of(Image)
    assert mask.header.frame_id == "in progress"
    assert set(mask.data) == {1, 255}
    assert [query.names for _, query, _ in blocked.engine.requests] == [
        ("mug", "saw"),
        ("saw", "mug"),
    ]
    (segments,) = blocked.reader.messages_of(SegmentArray)
    assert list(segments.query.labels) == ["saw", "mug"]
    wait_frames(blocked, "answered", 1)


def test_frame_in_progress_is_not_repeated_for_the_same_labels(blocked, gate):
    blocked.ask("mug; saw")
    gate.open()
    blocked.reader.wait_for_frame()
    assert blocked.reader.labels_of_masks() == [{"mug"}]
    assert len(blocked.engine.requests) == 1


def test_frame_in_progress_is_repeated_after_a_threshold_change(blocked, gate):
    assert blocked.set("presence_threshold", 0.25).successful
    gate.open()
    blocked.reader.wait_for_frame()
    assert [config.presence_threshold for config in blocked.networks.configs] == [0.5, 0.25]
    assert blocked.reader.messages_of(LabelInfo)[-1].threshold == 0.25
    assert len(blocked.reader.messages_of(Image)) == 1


class ChangingEngine(MugEngine):
    """Changes the presence threshold during each inference."""

    def run(self, image_rgb, query, wanted):
        result = super().run(image_rgb, query, wanted)
        assert self.rig.set("presence_threshold", 0.3 + 0.01 * len(self.requests)).successful
        return result


def test_threshold_that_changes_in_every_inference_does_not_stop_results(rigs):
    rig = rigs(engine=ChangingEngine())
    rig.engine.rig = rig
    rig.activate()
    rig.reader = Reader(rig)
    wait_readers(rig, "mask", "segments")
    rig.ask("mug; saw")
    rig.show("changing")
    rig.reader.wait_for_frame()
    assert rig.reader.labels_of_masks() == [{"mug"}]
    assert len(rig.engine.requests) == 2


def test_frame_in_progress_is_not_published_after_the_query_was_cleared(blocked, gate):
    blocked.ask("")
    gate.open()
    wait_frames(blocked, "skipped: nothing asked", 1)
    assert not blocked.reader.messages_of(Image)


def test_frame_in_progress_is_dropped_after_query_change_and_deactivate(blocked, gate):
    blocked.ask("saw; mug")
    stopper = threading.Thread(target=lambda: blocked.change(DEACTIVATE))
    stopper.start()
    wait_until(lambda: not blocked.node._worker.is_running)
    gate.open()
    stopper.join()
    wait_frames(blocked, "dropped", 1)
    assert not blocked.reader.messages_of(Image)


def test_segment_call_in_progress_keeps_its_query(rigs, gate):
    rig = rigs(engine=MugEngine(gate))
    rig.activate()
    sequence = rig.ask("mug; saw").sequence
    image, answers = image_message(PIXELS, "rgb8", Header()), []
    caller = threading.Thread(target=lambda: answers.append(rig.ask_segment(image=image)))
    caller.start()
    assert gate.started.wait(30)
    rig.ask("saw; mug")
    gate.open()
    caller.join()
    (answer,) = answers
    assert (list(answer.result.query.labels), answer.result.query.sequence) == (
        ["mug", "saw"],
        sequence,
    )
    assert answer.result.segments[0].label_id == 0


def test_two_cameras_share_label_info(rigs, gate):
    topics = ["front:=/front/image_raw", "rear:=/rear/image_raw"]
    rig = rigs(engine=MugEngine(gate), image_topics=topics)
    rig.activate()
    readers = [Reader(rig, name) for name in ("front", "rear")]
    cameras = [
        rig.outside.create_publisher(Image, f"/{name}/image_raw", 10) for name in ("front", "rear")
    ]
    for index in (0, 1):
        wait_readers(rig, "mask", "segments", camera=index)
    rig.ask("mug; saw")
    for camera in cameras:
        rig.show("in progress or waiting", publisher=camera)
    assert gate.started.wait(30)
    rig.ask("saw; mug")
    gate.open()
    for reader in readers:
        reader.wait_for_frame()
        assert reader.labels_of_masks() == [{"mug"}]


def test_every_mask_fits_label_info_while_queries_change_at_10_hz(rigs):
    """Checks each mask by the label_info before it, and by the query of the segments with the
    same stamp."""
    work = threading.Event()
    rig = rigs(engine=MugEngine(lambda _: work.wait(0.02)))
    rig.activate()
    reader = Reader(rig)
    wait_readers(rig, "mask", "segments")
    rig.ask("mug; saw")
    for number in range(CHANGES):
        orders = ("saw; mug", "mug; saw", "axe; saw; mug", "saw; axe; key; mug")
        rig.queries.publish(String(data=orders[number % 4]))
        for _ in range(4):
            rig.show(f"{number}")
            work.wait(PERIOD_S / 4)
    wait_until(lambda: len(rig.echo.messages) >= CHANGES)
    wait_until(lambda: len(reader.messages_of(Image)) == len(reader.messages_of(SegmentArray)))
    shown = reader.labels_of_masks()
    assert len(shown) > CHANGES / 2
    assert all(labels == {"mug"} for labels in shown)
    by_stamp = {
        str(message.header.stamp): message.query.labels
        for message in reader.messages_of(SegmentArray)
    }
    pixel = BOX.y * PIXELS.shape[1] + BOX.x + 1
    labels = [
        by_stamp[str(mask.header.stamp)][mask.data[pixel]] for mask in reader.messages_of(Image)
    ]
    assert np.unique(labels).tolist() == ["mug"]
