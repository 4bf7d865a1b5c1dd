"""Converts ROS images to RGB arrays and back.

OpenCV converts an image message without a copy of its data, whatever its ``step``. If ROS's
cv_bridge is installed, it converts the images that it reads correctly: those without padding
between rows, in the byte order of the machine.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
from ament_index_python.resources import has_resource
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.pictures.decode import MAX_SIDE, MESSAGE_FORMATS, decode, to_uint8
from clip_surgery_ros.ros.compressed_format import stored_colours

Converter = Callable[[Image], NDArray[np.uint8]]
"""Converts a checked image message to (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class _Encoding:
    """The memory layout of an encoding, and OpenCV's conversion of it to RGB.

    :param channels: values per pixel.
    :param depth: bytes per value, 1 or 2.
    :param code: OpenCV's conversion to RGB; None when it is RGB already.
    :param multiple_hw: numbers of rows and columns must be multiples of these.
    """

    channels: int
    depth: int
    code: int | None
    multiple_hw: tuple[int, int] = (1, 1)

    @property
    def dtype(self) -> np.dtype:
        """Type of one value, in the byte order of the machine."""
        return np.dtype(np.uint8 if self.depth == 1 else np.uint16)


_COLOURS = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
}
# ROS names a mosaic by its first row and then its second. OpenCV's old names, such as BayerBG,
# start at the second row and column: its BayerBG is RGGB. Its aliases here are named as in ROS.
_MOSAICS = {
    "bayer_rggb": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg": cv2.COLOR_BayerGRBG2RGB,
}
_PACKED = {
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
}
# OpenCV's type names say nothing of colours; its convention is grey, BGR and BGRA.
_OPENCV_TYPES = {"C1": "mono", "C3": "bgr", "C4": "bgra"}


def _encodings() -> dict[str, _Encoding]:
    """Return every encoding that can be read, by its ROS name."""
    table = {}
    for depth, bits in ((1, "8"), (2, "16")):
        for name, (channels, code) in _COLOURS.items():
            table[name + bits] = _Encoding(channels, depth, code)
        for name, code in _MOSAICS.items():
            table[name + bits] = _Encoding(1, depth, code, (2, 2))
        for suffix, name in _OPENCV_TYPES.items():
            table[f"{bits}U{suffix}"] = table[name + bits]
    for name, code in _PACKED.items():
        table[name] = _Encoding(2, 1, code, (1, 2))
    return table


ENCODINGS = _encodings()
"""The encodings that :func:`image_to_rgb` reads, by their ROS names."""

# cv_bridge does not convert OpenCV's type names to colours, and knows some names of YUV only.
_CV_BRIDGE_ENCODINGS = frozenset(
    name + bits for name in (*_COLOURS, *_MOSAICS) for bits in ("8", "16")
)


def image_to_rgb(message: Image, bridge: Converter | None = None) -> NDArray[np.uint8]:
    """Convert an image message to RGB. Rows may be padded, and the byte order may be either.

    16-bit values are scaled to 8 bits; alpha is dropped. :data:`ENCODINGS` lists the encodings.

    >>> bgr = np.array([[[255, 0, 0]]], np.uint8)  # one blue pixel
    >>> image_to_rgb(image_message(bgr, "bgr8", Header(frame_id="camera"))).tolist()
    [[[0, 0, 255]]]

    :param message: the image; its data is not changed.
    :param bridge: converter to use instead of this module's own; by default cv_bridge's where it
        is installed.
    :return: (H, W, 3) uint8 RGB. It may share the message's memory and is then read-only.
    :raises ImageError: when the fields of the message contradict each other or its encoding is
        not known.
    """
    encoding = _checked_encoding(message)
    bridge = bridge or cv_bridge_converter()
    if bridge is None or not _is_for_cv_bridge(message, encoding):
        return _convert(_pixels(message, encoding), encoding)
    try:
        return bridge(message)
    except Exception as error:  # cv_bridge raises whatever OpenCV and Boost do
        raise ImageError(f"cv_bridge cannot convert {_describe(message)}: {error}") from error


