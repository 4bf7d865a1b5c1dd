"""The time that ROS adds to a frame: a node with instant networks, all of whose outputs are read.

Run as a program, this module is that node: ``python -m clip_surgery_ros.benchmark.ros_io``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rclpy
from ament_index_python.packages import get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Image

from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.benchmark.picture import table_picture
from clip_surgery_ros.benchmark.setting import LABELS, Row, Setting, unseen_images
from clip_surgery_ros.benchmark.timing import side_by_side
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Query, Segment, Wanted
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.node.allocator import tune_allocator
from clip_surgery_ros.node.health import HEALTH_PERIOD_S
from clip_surgery_ros.node.node import ClipSurgeryNode
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.pictures.files import write_image
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_to_rgb
from clip_surgery_ros.ros.messages import query_message
from clip_surgery_ros.ros.outputs import OUTPUTS, Frame, Output
from clip_surgery_ros.ros.tally import Tally
from clip_surgery_ros.ros.wheels import profiles_variable, ros_prefixes

SIZE = (1280, 720)
RATE_HZ = 30
START_S = 60.0
"""The longest start of a program."""
LOST_S = 3.0
"""A result counts as lost after this time, beyond the time between images."""
CONSTANT, RELAY = "constant", "relay"
"""Nodes to run instead of one with networks: :class:`Constant` and :class:`Relay`."""
RELAYED_FRAMES = 300
"""More than the node keeps for its percentiles."""
FIRST_FRAMES = 30
"""Sent first and not counted: the middleware allocates memory for the first messages."""


class Constant:
    """Stand-in networks that find every label at once, each in a box of its own."""

    device, precision = "cpu", "float32"
    fell_back = False
    multilingual = True
    vocabulary = Vocabulary()
    know_demo_only, sources = False, "stand-ins of the benchmark"
    text_counts = TextCounts()

    def calibration(self, config: Config) -> None:
        """Return that nothing was fitted."""

    def pipeline(self, config: Config) -> Constant:
        """Return itself, whatever the parameters."""
        return self

    def run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """Return a segment of 200 x 300 pixels per label, and maps of ViT-B/16's size at 512."""
        count = len(query.labels)
        ones = np.ones(count, np.float32)
        return FrameResult(
            query=query,
            size_hw=(image_rgb.shape[0], image_rgb.shape[1]),
            similarity=np.full((count, 32, 32), 0.5, np.float32),
            presence=ones,
            probabilities=np.full(count, 1 / count, np.float32),
            thresholds=np.zeros(count, np.float32),
            segments=tuple(_segment(index, name) for index, name in enumerate(query.names)),
        )


def _segment(index: int, name: str) -> Segment:
    box = Box(x=50 + 210 * index, y=200, width=200, height=300)
    points = PointPrompts(np.array([[box.x + 100, box.y + 150]], np.int32), np.array([True]))
    mask = np.ones((box.height, box.width), np.bool_)
    return Segment(index + 1, index, name, 0.9, 0.9, 0.5, 0.5, box, mask, points)


@dataclass
class Listener:
    """What the benchmark received: the number of results, and the node's last diagnostics."""

    results: int = 0
    health: DiagnosticArray | None = None

    def has_more_than(self, results: int) -> bool:
        """Whether more results than this were received."""
        return self.results > results

    @property
    def values(self) -> dict[str, str]:
        """The values of the last diagnostics, by name."""
        statuses = self.health.status if self.health else ()
        return {pair.key: pair.value for status in statuses for pair in status.values}


class TrueSize:
    """Networks of full size with random weights, in a pipeline that finds every label."""

    device = "cpu"
    fell_back = False
    multilingual = True
    vocabulary = Vocabulary()
    know_demo_only, sources = False, "stand-ins of the benchmark"
    text_counts = TextCounts()

    def __init__(self, sam_model: str, precision: str) -> None:
        self._setting, self.precision = Setting(sam_model, precision), precision
        random_texts(self._setting.networks[0], LABELS)

    def calibration(self, config: Config) -> None:
        """Return that nothing was fitted."""

    def pipeline(self, config: Config) -> Pipeline:
        """Return the pipeline, the same that is measured without ROS."""
        return self._setting.pipeline()


