"""An RGB-D camera in the rendered world: ``python -m clip_surgery_ros.demo.camera``.

It publishes what the driver of such a camera publishes, and the truth beside it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.core.errors import ClipSurgeryError, WorldError
from clip_surgery_ros.demo.camera_options import CameraOptions, parse_options
from clip_surgery_ros.demo.handling import Handling
from clip_surgery_ros.demo.readers import Readers
from clip_surgery_ros.demo.truth import WORLD_FRAME, truth_text
from clip_surgery_ros.demo.views import (
    Carousel,
    View,
    Views,
    picture_views,
    recorded_views,
    rendered_views,
)
from clip_surgery_ros.parameters.arguments import USER_ERROR, in_one_line
from clip_surgery_ros.parameters.cameras import DEMO_FRAME
from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.arguments import start, without_ros_arguments
from clip_surgery_ros.ros.camera_messages import (
    camera_info,
    colour_message,
    depth_message,
    jpeg_message,
    transform,
)
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.world.recorded import RecordedFrame
from clip_surgery_ros.world.rigid import pose
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.sensor import NO_ERRORS, REALISTIC

BODY_FRAME = "demo_camera_link"
"""The camera's body: x forward, y left, z up (REP 103)."""
OPTICAL_IN_BODY = pose([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""(4, 4) optical frame to body."""


class DemoCamera(Node):
    """Publishes views, one after the other, over and over.

    :param carousel: the views.
    :param options: what is sent, and how often.
    :param context: of ROS; the process's own by default.
    """

    def __init__(
        self, carousel: Carousel, options: CameraOptions, context: Context | None = None
    ) -> None:
        super().__init__("demo_camera", context=context)
        self._carousel, self._options = carousel, options
        self._images_each = max(1, round(options.hold_s * options.rate_hz))
        self._sent = 0
        self._outputs = self._open_outputs(has_space=carousel.first.frame is not None)
        colour = [p for name, p in self._outputs.items() if name.startswith("image_raw")]
        self._readers = Readers(colour)
        self._handling = Handling(self, carousel)
        self.create_timer(1 / options.rate_hz, self._on_timer)
        self.get_logger().info(f"shows {_summary(carousel.first, options)}")

    def _open_outputs(self, has_space: bool) -> Mapping[str, Publisher]:
        """Create the publisher of each topic; a picture has colour alone."""
        options = self._options
        kinds: dict[str, tuple[type, QoSProfile]] = {}
        if options.transport != "compressed":
            kinds["image_raw"] = Image, qos.newest_image()
        if options.transport != "raw":
            kinds["image_raw/compressed"] = CompressedImage, qos.newest_image()
        if has_space:
            kinds["camera_info"] = CameraInfo, qos.newest_image()
            kinds["truth"] = String, qos.latched()
            kinds["truth/instances"] = Image, qos.newest_image()
            kinds["/tf"] = TFMessage, qos.transforms()
            kinds["/tf_static"] = TFMessage, qos.latched()
        if has_space and options.depth != "none":
            kinds["depth/camera_info"] = CameraInfo, qos.newest_image()
            kinds["depth/image_raw"] = Image, qos.newest_image()
        return {
            name: qos.open_publisher(self, kind, name, profile)
            for name, (kind, profile) in kinds.items()
        }

    def _on_timer(self) -> None:
        limit = self._options.images
        if limit and (self._sent == limit or not self._readers.are_ready()):
            return
        if self._sent and self._sent % self._images_each == 0:
            self._carousel.turn()
        view, stamp = self._handling.current, self.get_clock().now().to_msg()
        if self._sent == 0 and view.frame is not None:
            fixed = transform(OPTICAL_IN_BODY, BODY_FRAME, DEMO_FRAME, stamp)
            self._outputs["/tf_static"].publish(TFMessage(transforms=[fixed]))
        # The colour image comes last: whoever acts on it finds the rest there.
        if view.frame is not None:
            self._publish_space(view.frame, stamp)
            self._publish_truth(view, view.frame, stamp)
        self._publish_colour(view, stamp)
        self._sent += 1

    def _publish_space(self, frame: RecordedFrame, stamp: Time) -> None:
        """Publish where the camera is, its model and the depth."""
        body = frame.camera.pose @ np.linalg.inv(OPTICAL_IN_BODY)
        moving = transform(body, WORLD_FRAME, BODY_FRAME, stamp)
        self._outputs["/tf"].publish(TFMessage(transforms=[moving]))
        camera = frame.camera
        for name in ("camera_info", "depth/camera_info"):
            if publisher := self._read(name):
                publisher.publish(
                    camera_info(camera.matrix, camera.width, camera.height, _header(stamp))
                )
        if publisher := self._read("depth/image_raw"):
            publisher.publish(
                depth_message(frame.sensor_depth, self._options.depth, _header(stamp))
            )

    def _publish_truth(self, view: View, frame: RecordedFrame, stamp: Time) -> None:
        """Publish what is where."""
        self._outputs["truth"].publish(
            String(data=truth_text(view.number, frame, (stamp.sec, stamp.nanosec)))
        )
        if publisher := self._read("truth/instances"):
            publisher.publish(image_message(frame.ids, "mono16", _header(stamp)))

    def _publish_colour(self, view: View, stamp: Time) -> None:
        """Publish the picture; no two are the same: in each, one value's last bit is another."""
        image_rgb = view.image_rgb.copy()
        image_rgb.flat[self._sent % image_rgb.size] ^= 1
        encoding = self._options.encoding
        if publisher := self._read("image_raw"):
            publisher.publish(colour_message(image_rgb, encoding, _header(stamp)))
        if publisher := self._read("image_raw/compressed"):
            publisher.publish(jpeg_message(image_rgb, encoding, _header(stamp)))

    def _read(self, name: str) -> Publisher | None:
        """Return the publisher of a topic if there is one and somebody reads it."""
        publisher = self._outputs.get(name)
        return publisher if publisher and publisher.get_subscription_count() else None


def _summary(view: View, options: CameraOptions) -> str:
    """Return what is seen, for the log."""
    if view.frame is None:
        return str(options.image)
    names = ", ".join(f"{one.colour} {one.name}".strip() for one in view.frame.objects)
    if options.scene is None:
        scene = "the table of the recorded orbit"
    else:
        scene = f"scene {options.scene} of {options.split}"
    return f"{scene} ({names}); {options.motion}, {options.views} views"


def _header(stamp: Time) -> Header:
    """Return a header of a message's own."""
    return Header(stamp=stamp, frame_id=DEMO_FRAME)


def chosen_views(options: CameraOptions) -> Views:
    """Return the views that the options ask for.

    :raises ClipSurgeryError: there are none.
    """
    if options.image is not None:
        return picture_views(options.image)
    if options.is_recorded:
        return recorded_views(options.views)
    seed = None if options.scene is None else SPLITS[options.split].start + options.scene
    errors = NO_ERRORS if options.sensor == "exact" else REALISTIC
    try:
        return rendered_views(
            seed, options.motion, options.size, options.views, options.rate_hz, errors
        )
    except WorldError as error:
        raise WorldError(
            f"{error} Without --scene, --motion, --size and --sensor the camera shows the "
            "recorded orbit, which needs nothing."
        ) from error


def main(args: Sequence[str] | None = None) -> int:
    """Run the camera until it is told to stop.

    :param args: command line, program name first; the process's own by default.
    :return: exit status.
    """
    arguments = list(sys.argv if args is None else args)
    try:
        options = parse_options(without_ros_arguments(arguments)[1:])
        carousel = Carousel(chosen_views(options))
        height, width = carousel.first.image_rgb.shape[:2]
        options.check_size(width, height)
        if options.ahead:
            carousel.make_others()
        start(arguments)
        _run(carousel, options)
    except ClipSurgeryError as error:
        print(f"demo_camera: {in_one_line(str(error))}", file=sys.stderr)
        return USER_ERROR
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


def _run(carousel: Carousel, options: CameraOptions) -> None:
    """Publish, while the other views are made on a thread."""
    making = threading.Thread(target=carousel.make_others)
    node = DemoCamera(carousel, options)
    making.start()
    try:
        rclpy.spin(node)
    except RuntimeError:  # the base class of RCLError
        if rclpy.ok():  # else a signal ended ROS between two messages
            raise
    finally:
        carousel.stop()
        making.join()


if __name__ == "__main__":
    sys.exit(main())