def compressed_to_rgb(message: CompressedImage) -> NDArray[np.uint8]:
    """Decode a message with a JPEG, PNG or TIFF file to RGB.

    Mosaics and the order of colours are read from ``format`` (see
    :func:`~clip_surgery_ros.ros.compressed_format.stored_colours`); 16-bit values are scaled to 8
    bits. A rotation in the file's Exif data is ignored: the camera's calibration, and other
    subscribers, need the image as it was encoded.

    :return: (H, W, 3) uint8 RGB.
    :raises ImageError: when it is a depth image, no JPEG, PNG or TIFF, damaged, incomplete, or
        larger than ``MAX_PIXELS``; the size is checked before the file is decoded.

    >>> png = cv2.imencode(".png", np.full((2, 3, 3), (0, 0, 255), np.uint8))[1]  # red, as BGR
    >>> compressed_to_rgb(CompressedImage(format="png", data=png.tobytes()))[0, 0].tolist()
    [255, 0, 0]
    """
    name = _describe_file(message)
    if "compressedDepth" in message.format:
        raise ImageError(
            f"{name} is a depth image, in which nothing can be found by name; remap image_raw to "
            "the camera's colour image"
        )
    pixels = decode(message.data, name, MESSAGE_FORMATS)
    pixels = pixels.reshape(*pixels.shape[:2], -1)  # (H, W) -> (H, W, 1)
    colours = stored_colours(message.format, pixels.shape[2])
    encoding = ENCODINGS[f"{colours}{8 * pixels.itemsize}"]
    _check_cells(pixels.shape[0], pixels.shape[1], encoding, name)
    return _convert(pixels, encoding)


def image_message(pixels: NDArray, encoding: str, header: Header) -> Image:
    """Return an image message of an array.

    >>> message = image_message(np.zeros((480, 640, 3), np.uint8), "rgb8", Header())
    >>> message.height, message.width, message.step
    (480, 640, 1920)

    :param pixels: (H, W) or (H, W, C), of the dtype that the encoding needs.
    :param encoding: ROS name; it is not checked against the array.
    :param header: used as it is, not copied.
    """
    contiguous = np.ascontiguousarray(pixels)
    height, width = contiguous.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = contiguous.nbytes // height if height else 0
    message.is_bigendian = int(contiguous.dtype.byteorder == ">")
    # array.array is the only type that rclpy accepts for uint8[] without checking every byte.
    data = array.array("B")
    data.frombytes(contiguous.reshape(-1).view(np.uint8).data)
    message.data = data
    return message


@cache
def cv_bridge_converter() -> Converter | None:
    """Return ROS's cv_bridge as a converter, or None where it is not installed or does not work.

    The package of the same name on PyPI is a different one: it ignores ``step`` and reads 16 bits
    as 8. It is not in the ament index, so it is not used.
    """
    try:
        if not has_resource("packages", "cv_bridge"):
            return None
        from cv_bridge import CvBridge
    except (OSError, ImportError):  # no ament index, or built for a different NumPy or Python
        return None
    bridge = CvBridge()

    def convert(message: Image) -> NDArray[np.uint8]:
        return bridge.imgmsg_to_cv2(message, desired_encoding="rgb8")

    return convert if _works(convert) else None


def _works(bridge: Converter) -> bool:
    """Whether cv_bridge converts an image: built for a different NumPy it loads, but may fail."""
    red = np.array([[[0, 0, 255]]], np.uint8)
    try:
        return bridge(image_message(red, "bgr8", Header())).tolist() == [[[255, 0, 0]]]
    except (
        Exception
    ):  # OpenCV, Boost and NumPy may raise anything; without it this module converts
        return False


