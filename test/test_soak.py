"""Soak test: memory, threads and files of the node stay constant after the warm-up.

The camera has depth, and all results in space are read too.

It takes three minutes, or ``CLIP_SURGERY_SOAK_S`` seconds.
"""

import os
import statistics
import threading
import time

import pytest
from clip_surgery_ros.srv import Segment
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros.footprint import WatchedProcess
from ros.harness import CAMERA, NODE, START_S, Process, call, wait_for_reader
from ros.target import read_all
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from clip_surgery_ros.demo.truth import WORLD_FRAME
from clip_surgery_ros.ros.outputs import OUTPUTS, SPACE_OUTPUTS

SOAK_S = float(os.environ.get("CLIP_SURGERY_SOAK_S", "180"))
PERIOD_S = 0.1
WARM_UP_FRACTION = 1 / 2
"""With depth, pages of the allocator's pool are touched for the first time for a minute or more:
resident memory rises while the bytes in use (glibc's mallinfo2) stay at 260 to 269 MB."""
GROWTH_MIB = 10.0
"""Growth of the memory floor between the first and the last third after the warm-up. Resident
memory varies by about 30 MiB with the query; without a leak its floor varies by a few MiB. A leak
of one image per second would be 50 MiB in the minute between both thirds."""
ALL_OUTPUTS = (*OUTPUTS, *SPACE_OUTPUTS)
IN_SPACE = (
    *("-p", "depth_topics:=[depth/image_raw]"),
    *("-p", f"target_frame:={WORLD_FRAME}"),
    *("-p", "publish_tf:=true"),
)
"""Arguments of the node: depth, camera models and transforms come with each image, and objects
are published as transforms too."""
THREADS, FILES = 1, 2
"""Growth of the maxima between the first and the last third; a subscriber may be connecting."""

MOST_HZ = 2.0
"""Frames per second at most, of the 15 that the camera sends: without a limit the node would take
both cores for minutes, and finds no more leaks. An image that leaked with each frame would be 50
to 100 MiB in the minute between both thirds."""
QUERIES = (
    "red apple; hammer; toy car",
    "blue mug; teapot; green apple",
    "key + padlock; scissors",
    "wrench; no such thing",
    "",
)
RATE = ("-p", f"max_rate_hz:={MOST_HZ}")
PARAMETERS = (
    *(("presence_threshold", 0.0), ("recipe", "instances"), ("distractors", False)),
    *(("presence_threshold", 0.5), ("recipe", "reference"), ("distractors", True)),
    *(("max_rate_hz", 1.0), ("min_area", 99), ("max_rate_hz", MOST_HZ), ("min_area", 16)),
    *(
        ("box_mode", "oriented"),
        ("support", "none"),
        ("box_mode", "upright"),
        ("support", "plane"),
    ),
)


class Operators:
    """Sends queries, parameters and calls to a running node, and subscribes to outputs."""

    def __init__(self, node):
        self.node = node
        self.queries = node.create_publisher(String, "query", 10)
        self.subscriber = None
        self.calls = self.answers = self.boxes = 0
        node.create_subscription(
            OUTPUTS[0].message_type, f"/clip_surgery/{OUTPUTS[0].name}", self._answer, 10, raw=True
        )
        topic = "/clip_surgery/detections_3d"
        node.create_subscription(Detection3DArray, topic, self._count_boxes, 10)
        wait_for_reader(self.queries)

    def _count_boxes(self, message):
        self.boxes += len(message.detections)

    def _answer(self, _):
        self.answers += 1

    def act(self, number):
        self.queries.publish(String(data=QUERIES[number % len(QUERIES)]))
        turn, action = divmod(number, 3)
        (self._set, self._segment, self._subscribe_or_leave)[action](turn)

    def _set(self, turn):
        name, value = PARAMETERS[turn % len(PARAMETERS)]
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=parameters)
        answer = call(self.node, SetParameters, "/clip_surgery/set_parameters", request, START_S)
        assert answer.results[0].successful, answer.results[0].reason

    def _segment(self, turn):
        request = Segment.Request(labels=[f"thing {turn % 50}", "car"])
        answer = call(self.node, Segment, "/clip_surgery/segment", request, START_S)
        assert answer.success, answer.message
        self.calls += 1

    def _subscribe_or_leave(self, turn):
        """Create a node that subscribes to an output, or destroy the previous one."""
        if self.subscriber is not None:
            self.subscriber.destroy_node()
            self.subscriber = None
            return
        output = ALL_OUTPUTS[turn % len(ALL_OUTPUTS)]
        # Not spun: rclpy may raise if a subscription ends while an executor uses it.
        self.subscriber = Node("subscriber", context=self.node.context)
        topic = f"/clip_surgery/{output.name}"
        self.subscriber.create_subscription(output.message_type, topic, lambda _: None, 1)


def thirds(values):
    size = len(values) // 3
    return values[:size], values[-size:]


def floor_mib(footprints):
    """Return the first decile of the held memory, in MiB."""
    return statistics.quantiles((footprint.held_mib for footprint in footprints), n=10)[0]


def soak(node, operators):
    """Act on the node repeatedly; return a footprint per act."""
    footprints, pause = [], threading.Event()
    end_s = time.monotonic() + SOAK_S
    while time.monotonic() < end_s:
        operators.act(len(footprints))
        footprints.append(node.footprint())
        pause.wait(PERIOD_S)
    return footprints


@pytest.mark.skipif(SOAK_S < 30, reason="CLIP_SURGERY_SOAK_S is too short to settle")
def test_memory_threads_and_files_do_not_grow(ros_node):
    camera = Process(*CAMERA, "--rate", "15", "--size", "640x480", "--hold", "1")
    with camera, WatchedProcess(*NODE, *IN_SPACE, *RATE) as node:
        read_all(ros_node, ALL_OUTPUTS)
        node.wait_for_line("images arrive", START_S)
        operators = Operators(ros_node)
        footprints = soak(node, operators)
        assert node.alive and "Traceback" not in node.text()

    first, last = thirds(footprints[int(len(footprints) * WARM_UP_FRACTION) :])
    held_mib = [floor_mib(part) for part in (first, last)]
    threads = [max(footprint.threads for footprint in part) for part in (first, last)]
    files = [max(footprint.files for footprint in part) for part in (first, last)]
    print(
        f"{SOAK_S:.0f} s, {len(footprints)} acts, {operators.answers} frames answered, "
        f"{operators.boxes} boxes in space, {operators.calls} calls; first and last third: "
        f"held {held_mib} MiB, threads {threads}, files {files}"
    )
    assert operators.answers > SOAK_S / 10, "the node must have processed frames"
    assert operators.boxes > SOAK_S / 10, "objects must have been placed in space"
    assert held_mib[1] - held_mib[0] < GROWTH_MIB
    assert threads[1] - threads[0] <= THREADS
    assert files[1] - files[0] <= FILES
