"""Stands in for ROS's cv_bridge: it converts the colours right and misreads rows as that does.

Its Python side takes a row for ``step / itemsize / channels`` values, rounded down, whatever
padding there is; it wants the data of whole rows; and it swaps bytes by a method of arrays that
NumPy 2 has not.
"""

import cv2
import numpy as np

# As cv_bridge pairs encodings with OpenCV's types and conversions to RGB.
CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "mono": 1, "yuv422": 2, "yuv422_yuy2": 2}
CODES = {
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "mono": cv2.COLOR_GRAY2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}


class RoundingBridge:
    """Called as a converter; ``asked`` counts the images that it got."""

    def __init__(self):
        self.asked = 0

    def __call__(self, message):
        self.asked += 1
        name, wide = kind_of(message.encoding)
        pixels = self.rows_of(message, CHANNELS.get(name, 1), np.uint16 if wide else np.uint8)
        rgb = cv2.cvtColor(pixels, CODES[name]) if name in CODES else pixels.copy()
        return cv2.convertScaleAbs(rgb, alpha=255 / 65535) if wide else rgb

    @staticmethod
    def rows_of(message, channels, dtype):
        order = ">" if message.is_bigendian else "<"
        dtype = np.dtype(dtype).newbyteorder(order)
        row = message.step // dtype.itemsize // channels
        pixels = np.ndarray((message.height, row, channels), dtype, buffer=message.data)
        pixels = np.ascontiguousarray(pixels[:, : message.width])
        if message.is_bigendian == 1:
            pixels = pixels.byteswap().newbyteorder()
        return pixels[..., 0] if channels == 1 else pixels


def kind_of(encoding):
    """Name without bits, and whether it has 16 of them."""
    if encoding.startswith("yuv422"):
        return encoding, False
    name = encoding.removesuffix("16").removesuffix("8")
    if name not in CHANNELS and not name.startswith("bayer_"):
        raise KeyError(f"[{encoding}] is not a color format")
    return name, encoding.endswith("16")