class Relay(Node):
    """A node that measures rclpy and the middleware alone: it does no work for its outputs.

    It builds the messages once, for the first image, and publishes them again for every image.
    """

    def __init__(self, query: Query) -> None:
        super().__init__("clip_surgery")
        self._query, self._tally = query, Tally()
        self._outputs: dict[Output, Publisher] = {
            output: self.create_publisher(
                output.message_type, f"~/{output.name}", output.make_qos()
            )
            for output in OUTPUTS
        }
        self._messages: list[tuple[Publisher, Any]] = []
        self._health = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_subscription(Image, "image_raw", self._relay, qos.newest_image())
        self.create_timer(HEALTH_PERIOD_S, self._publish_health)

    def _relay(self, image: Image) -> None:
        if not self._messages:
            frame = self._frame(image)
            self._messages = [(self._outputs[output], output.build(frame)) for output in OUTPUTS]
        for publisher, message in self._messages:
            message.header = image.header
            publisher.publish(message)
        age_ns = self.get_clock().now().nanoseconds - Time.from_msg(image.header.stamp).nanoseconds
        self._tally.record("age", age_ns / 1e9)

    def _frame(self, image: Image) -> Frame:
        image_rgb, stamp = image_to_rgb(image), image.header.stamp
        result = Constant().run(image_rgb, self._query, Wanted())
        return Frame(result, image_rgb, image.header, query_message(self._query, stamp))

    def _publish_health(self) -> None:
        values = {"state": "active"}
        for name, spread in self._tally.spreads().items():
            values |= {
                f"{name}: p50 [s]": str(spread.p50_s),
                f"{name}: p95 [s]": str(spread.p95_s),
            }
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        self._health.publish(DiagnosticArray(status=[DiagnosticStatus(values=pairs)]))


def ros_in_and_out(setting: Setting) -> list[Row]:
    """Time all of ROS for a frame: receive, convert, build and publish all outputs, between
    processes; and the same messages through rclpy and the middleware alone.
    """
    frames = round(setting.ros_seconds * RATE_HZ)
    values, results = _observe([CONSTANT], RATE_HZ, FIRST_FRAMES, frames)
    alone, _ = _observe([RELAY], RATE_HZ, FIRST_FRAMES, RELAYED_FRAMES)
    return [*_rows(values, frames, results), *_relay_rows(alone)]


def node_over_pipeline(setting: Setting) -> list[Row]:
    """Time the node, from an image's stamp to the last output, beside the pipeline alone."""
    names, _ = random_texts(setting.networks[0], LABELS)
    query, next_image = query_of(names), unseen_images()
    pipeline = {"pipeline": lambda: setting.pipeline().run(next_image(), query)}
    before = side_by_side(pipeline, 2)
    # So slow that no frame waits for the frame before it.
    rate_hz = 1 / (2 * before.median("pipeline"))
    networks = [setting.sam_model, setting.precision]
    values, _ = _observe(networks, rate_hz, 1, 2 * setting.rounds)
    after = side_by_side(pipeline, 2)
    alone_s = (before.median("pipeline") + after.median("pipeline")) / 2
    node_s = float(values["age: p50 [s]"])
    return [
        Row(
            f"node, p50 from stamp to last output, SAM {setting.sam_model} / pipeline alone",
            node_s / alone_s,
            "at most 1.05",
            seconds={"node": node_s, "pipeline": alone_s},
        )
    ]


def labels() -> list[str]:
    """Return the labels of every measurement."""
    return [f"thing {number}" for number in range(LABELS)]


