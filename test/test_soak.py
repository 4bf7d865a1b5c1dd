"""Minutes of everything at once: what the node's process holds stays flat after the warm-up.

Three minutes, or as many seconds as ``CLIP_SURGERY_SOAK_S`` says.
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
from ros.footprint import Watched
from ros.harness import CAMERA, NODE, START_S, Process, call, wait_for_reader
from ros.target import read_all
from std_msgs.msg import String

from clip_surgery_ros.ros.outputs import OUTPUTS

SOAK_S = float(os.environ.get("CLIP_SURGERY_SOAK_S", "180"))
PERIOD_S = 0.1
WARM_UP_SHARE = 1 / 4
GROWTH_MIB = 10.0
"""Of the floor, between the first and the last third after the warm-up. Resident memory goes up
and down by some 30 MiB with what is asked; a leak lifts the floor, which stays within 1 MiB
otherwise. Of three minutes, one image that is kept per second would be 80 MiB."""
THREADS, FILES = 1, 2
"""The most in the last third over the most in the first: somebody may just come or go."""

QUERIES = ("red apple; hammer; car", "banana", "key + lock; scissors", "guitar; no such thing", "")
PARAMETERS = (
    *(("presence_threshold", 0.0), ("recipe", "instances"), ("distractors", False)),
    *(("presence_threshold", 0.5), ("recipe", "reference"), ("distractors", True)),
    *(("max_rate_hz", 5.0), ("min_area", 99), ("max_rate_hz", 0.0), ("min_area", 16)),
)


class Operators:
    """What people and programs do to a running node, one thing after the other."""

    def __init__(self, node):
        self.node = node
        self.queries = node.create_publisher(String, "query", 10)
        self.visitor = None
        self.calls = self.answers = 0
        node.create_subscription(
            OUTPUTS[0].message_type, f"/clip_surgery/{OUTPUTS[0].name}", self._answer, 10, raw=True
        )
        wait_for_reader(self.queries)

    def _answer(self, _):
        self.answers += 1

    def act(self, number):
        self.queries.publish(String(data=QUERIES[number % len(QUERIES)]))
        turn, what = divmod(number, 3)
        (self._set, self._segment, self._visit)[what](turn)

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

    def _visit(self, turn):
        """A program that reads an output comes, or the one that came goes."""
        if self.visitor is not None:
            self.visitor.destroy_node()
            self.visitor = None
            return
        output = OUTPUTS[turn % len(OUTPUTS)]
        # Spun by nobody: rclpy may raise where a reader goes while an executor looks at it.
        self.visitor = Node("visitor", context=self.node.context)
        topic = f"/clip_surgery/{output.name}"
        self.visitor.create_subscription(output.message_type, topic, lambda _: None, 1)


def thirds(values):
    size = len(values) // 3
    return values[:size], values[-size:]


def floor_mib(footprints):
    """What is held when little is asked: the lowest tenth of its memory."""
    return statistics.quantiles((one.held_mib for one in footprints), n=10)[0]


def soak(node, operators):
    """Footprints of the node's process, one per act."""
    footprints, pause = [], threading.Event()
    end_s = time.monotonic() + SOAK_S
    while time.monotonic() < end_s:
        operators.act(len(footprints))
        footprints.append(node.footprint())
        pause.wait(PERIOD_S)
    return footprints


@pytest.mark.skipif(SOAK_S < 30, reason="CLIP_SURGERY_SOAK_S is too short to settle")
def test_memory_threads_and_files_stay_flat(ros_node):
    camera = Process(*CAMERA, "--rate", "15", "--size", "640x480", "--hold", "1")
    with camera, Watched(*NODE) as node:
        read_all(ros_node)
        node.wait_for_line("images arrive", START_S)
        operators = Operators(ros_node)
        footprints = soak(node, operators)
        assert node.alive and "Traceback" not in node.text()

    first, last = thirds(footprints[int(len(footprints) * WARM_UP_SHARE) :])
    held_mib = [floor_mib(part) for part in (first, last)]
    threads = [max(one.threads for one in part) for part in (first, last)]
    files = [max(one.files for one in part) for part in (first, last)]
    print(
        f"{SOAK_S:.0f} s, {len(footprints)} acts, {operators.answers} frames answered, "
        f"{operators.calls} calls; first and last third: held {held_mib} MiB, "
        f"threads {threads}, files {files}"
    )
    assert operators.answers > SOAK_S / 10, "the node shall have worked"
    assert held_mib[1] - held_mib[0] < GROWTH_MIB
    assert threads[1] - threads[0] <= THREADS
    assert files[1] - files[0] <= FILES
