"""From an image message to a result, with the duration of each stage. Runs on the worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import DeviceLostError
from clip_surgery_ros.core.types import Wanted
from clip_surgery_ros.node.networks import NodeNetworks
from clip_surgery_ros.node.tracking import Tracking
from clip_surgery_ros.parameters.cameras import CameraTopic
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.camera import CameraImage
from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb
from clip_surgery_ros.ros.outputs import Frame
from clip_surgery_ros.ros.pairing import Paired
from clip_surgery_ros.ros.places import objects_in_space
from clip_surgery_ros.ros.queries import ActiveQuery
from clip_surgery_ros.ros.tally import Tally


class Inference:
    """Converts images and runs the networks on them; for the worker's thread only.

    :param networks: of the node.
    :param tally: gets the duration of each stage; other parts of the node add their own counts.
    :param on_device_lost: called when the GPU computes nothing any more in this process.
    """

    def __init__(
        self,
        networks: NodeNetworks,
        tally: Tally,
        on_device_lost: Callable[[DeviceLostError], None],
    ) -> None:
        self._networks, self._on_device_lost = networks, on_device_lost
        self.tally = tally

    def to_rgb(self, message: CameraImage) -> NDArray[np.uint8]:
        """Convert an image message to (H, W, 3) uint8 RGB.

        :raises ImageError: when it cannot be used.
        """
        start_s = time.perf_counter()
        is_compressed = isinstance(message, CompressedImage)
        image_rgb = compressed_to_rgb(message) if is_compressed else image_to_rgb(message)
        self.tally.record("convert", time.perf_counter() - start_s)
        return image_rgb

    def run(
        self,
        image_rgb: NDArray[np.uint8],
        header: Header,
        query: ActiveQuery,
        wanted: Wanted,
        config: Config,
    ) -> Frame:
        """Compute the result of an image.

        :param image_rgb: (H, W, 3) uint8 RGB.
        :param header: of the image message.
        :param query: what to look for.
        :param wanted: which parts of the result are needed.
        :param config: the parameters to use.
        """
        try:
            result = self._networks.engine(config).run(image_rgb, query.query, wanted)
        except DeviceLostError as error:
            self._on_device_lost(error)
            raise
        for stage, seconds in result.stage_seconds.items():
            self.tally.record(stage, seconds)
        return Frame(result, image_rgb, header, query.message)

    def locate(self, frame: Frame, paired: Paired, config: Config) -> Frame:
        """Return the frame with the places of its objects in space.

        :param paired: what belongs to the frame's image.
        :param config: the parameters to use.
        """
        start_s = time.perf_counter()
        space = objects_in_space(frame.result, paired, config)
        self.tally.record("space", time.perf_counter() - start_s)
        return replace(frame, space=space)

    def follow(
        self,
        tracking: Tracking,
        camera: CameraTopic,
        frame: Frame,
        paired: Paired | None,
        config: Config,
    ) -> Frame:
        """Return the frame with the objects that its segments are; see :meth:`Tracking.follow`."""
        start_s = time.perf_counter()
        followed = tracking.follow(camera, frame, paired, config)
        self.tally.record("tracks", time.perf_counter() - start_s)
        return followed
