"""Pixels as the bytes of a picture file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError


def encode_image(suffix: str, image: NDArray[Any], settings: Sequence[int] = ()) -> bytes:
    """Return the content of a picture file.

    Write it with ``Path.write_bytes``: OpenCV itself does not report a full disk.

    >>> encode_image(".png", np.zeros((2, 3, 3), np.uint8))[1:4]
    b'PNG'

    :param suffix: ending of a file name of the format, such as ``.png``.
    :param image: (H, W, 3) uint8 RGB; or (H, W) uint8, or uint16 where the format has it.
    :param settings: OpenCV's ``IMWRITE_`` numbers, each followed by its value.
    :raises ImageError: the format takes no such picture.
    """
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    is_encoded, data = cv2.imencode(suffix, image, settings)
    if not is_encoded:
        raise ImageError(f"{suffix} takes no such picture")
    return data.tobytes()
