"""Sends 2,000 malformed and hostile depth images, camera models and transforms to a running node.

Each image that they belong to still has its 2D results, and a box of finite numbers or a reason in
short words. After each batch the next good image has its place. ``ros.hostile_space`` makes the
inputs with fixed seeds.
"""

from __future__ import annotations

import math
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_surgery_ros.msg import SegmentArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import serialize_message
from ros import hostile, hostile_space
from ros.depth_scene import (
    CENTRE,
    FOCAL,
    FRAME,
    NEAR,
    SIZE_HW,
    BoardEngine,
    DepthScene,
    depth_image,
    moved,
    of,
    stamp,
)
from ros.harness import ros_domain, spinning, wait_until
from ros.rig import Rig, wait_readers
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from clip_surgery_ros.ros.camera_messages import camera_info, depth_message, transform
from clip_surgery_ros.ros.images import image_message

COUNT = 80
"""Inputs of each maker."""
MIN_INPUTS = 2000
MAX_MESSAGE_LENGTH = 600
"""Characters of a reason."""
GROWTH_MIB = 400
"""Growth of the peak of resident memory by files that claim gigabytes."""


class Scene(DepthScene):
    """A node that is asked for the board, and inputs for it."""

    sent = 0

    def __init__(self, node: Node, **parameters: object) -> None:
        values = {
            "depth_topics": ["depth/image_raw"],
            "image_timeout_s": 0.0,
            "box_mode": "axis_aligned",
            "support": "none",
            "tf_wait": 0.02,
            **parameters,
        }
        rig = Rig(node, engine=BoardEngine(), **values)
        rig.activate()
        rig.ask("board")
        super().__init__(rig, compressed=parameters.get("depth_transport") == "compressedDepth")
        self.segments = rig.inbox(SegmentArray, "segments")
        self.found = rig.inbox(Detection3DArray, "detections_3d")
        wait_readers(rig, "segments", "detections_3d")
        self.frames = 0

    def next_ns(self) -> int:
        """The stamp of the next image."""
        self.frames += 1
        return self.at(self.frames / 20)

    def check_image(self, ns: int) -> None:
        """Send an image; check that it has 2D results, and a box or a reason."""
        header = self.send_image(ns)
        (segment,) = self.segments.wait(of(header)).segments
        check_place(segment.place)
        self.found.wait(of(header))
        self.segments.messages.clear()
        self.found.messages.clear()

    def check_good_image(self) -> None:
        """Check that the next good image has its place."""
        ns, depth = self.next_ns(), self.rig.node.cameras[0].depth
        self.send_poses(ns)
        self.send_info(ns)
        self.send_depth(ns)
        wait_until(lambda: depth.newest_ns == ns)
        assert self.rig.set("tf_wait", 2.0).successful  # a busy machine is slow
        header = self.send_image(ns)
        (detection,) = self.found.wait(of(header)).detections
        position = detection.bbox.center.position
        assert position.z == pytest.approx(NEAR, abs=0.002)
        assert self.rig.set("tf_wait", 0.02).successful
        counts = self.rig.node.cameras[0].tally.counts
        assert counts["failed"] == 0, self.rig.node.cameras[0].last_error

    def fix(self, child: str) -> None:
        """Publish where a frame is beside the camera, for all times."""
        self.tf_static.publish(TFMessage(transforms=[transform(moved(0.1), FRAME, child, Time())]))

    def model(self, ns: int, frame: str) -> CameraInfo:
        """A good model of the camera."""
        matrix = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
        header = Header(stamp=stamp(ns), frame_id=frame)
        return camera_info(matrix, SIZE_HW[1], SIZE_HW[0], header)

    def send_poses(self, ns: int) -> None:
        """Send where the camera is in the map around a stamp, if the node listens to that."""
        if self.tf.get_subscription_count():
            self.send_pose(ns - 10**8, 0.0)
            self.send_pose(ns + 10**8, 0.0)

    def publish(self, publisher: object, message: object) -> None:
        """Publish a hostile input."""
        publisher.publish(message)
        Scene.sent += 1


def check_place(place: object) -> None:
    if place.has_box:
        box, size = place.box, place.size
        numbers = [*(getattr(box.position, name) for name in "xyz"), size.x, size.y, size.z]
        assert all(map(math.isfinite, numbers)) and min(size.x, size.y, size.z) >= 0, place
    else:
        assert place.reason and place.message
    assert len(place.message) <= MAX_MESSAGE_LENGTH, place.message
    for part in ("Traceback", "OpenCV(", "\x1b", "\n", "\x07"):
        assert part not in place.message, place.message


@contextmanager
def running(**parameters: object) -> Iterator[Scene]:
    """Run a node with depth inside the ``with`` block."""
    with ros_domain() as context:
        node = Node("hostile_camera", context=context)
        with spinning(node, SingleThreadedExecutor(context=context)):
            scene = Scene(node, **parameters)
            try:
                yield scene
            finally:
                scene.rig.close()
        node.destroy_node()


@pytest.fixture(scope="module")
def raw() -> Iterator[Scene]:
    """Asked for boxes in the map, so that it listens to transforms too."""
    with running(target_frame="map") as scene:
        scene.fix("depth_camera")
        yield scene


