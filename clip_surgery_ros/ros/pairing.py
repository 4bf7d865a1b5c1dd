"""What belongs to an image in space: depth, camera models and transforms.

Networks may take longer than transforms and depth are kept, so what belongs to an image is put
together when it arrives. What comes a little later is waited for, for a limited time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock

from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.depth_images import DepthMessage
from clip_surgery_ros.ros.transforms import Transforms
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.transforms import Rigid, TransformUnavailable

RETRY_S = 0.02
"""What is missing is looked for this often: half the period of a camera of 30 Hz."""
FINAL = frozenset({Reason.TF_PAST, Reason.CLOCK})
"""Reasons that do not go away by waiting."""


@dataclass(frozen=True)
class Paired:
    """What belongs to an image, or why it cannot be placed in space.

    :param header: of the image.
    :param frame: of the boxes.
    :param failure: why something is missing.
    :param depth: the depth image; None if there is none that can be projected into the image.
    :param camera_info: model of the image's camera.
    :param depth_info: model of the depth camera; None if none is known.
    :param to_target: takes points of the image's frame to ``frame``.
    :param depth_to_image: takes points of the depth image's frame to the image's.
    :param rectified: whether image and depth image are rectified.
    """

    header: Header
    frame: str
    failure: Finding | None = None
    depth: DepthMessage | None = None
    camera_info: CameraInfo | None = None
    depth_info: CameraInfo | None = None
    to_target: Rigid = field(default_factory=Rigid.identity)
    depth_to_image: Rigid = field(default_factory=Rigid.identity)
    rectified: tuple[bool, bool] = (False, False)


class Pairing:
    """What belongs to one image, as it is found.

    :param header: of the image.
    :param config: of the moment when the image arrived.
    :param look: looks for what belongs to the image; None while something may still come. The
        argument says that the time is over.
    """

    def __init__(
        self, header: Header, config: Config, look: Callable[[Pairing, bool], Paired | None]
    ) -> None:
        self.header, self.config = header, config
        self._look = look
        self._deadline_s = time.monotonic() + config.tf_wait
        self._found: Paired | None = None
        self._done, self._lock = Event(), Lock()

    def attempt(self) -> bool:
        """Look once more; return whether there is nothing left to look for."""
        with self._lock:
            if self._found is None:
                self._found = self._look(self, time.monotonic() >= self._deadline_s)
            if self._found is not None:
                self._done.set()
        return self._found is not None

    def wait(self) -> Paired:
        """Return what belongs to the image, at the latest when the time for it is over."""
        while not self.attempt():
            self._done.wait(min(RETRY_S, max(0.0, self._deadline_s - time.monotonic())))
        found = self._found
        if found is None:  # not possible after an attempt that succeeded
            raise RuntimeError("a pairing ended without a result")
        return found


def stamp_ns(header: Header) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec * 10**9 + header.stamp.nanosec)


def lookup(transforms: Transforms, target: str, source: str, header: Header) -> Rigid:
    """Return the transform between two frames at an image's stamp; none is needed from a frame to
    itself.

    :raises TransformUnavailable: with the reason.
    """
    if target.lstrip("/") == source.lstrip("/"):
        return Rigid.identity()
    if not stamp_ns(header):
        raise TransformUnavailable(Reason.CLOCK, "the image has no stamp, so no moment in /tf")
    transforms.listen()
    return transforms.lookup(target, source, stamp_ns(header))


def sent_along(
    header: Header, depth: Image, info: CameraInfo, config: Config, transforms: Transforms
) -> Pairing:
    """Return what was sent along with an image; depth is registered to the image.

    :param header: of the image.
    """
    target = config.target_frame or header.frame_id

    def look(_: Pairing, is_over: bool) -> Paired | None:
        failure, to_target = None, Rigid.identity()
        if not info.width:
            text = "no camera_info was sent along with the depth"
            failure = Finding(Reason.NO_CAMERA_INFO, text)
        else:
            try:
                to_target = lookup(transforms, target, header.frame_id, header)
            except TransformUnavailable as error:
                failure = error.finding
                if not is_over and failure.reason not in FINAL:
                    return None
        return Paired(header, target, failure, depth, info, None, to_target)

    return Pairing(header, config, look)
