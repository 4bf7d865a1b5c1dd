"""A camera that sees generated scenes, or one picture: ``python -m clip_surgery_ros.demo.camera``.

Publishes on ``image_raw`` as a camera driver does: best effort, stamped, at a steady rate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.demo.readers import Readers
from clip_surgery_ros.parameters.cameras import DEMO_FRAME
from clip_surgery_ros.pictures.files import read_image
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.world.scenes import SPLITS, SceneGenerator, SceneStyle

View = tuple[str, NDArray[np.uint8]]
"""What is seen, for the log, and (H, W, 3) uint8 RGB."""


class DemoCamera(Node):
    """Shows one view after the other, over and over.

    :param view: makes the view of an index, from 0.
    :param count: how many views there are.
    :param rate_hz: images per second.
    :param hold_s: how long each view is shown, in seconds.
    :param frames: send so many once somebody reads them, and no more; 0 sends always.
    """

    def __init__(
        self,
        view: Callable[[int], View],
        count: int,
        rate_hz: float,
        hold_s: float,
        frames: int = 0,
    ) -> None:
        super().__init__("camera")
        self._view = view
        self._count = count
        self._frames_each = max(1, round(hold_s * rate_hz))
        self._frames = frames
        self._frame = 0
        self._image, self._seen = Image(), -1
        self._publisher = self.create_publisher(Image, "image_raw", qos.newest_image())
        self._readers = Readers([self._publisher])
        self.create_timer(1 / rate_hz, self._publish)

    def _publish(self) -> None:
        if self._frames and self._frame == self._frames:
            return
        # Before anybody reads: the first view takes longer than a camera may be late.
        self._turn_to(self._frame // self._frames_each % self._count)
        if self._frames and not self._readers.are_ready():
            return
        # No two images of a real camera are the same: in each, one value's last bit is another.
        self._image.data[self._frame % len(self._image.data)] ^= 1
        self._frame += 1
        self._image.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(self._image)

    def _turn_to(self, index: int) -> None:
        """Take up a view, unless it is what is seen already."""
        if index == self._seen:
            return
        self._seen = index
        name, image_rgb = self._view(index)
        self._image = image_message(image_rgb, "rgb8", Header(frame_id=DEMO_FRAME))
        self.get_logger().info(f"seeing {name}")


def scene_view(split: str, first: int, size_hw: tuple[int, int]) -> Callable[[int], View]:
    """Views of generated scenes.

    :param split: name of the seeds' split.
    :param first: number of the scene at index 0 within the split.
    """
    generator = SceneGenerator(SceneStyle(size_hw=size_hw))

    def view(index: int) -> View:
        scene = generator.scene(SPLITS[split].start + first + index)
        return f"scene {first + index}: {', '.join(scene.names)}", scene.image

    return view


def picture_view(path: Path) -> Callable[[int], View]:
    """The view of one picture file.

    :raises ImageError: when the file is not there or no picture.
    """
    image_rgb = read_image(path)
    return lambda _: (path.name, image_rgb)


def parser() -> argparse.ArgumentParser:
    """The command line, without ROS's own arguments."""
    made = argparse.ArgumentParser(prog="demo_camera", description=__doc__)
    made.add_argument("--scenes", type=_positive(int), default=10, help="how many, over and over")
    made.add_argument("--first", type=int, default=0, help="number of the first scene")
    made.add_argument("--split", choices=sorted(SPLITS), default="held_out", help="of the seeds")
    made.add_argument("--size", type=_size_hw, default=(240, 320), help="WIDTHxHEIGHT of scenes")
    made.add_argument("--image", type=Path, help="show this picture file instead of scenes")
    made.add_argument("--rate", type=_positive(float), default=10.0, help="images per second")
    made.add_argument("--hold", type=_positive(float), default=3.0, help="seconds per scene")
    made.add_argument(
        "--frames", type=int, default=0, help="send so many, once somebody reads them"
    )
    return made


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return number


def _size_hw(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 15 and int(height) > 15):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; give one such as 640x480")
    return int(height), int(width)


def main(args: Sequence[str] | None = None) -> int:
    """Run the camera until it is told to stop.

    :param args: command line, program name first; the process's own by default.
    :return: exit status.
    """
    arguments = sys.argv if args is None else list(args)
    options = parser().parse_args(remove_ros_args(arguments)[1:])
    try:
        if options.image is None:
            view, count = scene_view(options.split, options.first, options.size), options.scenes
        else:
            view, count = picture_view(options.image), 1
    except ImageError as error:
        print(f"demo_camera: {error}", file=sys.stderr)
        return 2
    rclpy.init(args=arguments)
    try:
        rclpy.spin(DemoCamera(view, count, options.rate, options.hold, options.frames))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
