"""What labelling a recorded bag costs beside the networks: on one core, by processor time.

The demo's networks are measured, whose images take the least time: with larger ones, the share of
everything else is smaller.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.networks.factory import LoadedNetworks, load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.recorded.following import followed
from clip_surgery_ros.recorded.frames import labelled_frames
from clip_surgery_ros.recorded.label import ITEMS, label_item
from clip_surgery_ros.recorded.plan import Plan, make_plan
from clip_surgery_ros.recorded.results import coco_file
from clip_surgery_ros.recorded.side_bag import side_bags
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.bag_writing import BagTopic, write_bag
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.world.recorded import read_orbit

IMAGES = 6
"""A quarter of the recorded orbit: the networks take a second or two for them."""
QUERY = "red mug; blue mug; green apple; teapot; banana"
"""Objects of the orbit: six are found in nearly all images."""
TOPIC = "/camera/image_raw"


def recorded_bags(setting: Setting) -> list[Row]:
    """Measure the processor's seconds, which other programs change less than the clock's."""
    config = Config.from_values({"cpu_threads": 1, "device": "cpu"})
    networks, query = load_networks(config), parse_query(QUERY)
    pictures = [read_orbit().frame(index).rgb for index in range(IMAGES)]
    with TemporaryDirectory() as folder:
        output = Path(folder)
        plan = make_plan([record(output / "bag", pictures)], None, 0, query, config)
        (output / ITEMS).mkdir()
        work: dict[str, Callable[[], None]] = {
            "bare": lambda: _bare(networks, pictures, query),
            "label": lambda: label_item(plan.items[0], query, networks, output),
            "coco": lambda: _export(plan, query, config, output, with_bag=False),
            "bag": lambda: _export(plan, query, config, output, with_bag=True),
        }
        seconds = {name: 1000 * _cpu_seconds(run, setting.rounds) for name, run in work.items()}
    of_image = {name: value / IMAGES for name, value in seconds.items()}
    return [
        Row(
            "labelling a bag, demo networks: the bare pipeline / items",
            of_image["bare"] / of_image["label"],
            "at least 0.95",
            seconds={name: of_image[name] / 1000 for name in ("bare", "label")},
        ),
        Row("an image's item beside its networks", of_image["label"] - of_image["bare"], "", "ms"),
        Row("ids and COCO of an image", of_image["coco"], "", "ms"),
        Row("the side bag of an image", of_image["bag"] - of_image["coco"], "", "ms"),
    ]


def record(path: Path, pictures: list[NDArray[np.uint8]]) -> Path:
    """Record pictures, two a second.

    :param pictures: (H, W, 3) uint8 RGB each.
    """
    with write_bag(path, {TOPIC: BagTopic(Image, qos.newest_image())}) as bag:
        for number, picture in enumerate(pictures):
            stamp = Time(sec=number // 2, nanosec=number % 2 * 500_000_000)
            message = image_message(picture, "rgb8", Header(stamp=stamp, frame_id="camera"))
            bag.write(TOPIC, message, number * 500_000_000)
    return path


def _bare(networks: LoadedNetworks, pictures: list[NDArray[np.uint8]], query: Query) -> None:
    """Run the pipeline as a program does that has the pictures."""
    pipeline = networks.pipeline(networks.config)
    for picture in pictures:
        pipeline.run(picture, query)


def _export(plan: Plan, query: Query, config: Config, output: Path, with_bag: bool) -> None:
    """Give ids and write what results are written to."""
    with ExitStack() as opened:
        takes = [opened.enter_context(coco_file(query, output))]
        if with_bag:
            takes.append(opened.enter_context(side_bags(query, config, output)))
        for frame in followed(labelled_frames(plan, query, output), config):
            for take in takes:
                take(frame)


def _cpu_seconds(run: Callable[[], object], rounds: int) -> float:
    """Return the least of the processor's seconds of some rounds, after one that is not measured:
    what others do to the caches only adds.
    """
    run()
    seconds = []
    for _ in range(rounds):
        start_s = time.process_time()
        run()
        seconds.append(time.process_time() - start_s)
    return min(seconds)
