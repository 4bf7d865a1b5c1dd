"""A stand-in for ROS's cv_bridge: correct colours, but the same faults with padded rows.

The Python code of cv_bridge assumes ``step / itemsize / channels`` values per row, rounded down,
whatever the padding is. It needs the data of complete rows, and it swaps bytes with a method that
NumPy 2 has removed.
"""

import cv2
import numpy as np

# OpenCV types and conversions to RGB by encoding, as in cv_bridge.
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
    """A converter of images; ``calls`` counts them."""

    def __init__(self):
        self.calls = 0

    def __call__(self, message):
        self.calls += 1
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
    """Return the name without its bits, and whether it has 16 bits."""
    if encoding.startswith("yuv422"):
        return encoding, False
    name = encoding.removesuffix("16").removesuffix("8")
    if name not in CHANNELS and not name.startswith("bayer_"):
        raise KeyError(f"[{encoding}] is not a color format")
    return name, encoding.endswith("16")