def _observe(
    networks: list[str], rate_hz: float, first: int, frames: int
) -> tuple[dict[str, str], int]:
    """Send images to a node, and return its diagnostics and the number of results received.

    :param networks: what the node runs, as :func:`main` takes it.
    :param first: frames sent before the measurement, which do not count.
    """
    profile = os.path.join(
        get_package_share_directory("clip_surgery_ros"), "config", "fastdds.xml"
    )
    os.environ.setdefault(profiles_variable(ros_prefixes()), profile)
    node = [sys.executable, "-m", __name__, *networks]
    node += ["--ros-args", "-p", f"default_query:={'; '.join(labels())}"]
    camera = [sys.executable, "-m", "clip_surgery_ros.demo.camera", "--rate", str(rate_hz)]
    with TemporaryDirectory() as folder, _listening() as received, _running(node):
        picture = Path(folder) / "picture.png"
        write_image(picture, table_picture((SIZE[1], SIZE[0])))
        camera += ["--image", str(picture), "--images"]
        _wait(lambda: received.values.get("state") == "active")
        with _running([*camera, str(first)]):
            _wait_for_results(received, first, rate_hz)
        before = received.results
        with _running([*camera, str(frames)]):
            _wait_for_results(received, before + frames, rate_hz)
    results = received.results - before
    if results < frames / 2:
        raise ClipSurgeryError(
            f"the benchmark's node gave results for {results} of {frames} images; does another "
            "ROS program load this machine, or is multicast off on the loopback interface?"
        )
    return received.values, results


def _wait_for_results(received: Listener, results: int, rate_hz: float) -> None:
    """Wait until there are so many results in all, or no more come; then for new diagnostics."""
    patience_s = START_S
    while received.results < results:
        last = received.results
        if not _wait(partial(received.has_more_than, last), patience_s):
            break
        patience_s = LOST_S + 2 / rate_hz
    last_health = received.health
    _wait(lambda: received.health is not last_health)


def _rows(values: Mapping[str, str], frames: int, results: int) -> list[Row]:
    def milliseconds(name: str) -> Row:
        return Row(name, 1e3 * float(values[f"{name} [s]"]), unit="ms")

    def receive(share: str) -> Row:
        before = float(values[f"age: {share} [s]"]) - float(values[f"answered: {share} [s]"])
        return Row(f"camera's stamp to the worker: {share}", 1e3 * before, unit="ms")

    steps = ["convert", *(f"publish {output.name}" for output in OUTPUTS)]
    title = f"ROS in and out at {SIZE[0]} x {SIZE[1]}, all outputs"
    return [
        Row(f"{title}: p50", 1e3 * float(values["age: p50 [s]"]), "under 8", "ms"),
        Row(f"{title}: p95", 1e3 * float(values["age: p95 [s]"]), "under 15", "ms"),
        receive("p50"),
        receive("p95"),
        *(milliseconds(f"{step}: {share}") for step in steps for share in ("p50", "p95")),
        Row(f"frames without a result, of {frames} at {RATE_HZ} Hz", frames - results, "0"),
    ]


def _relay_rows(values: Mapping[str, str]) -> list[Row]:
    return [
        Row(
            f"the same messages through rclpy and the middleware alone: {share}",
            1e3 * float(values[f"age: {share} [s]"]),
            unit="ms",
        )
        for share in ("p50", "p95")
    ]


@contextmanager
def _listening() -> Iterator[Listener]:
    rclpy.init()
    node, received = Node("benchmark"), Listener()

    def count(_: object) -> None:
        received.results += 1

    def keep(message: DiagnosticArray) -> None:
        received.health = message

    history = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100)
    for number, output in enumerate(OUTPUTS):
        read = (lambda _: None) if number else count
        quality = output.make_qos() if number else history
        node.create_subscription(
            output.message_type, f"/clip_surgery/{output.name}", read, quality, raw=True
        )
    node.create_subscription(DiagnosticArray, "/diagnostics", keep, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _wait(condition: Callable[[], bool], limit_s: float = START_S) -> bool:
    """Wait until the condition holds; return whether it held in time."""
    end_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.05)
    return condition()


def main() -> None:
    """Run a node until it is stopped: :data:`CONSTANT`, :data:`RELAY`, or one with networks, which
    SAM's model and the precision name.
    """
    tune_allocator()  # as in the node's own program
    arguments = sys.argv[1 : sys.argv.index("--ros-args")]
    rclpy.init()
    node: Node
    if arguments == [RELAY]:
        node = Relay(query_of(labels()))
    else:
        # The node loads them on a thread that ends, as it loads real networks.
        load = Constant if arguments == [CONSTANT] else partial(TrueSize, *arguments)
        node = ClipSurgeryNode(lambda _: load())
        node.autostart()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
