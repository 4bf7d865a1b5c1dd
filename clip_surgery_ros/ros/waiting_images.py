"""Images that wait for the results about them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

CameraImage: TypeAlias = Image | CompressedImage
MOST_BYTES = 64 * 2**20
"""Of images that wait for their result: 70 of 640 x 480, or 10 of full HD. The oldest go first."""


def stamp_text(stamp: Time) -> str:
    """Return a stamp as seconds with nine digits, which a JavaScript number would lose."""
    return f"{stamp.sec}.{stamp.nanosec:09d}"


class Pictures:
    """Images whose result is not there yet, by stamp, up to a number of bytes.

    :param most_bytes: limit; the newest image is kept however large it is.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[str, CameraImage] = OrderedDict()

    def keep(self, message: CameraImage) -> None:
        """Keep an image, and drop the oldest ones that are too many."""
        self._drop(stamp_text(message.header.stamp))
        self._kept[stamp_text(message.header.stamp)] = message
        self._bytes += len(message.data)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def take(self, stamp: str) -> CameraImage | None:
        """Return the image of a stamp, if it is there, and drop all that are older."""
        found = self._kept.get(stamp)
        while found is not None and next(iter(self._kept)) != stamp:
            self._drop(next(iter(self._kept)))
        return found

    def _drop(self, stamp: str) -> None:
        dropped = self._kept.pop(stamp, None)
        self._bytes -= 0 if dropped is None else len(dropped.data)
