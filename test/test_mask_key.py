"""The mask is never read by the key of another query, whatever changes and when."""

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
    """Holds the first frame in work until it is opened."""

    def __init__(self):
        self.begun, self._open = threading.Event(), threading.Event()

    def __call__(self, _):
        self.begun.set()
        assert self._open.wait(30)

    def open(self):
        self._open.set()


def every_key():
    """Latched, and none is lost while the reader does something else."""
    profile = qos.latched()
    profile.depth = 50
    return profile


class Reader:
    """Keys, masks and segments in the order in which they were published."""

    def __init__(self, rig, camera=""):
        self.arrived = []
        below = f"{camera}/" if camera else ""
        for kind, name, quality in (
            (LabelInfo, "label_info", every_key()),
            (Image, f"{below}mask", 50),
            (SegmentArray, f"{below}segments", 50),
        ):
            self._listen(rig.outside, kind, f"/clip_surgery/{name}", quality)

    def _listen(self, node, kind, topic, quality):
        def keep(message, info):
            self.arrived.append((info["source_timestamp"], message))

        node.create_subscription(kind, topic, keep, quality)

    def all_of(self, kind):
        return [
            message
            for _, message in sorted(self.arrived, key=lambda one: one[0])
            if isinstance(message, kind)
        ]

    def wait_for_a_frame(self):
        wait_until(lambda: self.all_of(Image) and self.all_of(SegmentArray))

    def read(self):
        """What each mask shows, by the key that was published before it."""
        names, shown = {}, []
        for _, message in sorted(self.arrived, key=lambda one: one[0]):
            if isinstance(message, LabelInfo):
                names = {entry.class_id: entry.class_name for entry in message.class_map}
            if isinstance(message, Image):
                shown.append({names.get(value) for value in set(message.data) - {255}})
        return shown


class MugEngine(FakeEngine):
    """Finds the mug, wherever it is in the query."""

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
def held(rigs, gate):
    """A node with a frame in work for ``mug; saw``."""
    rig = rigs(engine=MugEngine(gate))
    rig.activate()
    rig.reader = Reader(rig)
    wait_readers(rig, "mask", "segments")
    rig.ask("mug; saw")
    rig.show("in work")
    assert gate.begun.wait(30)
    yield rig
    gate.open()


def keys(rig):
    return [[entry.class_name for entry in key.class_map] for key in rig.reader.all_of(LabelInfo)]


def test_a_frame_in_work_while_the_query_changes_is_answered_again_under_the_new_one(held, gate):
    held.ask("saw; mug")
    wait_until(lambda: ["saw", "mug"] in keys(held))  # at once, without a frame
    gate.open()
    held.reader.wait_for_a_frame()
    assert held.reader.read() == [{"mug"}]
    (mask,) = held.reader.all_of(Image)
    assert mask.header.frame_id == "in work"
    assert set(mask.data) == {1, 255}
    assert [query.names for _, query, _ in held.engine.asked] == [("mug", "saw"), ("saw", "mug")]
    (segments,) = held.reader.all_of(SegmentArray)
    assert list(segments.query.labels) == ["saw", "mug"]
    wait_frames(held, "answered", 1)


def test_the_same_labels_asked_again_cost_no_second_answer(held, gate):
    held.ask("mug; saw")
    gate.open()
    held.reader.wait_for_a_frame()
    assert held.reader.read() == [{"mug"}]
    assert len(held.engine.asked) == 1


def test_a_frame_in_work_while_the_threshold_changes_is_answered_again_by_it(held, gate):
    assert held.set("presence_threshold", 0.25).successful
    gate.open()
    held.reader.wait_for_a_frame()
    assert [config.presence_threshold for config in held.networks.configs] == [0.5, 0.25]
    assert held.reader.all_of(LabelInfo)[-1].threshold == 0.25
    assert len(held.reader.all_of(Image)) == 1


class RestlessEngine(MugEngine):
    """Changes the presence threshold before each result is there."""

    def run(self, image_rgb, query, wanted):
        result = super().run(image_rgb, query, wanted)
        assert self.rig.set("presence_threshold", 0.3 + 0.01 * len(self.asked)).successful
        return result


def test_a_threshold_that_changes_faster_than_frames_does_not_stop_them(rigs):
    rig = rigs(engine=RestlessEngine())
    rig.engine.rig = rig
    rig.activate()
    rig.reader = Reader(rig)
    wait_readers(rig, "mask", "segments")
    rig.ask("mug; saw")
    rig.show("restless")
    rig.reader.wait_for_a_frame()
    assert rig.reader.read() == [{"mug"}]
    assert len(rig.engine.asked) == 2


def test_a_frame_in_work_while_the_query_is_cleared_is_not_published(held, gate):
    held.ask("")
    gate.open()
    wait_frames(held, "skipped: nothing asked", 1)
    assert not held.reader.all_of(Image)


def test_a_frame_in_work_while_query_and_node_end_is_dropped(held, gate):
    held.ask("saw; mug")
    stopper = threading.Thread(target=lambda: held.change(DEACTIVATE))
    stopper.start()
    wait_until(lambda: not held.node._worker.is_running)
    gate.open()
    stopper.join()
    wait_frames(held, "dropped", 1)
    assert not held.reader.all_of(Image)


def test_a_call_in_work_while_the_query_changes_tells_the_query_it_answers(rigs, gate):
    rig = rigs(engine=MugEngine(gate))
    rig.activate()
    sequence = rig.ask("mug; saw").sequence
    image, answers = image_message(PIXELS, "rgb8", Header()), []
    caller = threading.Thread(target=lambda: answers.append(rig.ask_segment(image=image)))
    caller.start()
    assert gate.begun.wait(30)
    rig.ask("saw; mug")
    gate.open()
    caller.join()
    (answer,) = answers
    assert (list(answer.result.query.labels), answer.result.query.sequence) == (
        ["mug", "saw"],
        sequence,
    )
    assert answer.result.segments[0].label_id == 0


def test_two_cameras_share_one_key(rigs, gate):
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
        rig.show("in work or waiting", publisher=camera)
    assert gate.begun.wait(30)
    rig.ask("saw; mug")
    gate.open()
    for reader in readers:
        reader.wait_for_a_frame()
        assert reader.read() == [{"mug"}]


def test_queries_that_change_at_10_hz_leave_no_mask_that_is_misread(rigs):
    """Counted two ways: by the key published last, and by the query in the segments of the
    same stamp, which needs no order."""
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
    wait_until(lambda: len(reader.all_of(Image)) == len(reader.all_of(SegmentArray)))
    shown = reader.read()
    assert len(shown) > CHANGES / 2
    assert sum(one != {"mug"} for one in shown) == 0
    by_stamp = {str(one.header.stamp): one.query.labels for one in reader.all_of(SegmentArray)}
    pixel = BOX.y * PIXELS.shape[1] + BOX.x + 1
    named = [by_stamp[str(mask.header.stamp)][mask.data[pixel]] for mask in reader.all_of(Image)]
    assert np.unique(named).tolist() == ["mug"]
