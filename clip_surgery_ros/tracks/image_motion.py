"""How a camera's picture moved since its last one, for views without depth or pose."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.tracks.cloud import middle

Floats = NDArray[np.float64]

WIDTH = 320
"""Pixels to which wider pictures are reduced: enough for motion, and a few milliseconds."""
CORNERS = 300
"""Corners that are followed at most."""
BACK = 1.0
"""Pixels by which a corner that is followed there and back may miss its start."""
LEAST = 8
"""Corners that must agree, for the motion of the whole picture to be known."""
AGREE = 3.0
"""Pixels by which a corner may differ from the common motion; parallax makes it differ."""
LEAST_OWN = 4
"""Corners on an object that are needed for its own motion."""


@dataclass(frozen=True)
class ImageBox:
    """A box in a picture, pixels with fractions: middle, width and height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class ImageMotion:
    """Motion between two pictures of a camera.

    :param before: (K, 2) x, y of corners in the first picture, pixels.
    :param after: (K, 2) where they are in the second one.
    :param common: (2, 3) similarity of most of them; None if they do not agree.
    """

    before: Floats
    after: Floats
    common: Floats | None

    @property
    def is_known(self) -> bool:
        """Whether the motion of the whole picture is known."""
        return self.common is not None

    def moved(self, box: ImageBox) -> ImageBox:
        """Return where a box of the first picture is in the second one.

        The corners in the box decide if there are enough, then those of the whole picture. The
        box stays where it is if nothing is known.
        """
        if self.common is None and not len(self.before):
            return box
        x, y = self.before.T
        own = (abs(x - box.x) <= box.width / 2) & (abs(y - box.y) <= box.height / 2)
        if np.count_nonzero(own) >= LEAST_OWN:
            before, after = self.before[own], self.after[own]
            x, y = np.array([box.x, box.y]) + middle(after - before)
            scale = float(np.clip(_spread(after) / max(_spread(before), 1e-3), 0.8, 1.25))
            return ImageBox(float(x), float(y), box.width * scale, box.height * scale)
        if self.common is None:
            return box
        x, y = self.common @ np.array([box.x, box.y, 1.0])
        scale = float(np.sqrt(abs(np.linalg.det(self.common[:, :2]))))
        return ImageBox(float(x), float(y), box.width * scale, box.height * scale)


def _spread(points: Floats) -> float:
    """Return how far points, (K, 2), are from their middle: the median."""
    away = points - middle(points)
    return float(middle(np.hypot(away[:, 0], away[:, 1])))


STILL = ImageMotion(np.zeros((0, 2)), np.zeros((0, 2)), np.array([[1.0, 0, 0], [0, 1.0, 0]]))
"""A picture that did not move."""
UNKNOWN = ImageMotion(np.zeros((0, 2)), np.zeros((0, 2)), None)
"""Nothing is known of the motion."""


@dataclass(frozen=True)
class Reduced:
    """What of a picture tells its motion.

    :param grey: (h, w) uint8, at most :data:`WIDTH` wide.
    :param scale: its width in widths of the picture.
    """

    grey: NDArray[np.uint8]
    scale: float


class MotionOfCamera:
    """Follows each picture of a camera to its next one."""

    def __init__(self) -> None:
        self._last: Reduced | None = None

    def step(self, image_rgb: NDArray[np.uint8] | None) -> ImageMotion:
        """Return the motion from the last picture to this one, which becomes the last.

        :param image_rgb: (H, W, 3); without it nothing is known.
        """
        if image_rgb is None:
            self._last = None
            return UNKNOWN
        now = reduced(image_rgb)
        last, self._last = self._last, now
        return UNKNOWN if last is None else motion_between(last, now)


def reduced(image_rgb: NDArray[np.uint8]) -> Reduced:
    """Return what of a picture, (H, W, 3) uint8, tells its motion."""
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if width <= WIDTH:
        return Reduced(grey, 1.0)
    scale = WIDTH / width
    size = (WIDTH, max(1, round(height * scale)))
    return Reduced(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), scale)


def motion_between(last: Reduced, now: Reduced) -> ImageMotion:
    """Return the motion from a picture to the next one of its camera.

    Corners are followed (Lucas and Kanade 1981, in the pyramid of Bouguet 2000). Nothing is known
    when the pictures differ in size.
    """
    if last.grey.shape != now.grey.shape:
        return UNKNOWN
    corners = cv2.goodFeaturesToTrack(last.grey, CORNERS, 0.01, 4)
    if corners is None:
        return UNKNOWN
    before, after = _followed(last.grey, now.grey, corners.reshape(-1, 1, 2))
    if len(before) < LEAST:
        return ImageMotion(before / now.scale, after / now.scale, None)
    common, agree = cv2.estimateAffinePartial2D(
        before, after, method=cv2.RANSAC, ransacReprojThreshold=AGREE
    )
    if common is None or int(agree.sum()) < max(LEAST, len(before) // 3):
        return ImageMotion(before / now.scale, after / now.scale, None)
    common = np.asarray(common, np.float64)
    common[:, 2] /= now.scale
    return ImageMotion(before / now.scale, after / now.scale, common)


def _followed(
    last: NDArray[np.uint8], now: NDArray[np.uint8], corners: NDArray[np.float32]
) -> tuple[Floats, Floats]:
    """Return corners, (K, 2) x, y, that were found again, and where; both ways agree."""
    size, levels = (15, 15), 4
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        last, now, corners, None, winSize=size, maxLevel=levels
    )
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(
        now, last, there, None, winSize=size, maxLevel=levels
    )
    miss = np.linalg.norm((back - corners).reshape(-1, 2), axis=1)
    good = (found.ravel() > 0) & (found_back.ravel() > 0) & (miss < BACK)
    before, after = corners.reshape(-1, 2)[good], there.reshape(-1, 2)[good]
    return before.astype(np.float64), after.astype(np.float64)
