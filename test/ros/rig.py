"""A node over real ROS with fake networks, and a second node that calls it."""

import numpy as np
import pytest
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.srv import Segment as SegmentService
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros.fakes import FakeNetworks
from ros.harness import Inbox, call, spinning, wait_for_reader, wait_until
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from clip_surgery_ros.node import health
from clip_surgery_ros.node.node import ClipSurgeryNode
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.executor import SideThreadExecutor
from clip_surgery_ros.ros.images import image_message

PIXELS = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP

HEALTH_PERIOD_S = 0.1
"""Period of a rig's diagnostics, a tenth of the default: many tests wait for the next ones."""


class Rig:
    """The node under test, and a node ``outside`` that sends messages and calls services."""

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
        executor = SideThreadExecutor(context=node.context)
        self._spinning = spinning(self.node, executor)
        self._spinning.__enter__()
        self.echo.wait()

    def load(self, config):
        self.loads += 1
        return self.networks

    def close(self):
        self._spinning.__exit__(None, None, None)
        self.node.destroy_node()

    def inbox(self, kind, name, quality=10):
        return Inbox(self.outside, kind, f"/clip_surgery/{name}", quality)

    def call(self, kind, name, request):
        return call(self.outside, kind, f"/clip_surgery/{name}", request)

    def change(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, "change_state", request).success

    def state(self):
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def activate(self):
        assert self.change(CONFIGURE) and self.change(ACTIVATE)

    def ask_segment(self, **fields):
        return self.call(SegmentService, "segment", SegmentService.Request(**fields))

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

    def health(self, accept=lambda statuses: True):
        """Wait for accepted diagnostics; return their statuses."""
        inbox = Inbox(self.outside, DiagnosticArray, "/diagnostics")
        return inbox.wait(lambda message: accept(message.status)).status

    def show(self, frame_id, message=None, publisher=None):
        """Publish a frame with the current time; return its header."""
        message = message or image_message(PIXELS, "rgb8", Header())
        message.header.frame_id = frame_id
        message.header.stamp = self.outside.get_clock().now().to_msg()
        publisher = publisher or self.images
        wait_for_reader(publisher)
        publisher.publish(message)
        return message.header


def wait_readers(rig, *names, camera=0):
    """Wait until the node has discovered subscribers of a camera's outputs."""
    wait_until(
        lambda: (
            {output.name for output in rig.node.cameras[camera].subscribed_outputs()} >= set(names)
        )
    )


def wait_frames(rig, name, count, camera=0):
    """Wait for a frame count of a camera: in, answered, dropped, skipped: rate limit, ..."""
    wait_until(lambda: rig.node.cameras[camera].tally.counts[name] == count)


def values_of(status):
    """Key and value pairs of a diagnostic status."""
    return {pair.key: pair.value for pair in status.values}


@pytest.fixture
def rigs(ros_node, monkeypatch):
    monkeypatch.setattr(health, "HEALTH_PERIOD_S", HEALTH_PERIOD_S)
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