def _is_for_cv_bridge(message: Image, encoding: _Encoding) -> bool:
    """Whether cv_bridge knows the encoding and reads these rows correctly.

    It takes a row for ``step / itemsize / channels`` values, rounded down, which shears padded
    rows. It needs the padding of the last row too, and swaps bytes with a method that NumPy 2
    does not have.
    """
    row_bytes = message.width * encoding.channels * encoding.depth
    is_in_order = (
        message.step == row_bytes
        and len(message.data) == row_bytes * message.height
        and bool(message.is_bigendian) == (sys.byteorder == "big")
    )
    return is_in_order and message.encoding in _CV_BRIDGE_ENCODINGS


def _depth_hint(encoding: str) -> str:
    """Return a hint about encodings of depth images (REP 118); empty for other encodings."""
    is_depth = encoding in ("32FC1", "64FC1")
    return ": a depth image, so remap image_raw to the camera's colour image" if is_depth else ""


def _checked_encoding(message: Image) -> _Encoding:
    """Return the encoding of a message.

    :raises ImageError: when it is not known, or the fields contradict each other.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"image encoding {message.encoding[:80]!r} is not known"
            f"{_depth_hint(message.encoding)}; expected one of {', '.join(sorted(ENCODINGS))}"
        )
    if not (0 < message.height <= MAX_SIDE and 0 < message.width <= MAX_SIDE):
        raise ImageError(f"{_describe(message)}: expected sides of 1 to {MAX_SIDE} pixels")
    _check_cells(message.height, message.width, encoding, _describe(message))
    _check_extent(message, encoding)
    return encoding


def _check_cells(height: int, width: int, encoding: _Encoding, name: str) -> None:
    """Refuse a mosaic or packed YUV whose size is not a multiple of its cells."""
    rows, columns = encoding.multiple_hw
    if height % rows or width % columns:
        raise ImageError(
            f"{name}: {width} x {height} pixels, but this encoding comes in cells of {columns} x "
            f"{rows} pixels"
        )


def _check_extent(message: Image, encoding: _Encoding) -> None:
    """Refuse rows or data that are too short for the size."""
    row_bytes = message.width * encoding.channels * encoding.depth
    if message.step < row_bytes:
        raise ImageError(
            f"{_describe(message)}: step is {message.step} bytes, "
            f"expected at least {row_bytes} for a row"
        )
    # Some drivers leave out the padding of the last row.
    needed = message.step * (message.height - 1) + row_bytes
    if len(message.data) < needed:
        raise ImageError(
            f"{_describe(message)}: {len(message.data)} bytes of data, expected {needed} "
            f"for rows of {message.step}; the message is cut short"
        )


def _describe_file(message: CompressedImage) -> str:
    """Return a short description of a compressed image, for errors."""
    return f"compressed image of format {message.format[:80]!r} and {len(message.data)} bytes"


def _describe(message: Image) -> str:
    """Return a short description of an image, for errors."""
    return f"image of {message.width} x {message.height} pixels, {message.encoding}"


def _pixels(message: Image, encoding: _Encoding) -> NDArray:
    """Return an (H, W, C) view of a message's data; a copy where bytes must be swapped."""
    order: Literal["<", ">"] = ">" if message.is_bigendian else "<"
    view = np.ndarray(
        (message.height, message.width, encoding.channels),
        encoding.dtype.newbyteorder(order),
        buffer=message.data,
        strides=(message.step, encoding.channels * encoding.depth, encoding.depth),
    )
    return view.astype(encoding.dtype, copy=False)


def _convert(pixels: NDArray, encoding: _Encoding) -> NDArray[np.uint8]:
    """Convert (H, W, C) of an encoding to (H, W, 3) uint8 RGB."""
    source = pixels[..., 0] if encoding.channels == 1 else pixels
    # OpenCV needs rows without padding: padded images are copied, others are not.
    source = np.ascontiguousarray(source)
    return to_uint8(source if encoding.code is None else cv2.cvtColor(source, encoding.code))
