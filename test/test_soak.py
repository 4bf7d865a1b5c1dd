"""Minutes of everything at once: what the node's process holds stays flat after the warm-up.

Three minutes, or as many seconds as ``CLIP_SURGERY_SOAK_S`` says.
"""

import os
import statistics
import time

import pytest
from clip_surgery_ros.msg import SegmentArray
from clip_surgery_ros.srv import Segment
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros.footprint import Watched
from ros.harness import CAMERA, NODE, START_S, Inbox, Process, call
from std_msgs.msg import String

from clip_surgery_ros.adapters.outputs import OUTPUTS

SOAK_S = float(os.environ.get("CLIP_SURGERY_SOAK_S", "180"))
WARM_UP_SHARE = 1 / 4
QUERIES = ("red apple; hammer; car", "banana", "key + lock; scissors", "guitar; no such thing", "")
GROWTH_MIB = 15.0
"""Between the medians of the first and the last third after the warm-up. The texts' cache and
the allocator's pages settle within it; one 640 x 480 image kept per second would be 50 MiB."""


class Operators:
    """What people and programs do to a running node, one thing after the other."""

    def __init__(self, node):
        self.node = node
        self.queries = node.create_publisher(String, "query", 10)
        self.visitor = None
        self.answered = 0

    def act(self, number):
        self.queries.publish(String(data=QUERIES[number % len(QUERIES)]))
        (self._set, self._segment, self._visit)[number % 3](number)

    def _set(self, number):
        parameter = Parameter("presence_threshold", value=0.3 + 0.02 * (number % 20))
        request = SetParameters.Request(parameters=[parameter.to_parameter_msg()])
        name = "/clip_surgery/set_parameters"
        assert call(self.node, SetParameters, name, request).results[0].successful

    def _segment(self, number):
        request = Segment.Request(labels=[f"thing {number % 50}", "car"])
        answer = call(self.node, Segment, "/clip_surgery/segment", request, START_S)
        assert answer.success, answer.message
        self.answered += 1

    def _visit(self, _):
        """A subscriber comes, or the one that came goes."""
        if self.visitor is None:
            output = OUTPUTS[0]
            topic = f"/clip_surgery/{output.name}"
            self.visitor = self.node.create_subscription(output.kind, topic, lambda _: None, 1)
        else:
            self.node.destroy_subscription(self.visitor)
            self.visitor = None


def thirds(values):
    size = len(values) // 3
    return values[:size], values[-size:]


@pytest.mark.skipif(SOAK_S < 30, reason="CLIP_SURGERY_SOAK_S is too short to settle")
def test_memory_threads_and_files_stay_flat(ros_node):
    camera = Process(*CAMERA, "--rate", "15", "--size", "640x480", "--hold", "1")
    with camera, Watched(*NODE) as node:
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        for output in OUTPUTS:
            ros_node.create_subscription(
                output.kind,
                f"/clip_surgery/{output.name}",
                lambda _: None,
                output.quality(),
                raw=True,
            )
        node.wait_for_line("images arrive", START_S)
        operators, footprints = Operators(ros_node), []
        end_s = time.monotonic() + SOAK_S
        while time.monotonic() < end_s:
            operators.act(len(footprints))
            footprints.append(node.footprint())
            segments.wait_count(len(segments.messages) + 1, deadline_s=0.5)
        assert node.alive and "Traceback" not in node.text()

    settled = footprints[int(len(footprints) * WARM_UP_SHARE) :]
    first, last = thirds(settled)
    held = [statistics.median(one.resident_mib for one in part) for part in (first, last)]
    print(
        f"{SOAK_S:.0f} s, {len(segments.messages)} frames answered, {operators.answered} calls; "
        f"resident {held[0]:.0f} then {held[1]:.0f} MiB, threads {settled[0].threads} to "
        f"{settled[-1].threads}, files {settled[0].files} to {settled[-1].files}"
    )
    assert len(segments.messages) > SOAK_S / 10 and operators.answered > 3
    assert held[1] - held[0] < GROWTH_MIB
    assert max(one.threads for one in last) <= max(one.threads for one in first)
    assert max(one.files for one in last) <= max(one.files for one in first) + 1
