"""The picture that benchmarks of the ROS path send: what it shows does not change their times."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.recorded import read_orbit


def table_picture(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the table of the recorded orbit at a size, (H, W, 3) uint8 RGB."""
    height, width = size_hw
    rgb = read_orbit().frame(0).rgb
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