@pytest.fixture(scope="module")
def compressed() -> Iterator[Scene]:
    with running(depth_transport="compressedDepth") as scene:
        yield scene


def rng_of(*parts: object) -> random.Random:
    """Return a generator for this batch, so that a batch has the same inputs when run alone."""
    return random.Random(repr(parts))


def name_of(maker: Callable) -> str:
    return maker.__name__


def good_depth(scene: Scene, ns: int) -> Image:
    header = Header(stamp=stamp(ns), frame_id=scene.depth_frame)
    return depth_message(depth_image(), "16UC1", header)


def good_png(scene: Scene, ns: int) -> CompressedImage:
    header = Header(stamp=stamp(ns), frame_id=scene.depth_frame)
    data = bytes(12) + hostile_space.png16(rng_of("png"))
    return CompressedImage(header=header, format="16UC1; compressedDepth png", data=data)


@pytest.mark.parametrize("maker", hostile_space.DEPTH, ids=name_of)
def test_image_with_hostile_depth_has_its_2d_results(raw: Scene, maker: Callable) -> None:
    rng = rng_of(maker.__name__)
    for _ in range(COUNT):
        ns = raw.next_ns()
        raw.send_poses(ns)
        raw.send_info(ns)
        message = good_depth(raw, ns)
        maker(message, rng)
        raw.publish(raw.depth, message)
        raw.check_image(ns)
    raw.check_good_image()


@pytest.mark.parametrize("maker", hostile_space.COMPRESSED, ids=name_of)
def test_image_with_hostile_compressed_depth_has_its_2d_results(
    compressed: Scene, maker: Callable
) -> None:
    rng, scene = rng_of(maker.__name__), compressed
    before_mib = peak_mib()
    for _ in range(COUNT):
        ns = scene.next_ns()
        scene.send_info(ns)
        message = good_png(scene, ns)
        maker(message, rng)
        scene.publish(scene.depth, message)
        scene.check_image(ns)
    scene.check_good_image()
    assert peak_mib() - before_mib < GROWTH_MIB


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("frame", [FRAME, "depth_camera"])
@pytest.mark.parametrize("maker", hostile_space.INFOS, ids=name_of)
def test_image_with_a_hostile_camera_model_has_its_2d_results(
    raw: Scene, maker: Callable, frame: str
) -> None:
    """With depth of another camera, it is projected by such a model."""
    rng = rng_of(maker.__name__, frame)
    raw.depth_frame = frame
    for _ in range(COUNT // 2):
        ns = raw.next_ns()
        raw.send_poses(ns)
        raw.send_info(ns)
        index = rng.randrange(2)
        message = raw.model(ns, (FRAME, frame)[index])
        maker(message, rng)
        raw.publish(raw.infos[index], message)
        raw.send_depth(ns)
        raw.check_image(ns)
    raw.depth_frame = FRAME
    raw.check_good_image()


@pytest.mark.parametrize("maker", hostile_space.TRANSFORMS, ids=name_of)
def test_hostile_transforms_are_left_out_or_kept_beside_the_good_ones(
    raw: Scene, maker: Callable
) -> None:
    rng = rng_of(maker.__name__)
    for number in range(COUNT):
        raw.publish(raw.tf if number % 3 else raw.tf_static, maker(rng))
        if number % 4 == 3:
            ns = raw.next_ns()
            raw.send_info(ns)
            raw.send_depth(ns)
            raw.check_image(ns)
    raw.fix("depth_camera")
    raw.check_good_image()


@pytest.mark.parametrize("what", ["depth", "camera model", "transforms"])
def test_damaged_serialized_messages_are_dropped_or_used(raw: Scene, what: str) -> None:
    rng = rng_of(what)
    for _ in range(COUNT):
        ns = raw.next_ns()
        raw.send_poses(ns)
        good, publisher = {
            "depth": (good_depth(raw, ns), raw.depth),
            "camera model": (raw.model(ns, FRAME), raw.infos[0]),
            "transforms": (hostile_space.with_a_loop(rng), raw.tf),
        }[what]
        raw.publish(publisher, hostile.damaged(serialize_message(good), rng))
        raw.check_image(ns)
    raw.check_good_image()


def test_segment_calls_with_hostile_depth_are_answered(raw: Scene) -> None:
    rng = rng_of("segment")
    for maker in hostile_space.DEPTH * (COUNT // 10):
        ns = raw.next_ns()
        header = Header(stamp=stamp(ns), frame_id=FRAME)
        depth, model = good_depth(raw, ns), raw.model(ns, FRAME)
        maker(depth, rng)
        rng.choice(hostile_space.INFOS)(model, rng)
        image = image_message(np.zeros((*SIZE_HW, 3), np.uint8), "rgb8", header)
        answer = raw.rig.ask_segment(image=image, depth=depth, camera_info=model)
        assert answer.success, answer.message
        if depth.data:
            check_place(answer.result.segments[0].place)
        Scene.sent += 2
    raw.check_good_image()


def test_node_has_had_2000_hostile_inputs() -> None:
    """Counts all batches, so it fails if only some of them ran."""
    assert Scene.sent >= MIN_INPUTS
