"""The demo: a camera node, the clip_surgery node and a query, each as users have them.

Two processes are started, images and results travel over real topics, and what comes back is
printed and drawn into a folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tqdm import tqdm

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.demo.answers import Rgb, plain_similarity, result_of
from clip_surgery_ros.demo.programs import process, wait
from clip_surgery_ros.demo.world_run import run_world
from clip_surgery_ros.msg import HeatmapArray, SegmentArray
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.parameters.arguments import whole_number
from clip_surgery_ros.pictures.files import read_image, write_image
from clip_surgery_ros.pictures.result_picture import result_picture
from clip_surgery_ros.pictures.summary import DEMO_NOTE, result_summary
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_to_rgb
from clip_surgery_ros.weights.files import demo_weights
from clip_surgery_ros.world.scenes import SPLITS, Scene, SceneGenerator, SceneStyle
from clip_surgery_ros.world.sprites import NAMES

SIZE_HW = (480, 640)
FIRST_SCENE = 7000  # among the held-out ones; any would do

Stamp = tuple[int, int]


@dataclass(frozen=True)
class Shot:
    """One view to ask about: its name, what to ask, and how to know it when it comes."""

    name: str
    query: str
    image_rgb: Rgb


class Listener(Node):
    """Asks, and keeps what comes back for each image, by its stamp."""

    def __init__(self) -> None:
        super().__init__("demo_listener")
        self._images: OrderedDict[Stamp, Rgb] = OrderedDict()
        self._heatmaps: OrderedDict[Stamp, HeatmapArray] = OrderedDict()
        self._segments: OrderedDict[Stamp, SegmentArray] = OrderedDict()
        self._query = self.create_publisher(String, "query", qos.query())
        self.create_subscription(Image, "image_raw", self._on_image, qos.newest_image())
        node = "clip_surgery"
        self.create_subscription(
            HeatmapArray, f"{node}/heatmaps", lambda m: _keep(self._heatmaps, m), qos.result()
        )
        self.create_subscription(
            SegmentArray, f"{node}/segments", lambda m: _keep(self._segments, m), qos.result()
        )

    def _on_image(self, message: Image) -> None:
        _keep(self._images, message, image_to_rgb(message))

    @property
    def is_connected(self) -> bool:
        """Whether camera and node are there."""
        return bool(self._query.get_subscription_count() and self.count_publishers("image_raw"))

    def ask(self, text: str) -> None:
        """Publish a query."""
        self._query.publish(String(data=text))

    def answer(self, shot: Shot) -> tuple[SegmentArray, HeatmapArray] | None:
        """What the node said of this view and query, if it has."""
        names = list(parse_query(shot.query).names)
        for stamp, segments in reversed(self._segments.items()):
            heatmaps, image = self._heatmaps.get(stamp), self._images.get(stamp)
            if heatmaps is None or image is None or list(segments.query.labels) != names:
                continue
            if _is_view(image, shot.image_rgb):
                return segments, heatmaps
        return None


def _keep(kept: OrderedDict[Stamp, Any], message: Any, value: Any = None) -> None:
    """Remember a message, or what was made of it, by its stamp; forget the oldest."""
    stamp = message.header.stamp
    kept[(stamp.sec, stamp.nanosec)] = message if value is None else value
    if len(kept) > 40:
        kept.popitem(last=False)


def _is_view(image: Rgb, view: Rgb) -> bool:
    """Whether the camera sent this view, whose last bits flicker."""
    return image.shape == view.shape and int(cv2.absdiff(image, view).max()) <= 1


def scene_shots(count: int, query: str | None) -> list[Shot]:
    """Held-out scenes, each asked for what is in it and one thing that is not."""
    generator = SceneGenerator(SceneStyle(size_hw=SIZE_HW))
    start = SPLITS["held_out"].start + FIRST_SCENE
    scenes = [generator.scene(start + index) for index in range(count)]
    return [
        Shot(f"scene {i}", query or _asked_of(scene), scene.image)
        for i, scene in enumerate(scenes, start=1)
    ]


def _asked_of(scene: Scene) -> str:
    names = sorted(set(scene.names))[:3]
    others = [name for name in NAMES if name not in scene.names]
    return "; ".join([*names, others[scene.seed % len(others)]])


def picture_shots(path: Path, query: str | None) -> list[Shot]:
    """One picture file."""
    return [Shot(path.stem, query or "red apple; banana; hammer", read_image(path))]


def run(shots: Sequence[Shot], camera: Sequence[str], output: Path) -> int:
    """Start everything, ask about every shot, print and draw; how many things were found."""
    output.mkdir(parents=True, exist_ok=True)
    clip = ClipBackend.from_file(demo_weights("clip_demo"))
    found = 0
    with (
        process("camera", output, "clip_surgery_ros.demo.camera", *camera) as camera_process,
        process("node", output, "clip_surgery_ros.node.main") as node_process,
    ):
        running = (camera_process, node_process)
        rclpy.init()
        listener = Listener()
        try:
            print("starting camera and node ...", flush=True)
            wait(listener, lambda: listener.is_connected or None, "starting", running)
            for shot in tqdm(shots, unit="view", file=sys.stdout, leave=False):
                listener.ask(shot.query)
                answer = partial(listener.answer, shot)
                segments, heatmaps = wait(listener, answer, shot.name, running)
                query = parse_query(shot.query)
                plain = plain_similarity(clip, shot.image_rgb, query)
                result = result_of(query, shot.image_rgb.shape[:2], segments, heatmaps, plain)
                found += len(result.segments)
                path = output / f"{shot.name.replace(' ', '_')}.png"
                write_image(path, result_picture(shot.image_rgb, result))
                tqdm.write(
                    f'{shot.name}: asked "{shot.query}"\n{result_summary(result)}\n  see {path}\n'
                )
        finally:
            listener.destroy_node()
            rclpy.try_shutdown()
    return found


def run_stickers(options: argparse.Namespace) -> int:
    """Show sticker scenes or a picture; how many things were found."""
    if options.image:
        print(DEMO_NOTE)
        shots = picture_shots(options.image, options.query)
        camera = ["--image", str(options.image), "--rate", "5"]
    else:
        shots = scene_shots(options.scenes, options.query)
        width_height = f"{SIZE_HW[1]}x{SIZE_HW[0]}"
        camera = ["--scenes", str(len(shots)), "--first", str(FIRST_SCENE)]
        camera += ["--size", width_height, "--rate", "5", "--hold", "1"]
    return run(shots, camera, options.output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse options and run; what goes wrong is one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="./demo", description=main.__doc__)
    parser.add_argument("--image", type=Path, help="a picture file instead of generated scenes")
    parser.add_argument("--query", help='labels separated by , or ; ("red apple; hammer")')
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder to fill")
    parser.add_argument(
        "--world",
        action="store_true",
        help="show the rendered world, which these networks do not know yet",
    )
    parser.add_argument(
        "--scene", type=whole_number(0), metavar="SEED", help="with --world: another table"
    )
    parser.add_argument("--scenes", type=int, default=5, help="how many scenes (default: 5)")
    options = parser.parse_args(arguments)
    # Nothing of the demo belongs on the network, unless the user has said otherwise.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    try:
        if options.world:
            found = run_world(options.scene, options.image, options.query, options.output)
        else:
            found = run_stickers(options)
    except ClipSurgeryError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(f"\n{found} objects found; pictures and logs are in {options.output}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
