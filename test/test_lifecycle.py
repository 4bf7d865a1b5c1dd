"""Lifecycle transitions: retries, waiting for the current frame, and released memory."""

import threading

import pytest
from clip_surgery_ros.msg import SegmentArray
from clip_surgery_ros.srv import Segment
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from ros.fakes import FakeEngine
from ros.harness import NODE, START_S, Process, call, wait_until
from ros.known_scene import known_scene
from ros.rig import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, wait_frames, wait_readers
from std_msgs.msg import Header

from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.weights.files import demo_weights, sha256

CYCLES = 10


class ManagedNode:
    """A node process whose lifecycle the test manages over services."""

    def __init__(self, ros_node, process):
        self.ros_node, self.process = ros_node, process

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return call(
            self.ros_node, ChangeState, "/clip_surgery/change_state", request, START_S
        ).success

    def state(self):
        request = GetState.Request()
        answer = call(self.ros_node, GetState, "/clip_surgery/get_state", request, START_S)
        return answer.current_state.label

    def set(self, **values):
        parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        kind, name = SetParametersAtomically, "/clip_surgery/set_parameters_atomically"
        answer = call(self.ros_node, kind, name, kind.Request(parameters=parameters))
        assert answer.result.successful, answer.result.reason


@pytest.fixture
def managed(ros_node):
    with Process(*NODE, "-p", "autostart:=false", "-p", "distractors:=false") as process:
        process.wait_for_line("query 1", START_S)
        yield ManagedNode(ros_node, process)


def test_cleanup_releases_memory_in_ten_cycles(managed):
    image = known_scene().image
    request = Segment.Request(image=image_message(image, "rgb8", Header()), labels=["apple"])
    before = managed.process.resident_mib
    loaded, released = [], []
    for _ in range(CYCLES):
        assert managed.change(CONFIGURE) and managed.change(ACTIVATE)
        answer = call(managed.ros_node, Segment, "/clip_surgery/segment", request, START_S)
        assert answer.success, answer.message
        loaded.append(managed.process.resident_mib)
        assert managed.change(DEACTIVATE) and managed.change(CLEANUP)
        released.append(managed.process.resident_mib)
    print(f"MiB before {before:.0f}, loaded {loaded}, released {released}")
    # The first cycle imports modules of the networks, which stay; later cycles add nothing.
    assert released[0] < 1.15 * before
    assert max(released) < 1.05 * released[0]
    # The networks take about 25 MiB and inference more, so a leak would be visible.
    assert min(high - low for high, low in zip(loaded, released, strict=True)) > 25


def test_failed_configure_reports_the_remedy_and_can_be_repeated(managed, tmp_path):
    clip = demo_weights("clip_demo")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(clip.read_bytes()[:100_000])
    checkpoint = {"clip_model": "openai", "clip_checkpoint": str(clip)}
    for wrong, correct, error in (
        ({"device": "cuda:7"}, {"device": "cpu"}, "set device to cpu or auto"),
        (
            {**checkpoint, "clip_checkpoint": "/nowhere/clip.pt"},
            checkpoint,
            "/nowhere/clip.pt does not exist; put it there",
        ),
        ({"clip_checkpoint": str(damaged)}, checkpoint, "truncated"),
        ({"clip_sha256": "0123456789"}, {"clip_sha256": sha256(clip)}, "copy it again"),
    ):
        managed.set(**wrong)
        assert not managed.change(CONFIGURE)
        assert managed.state() == "unconfigured"
        managed.process.wait_for_line(error)
        managed.set(**correct)
        assert managed.change(CONFIGURE) and managed.state() == "inactive"
        assert managed.change(CLEANUP)
    assert "Traceback" not in managed.process.text()


def test_deactivate_waits_for_the_current_frame_only(rigs):
    gate = threading.Semaphore(0)
    rig = rigs(engine=FakeEngine(lambda _: gate.acquire(timeout=30)))
    rig.activate()
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    rig.show("in progress")
    wait_until(lambda: rig.engine.requests)
    rig.show("waiting")
    wait_frames(rig, "in", 2)
    stopper = threading.Thread(target=lambda: rig.change(DEACTIVATE))
    stopper.start()
    wait_frames(rig, "dropped", 1)
    gate.release()
    stopper.join()
    assert rig.state() == "inactive"
    assert [message.header.frame_id for message in segments.wait_count(1)] == ["in progress"]
    assert len(rig.engine.requests) == 1


@pytest.mark.parametrize("transition", [0, ACTIVATE, DEACTIVATE, CLEANUP, 99, 255])
def test_invalid_transition_of_an_unconfigured_node_is_rejected(rig, transition):
    assert not rig.change(transition)
    assert rig.state() == "unconfigured"
    assert rig.change(CONFIGURE)
