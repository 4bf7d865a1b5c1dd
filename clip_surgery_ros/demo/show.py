"""Starts the camera and the node as two processes, asks about each view, prints and draws."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tqdm import tqdm

from clip_surgery_ros.core.geometry import paste
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.demo.answers import Rgb, plain_similarity, result_of
from clip_surgery_ros.demo.places import place_lines
from clip_surgery_ros.demo.programs import process, wait
from clip_surgery_ros.demo.side_by_side import Sight, sights_picture
from clip_surgery_ros.demo.truth import WORLD_FRAME, label_mask, names_in_view
from clip_surgery_ros.msg import HeatmapArray, SegmentArray
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.pictures.files import write_image
from clip_surgery_ros.pictures.result_picture import result_picture
from clip_surgery_ros.pictures.summary import result_summary
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_to_rgb
from clip_surgery_ros.weights.files import demo_weights

QUERY = "blue mug; teapot; green apple; wrench"
"""What is asked for on the table of the recorded orbit: things that are there in one colour and in
another, two alike, and one that is not there."""
VIEWS = 4
"""How many views of the table are shown, evenly spaced on the circle."""
RATE_HZ, HOLD_S = 5, 1.5
SPACE = (
    *("--ros-args", "-p", "depth_topics:=[depth/image_raw]"),
    *("-p", f"target_frame:={WORLD_FRAME}"),
    *("-p", "tracking:=true"),
)
"""Arguments of the node, where the camera has depth."""
KEPT = 60
"""Images of which messages are remembered; about ten seconds."""


Stamp = tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """What the node said of an image, and what else is known of it.

    :param view: number of the view.
    :param depth: (H, W) float32, metres, 0 where there is none; None of a picture.
    :param instances: (H, W) uint16 of the truth; None of a picture.
    :param truth: as docs/world.md describes it; None of a picture.
    """

    view: int
    image_rgb: Rgb
    segments: SegmentArray
    heatmaps: HeatmapArray
    depth: NDArray[np.float32] | None
    instances: NDArray[np.uint16] | None
    truth: Mapping[str, Any] | None


class Listener(Node):
    """Asks, and keeps the messages about each image by its stamp.

    :param has_space: the camera publishes depth and truth too.
    """

    def __init__(self, has_space: bool) -> None:
        super().__init__("demo_listener")
        self._kept: dict[str, OrderedDict[Stamp, Any]] = {}
        self._query = self.create_publisher(String, "query", qos.query())
        self._keep(Image, "image_raw", qos.newest_image())
        self._keep(SegmentArray, "clip_surgery/segments", qos.result())
        self._keep(HeatmapArray, "clip_surgery/heatmaps", qos.result())
        if has_space:
            self._keep(Image, "depth/image_raw", qos.newest_image())
            self._keep(Image, "truth/instances", qos.newest_image())
            self._keep(String, "truth", qos.latched())

    def _keep(self, kind: type, topic: str, profile: QoSProfile) -> None:
        """Subscribe to a topic, and remember its newest messages by their stamp."""
        kept = self._kept[topic] = OrderedDict()

        def on_message(message: Any) -> None:
            if kind is String:
                message = json.loads(message.data)
                stamp = message["header"]["stamp"]
                kept[(stamp["sec"], stamp["nanosec"])] = message
            else:
                kept[(message.header.stamp.sec, message.header.stamp.nanosec)] = message
            if len(kept) > KEPT:
                kept.popitem(last=False)

        self.create_subscription(kind, topic, on_message, profile)

    @property
    def is_connected(self) -> bool:
        """Whether camera and node are there."""
        return bool(self._query.get_subscription_count() and self.count_publishers("image_raw"))

    def ask(self, text: str) -> None:
        """Publish a query."""
        self._query.publish(String(data=text))

    def newest_truth(self) -> Mapping[str, Any] | None:
        """Return the truth about the newest image, once there is one."""
        return next(reversed(self._kept["truth"].values()), None)

    def answer(self, names: Sequence[str], seen: Sequence[int]) -> Answer | None:
        """Return the newest answer to a query about a view that is not among those seen."""
        for stamp in reversed(self._kept["clip_surgery/segments"]):
            if not all(stamp in kept for kept in self._kept.values()):
                continue
            of = {topic: kept[stamp] for topic, kept in self._kept.items()}
            view = of["truth"]["view"] if "truth" in of else 0
            segments = of["clip_surgery/segments"]
            if view not in seen and list(segments.query.labels) == list(names):
                return Answer(
                    view,
                    image_to_rgb(of["image_raw"]),
                    segments,
                    of["clip_surgery/heatmaps"],
                    _metres(_pixels(of.get("depth/image_raw"))),
                    _pixels(of.get("truth/instances")),
                    of.get("truth"),
                )
        return None


def _pixels(message: Image | None) -> NDArray[np.uint16] | None:
    """Return the (H, W) values of a 16-bit image; None of none."""
    if message is None:
        return None
    return np.frombuffer(message.data, np.uint16).reshape(message.height, message.width)


def _metres(millimetres: NDArray[np.uint16] | None) -> NDArray[np.float32] | None:
    return None if millimetres is None else millimetres * np.float32(0.001)


def show(scene: int | None, image: Path | None, query: str | None, output: Path) -> int:
    """Start camera and node, ask about each view, print and draw; how many things were found.

    :param scene: number of a scene to render; None: the table of the recorded orbit.
    :param image: show this picture instead.
    :param query: what to ask for; by default something that is there.
    :param output: folder for pictures and logs.
    :raises DemoError: a process ended, or nothing came.
    """
    output.mkdir(parents=True, exist_ok=True)
    clip = ClipBackend.from_file(demo_weights("clip_demo"))
    camera = ["--rate", str(RATE_HZ)]
    if image is not None:
        camera += ["--image", str(image)]
    else:
        camera += ["--views", str(VIEWS), "--hold", str(HOLD_S)]
        camera += [] if scene is None else ["--scene", str(scene)]
    views = 1 if image is not None else VIEWS
    space = () if image is not None else SPACE
    with (
        process("camera", output, "clip_surgery_ros.demo.camera", *camera) as camera_process,
        process("node", output, "clip_surgery_ros.node.main", *space) as node_process,
    ):
        rclpy.init()
        listener = Listener(has_space=image is None)
        until = partial(wait, listener, running=(camera_process, node_process))
        try:
            print("starting camera and node ...", flush=True)
            until(lambda: listener.is_connected or None, "starting")
            if query is None and scene is not None:
                query = "; ".join(names_in_view(until(listener.newest_truth, "truth"))[:3])
            query = query or QUERY
            listener.ask(query)
            sights = _look(listener, until, query, views, clip, output)
        finally:
            listener.destroy_node()
            rclpy.try_shutdown()
    path = output / "views.png"
    write_image(path, sights_picture(sights))
    print(f"all views side by side: {path}")
    return sum(len(sight.result.segments) for sight in sights)


def _look(
    listener: Listener,
    until: Callable[[Callable[[], Answer | None], str], Answer],
    query: str,
    views: int,
    clip: ClipBackend,
    output: Path,
) -> list[Sight]:
    """Take the answers about so many views, in the order of the views; print and draw each."""
    asked = parse_query(query)
    answers: list[Answer] = []
    sights = []
    for number in tqdm(range(1, views + 1), unit="view", file=sys.stdout, leave=False):
        seen = [answer.view for answer in answers]
        answer = until(partial(listener.answer, asked.names, seen), f"view {number}")
        answers.append(answer)
        plain = plain_similarity(clip, answer.image_rgb, asked)
        size_hw = answer.image_rgb.shape[:2]
        result = result_of(asked, size_hw, answer.segments, answer.heatmaps, plain)
        path = output / f"view_{answer.view + 1}.png"
        write_image(path, result_picture(answer.image_rgb, result))
        lines = [f'view {answer.view + 1}: asked "{query}"', result_summary(result)]
        lines += _comparison(answer, result)
        lines += [] if answer.truth is None else place_lines(answer.segments, answer.truth)
        lines.append(f"  see {path}\n")
        tqdm.write("\n".join(lines))
        sights.append(Sight(answer.view, answer.image_rgb, result, answer.depth))
    return sorted(sights, key=lambda sight: sight.view)


def _comparison(answer: Answer, result: FrameResult) -> list[str]:
    """Return a line for each label: the overlap of the masks that were found with the truth."""
    if answer.truth is None or answer.instances is None:
        return []
    lines = []
    for index, name in enumerate(result.query.names):
        truth = label_mask(answer.truth, answer.instances, name)
        found = np.zeros_like(truth)
        for segment in result.segments:
            if segment.label == index:
                paste(found, segment.mask, segment.box, True)
        if truth.any():
            iou = (truth & found).sum() / (truth | found).sum()
            said = f"is in view; IoU of its masks {iou:.2f}"
        else:
            said = "is not in view" + (", but was found" if found.any() else "")
        lines.append(f"  truth      {name:<18} {said}")
    return lines
