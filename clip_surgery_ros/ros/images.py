"""ROS images to RGB arrays and back.

An image message is read in place, row by row as its ``step`` says, and converted by OpenCV. Where
ROS's own cv_bridge is installed, it converts the images that it reads right: those whose rows
follow each other without padding, in the machine's own byte order.
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
"""A checked image message to (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class _Encoding:
    """How an encoding lies in memory and which OpenCV conversion makes it RGB.

    :param channels: values per pixel.
    :param depth: bytes per value, 1 or 2.
    :param code: OpenCV's conversion to RGB, None when it is RGB already.
    :param multiple: rows and columns must be multiples of these.
    """

    channels: int
    depth: int
    code: int | None
    multiple_hw: tuple[int, int] = (1, 1)

    @property
    def dtype(self) -> np.dtype:
        """Type of one value in the machine's own byte order."""
        return np.dtype(np.uint8 if self.depth == 1 else np.uint16)


_COLOURS = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
}
# ROS names a mosaic by its first row and then its second; OpenCV's BayerBG and so on start at
# the second row and column, so that its BayerBG is RGGB. These aliases are named as in ROS.
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
# OpenCV's own type names carry no colour; its convention is grey, BGR and BGRA.
_OPENCV_TYPES = {"C1": "mono", "C3": "bgr", "C4": "bgra"}


def _encodings() -> dict[str, _Encoding]:
    """Every encoding that can be read, by its ROS name."""
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
"""Encodings that :func:`image_to_rgb` reads."""

# Of every cv_bridge: it reads OpenCV's type names without colours, and YUV by some names only.
_CV_BRIDGE_ENCODINGS = frozenset(
    name + bits for name in (*_COLOURS, *_MOSAICS) for bits in ("8", "16")
)


def image_to_rgb(message: Image, bridge: Converter | None = None) -> NDArray[np.uint8]:
    """Convert an image message, padded or not, of either byte order.

    16-bit values are scaled to 8 bits; alpha is dropped. :data:`ENCODINGS` lists what is read.

    :param message: the image; its data is not changed.
    :param bridge: conversion to use instead of this module's own; by default cv_bridge's where
        that is installed.
    :return: (H, W, 3) uint8 RGB. It may share the message's memory and then cannot be written.
    :raises ImageError: when the message contradicts itself or its encoding is not known.
    """
    encoding = _checked_encoding(message)
    bridge = bridge or cv_bridge_converter()
    if bridge is None or not _is_for_cv_bridge(message, encoding):
        return _convert(_pixels(message, encoding), encoding)
    try:
        return bridge(message)
    except Exception as error:  # cv_bridge raises whatever OpenCV and Boost do
        raise ImageError(f"cv_bridge cannot convert {_described(message)}: {error}") from error


def compressed_to_rgb(message: CompressedImage) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or TIFF message to what the camera saw.

    What ``format`` says of mosaics and of the order of colours is followed, as
    :func:`~clip_surgery_ros.ros.compressed_format.stored_colours` has it; 16-bit values are
    scaled as those of raw images are. The rows stay as they were encoded, whatever turn the file's
    Exif data asks for: a camera's calibration, and other readers of the topic, know the image so.

    :return: (H, W, 3) uint8 RGB.
    :raises ImageError: when it is a depth image, no such file, damaged, not whole, or larger than
        ``MAX_PIXELS``; the size is read before anything is decoded.
    """
    name = _described_file(message)
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
    """Build an image message.

    :param pixels: (H, W) or (H, W, C), of the type that the encoding names.
    :param encoding: ROS name; it is not checked against the array.
    :param header: used as it is, not copied.
    """
    contiguous = np.ascontiguousarray(pixels)
    height, width = contiguous.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = contiguous.nbytes // height if height else 0
    message.is_bigendian = int(contiguous.dtype.byteorder == ">")
    # array.array is the one type that rclpy takes as uint8[] without a check of every byte.
    data = array.array("B")
    data.frombytes(contiguous.reshape(-1).view(np.uint8).data)
    message.data = data
    return message


@cache
def cv_bridge_converter() -> Converter | None:
    """ROS's cv_bridge as a converter, or None where it is not installed.

    PyPI's package of the same name is another one: it ignores ``step`` and reads 16 bits as 8. It
    is not in the ament index.
    """
    try:
        if not has_resource("packages", "cv_bridge"):
            return None
        from cv_bridge import CvBridge
    except (OSError, ImportError):  # no ament index; or built for another NumPy or Python
        return None
    bridge = CvBridge()

    def convert(message: Image) -> NDArray[np.uint8]:
        return bridge.imgmsg_to_cv2(message, desired_encoding="rgb8")

    return convert if _works(convert) else None


def _works(bridge: Converter) -> bool:
    """Does it convert at all? Built for another NumPy, it may load and fail with every image."""
    red = np.array([[[0, 0, 255]]], np.uint8)
    try:
        return bridge(image_message(red, "bgr8", Header())).tolist() == [[[255, 0, 0]]]
    except Exception:  # whatever OpenCV, Boost and NumPy raise: this module converts, too
        return False


def _is_for_cv_bridge(message: Image, encoding: _Encoding) -> bool:
    """Does cv_bridge know the encoding, and read these rows as they lie?

    Its Python side takes a row for ``step / itemsize / channels`` values, rounded down, which
    shears padded rows; it wants the last row's padding, and swaps bytes by what NumPy 2 lacks.
    """
    row_bytes = message.width * encoding.channels * encoding.depth
    is_in_order = (
        message.step == row_bytes
        and len(message.data) == row_bytes * message.height
        and bool(message.is_bigendian) == (sys.byteorder == "big")
    )
    return is_in_order and message.encoding in _CV_BRIDGE_ENCODINGS


def _as_depth(encoding: str) -> str:
    """A word on encodings of depth images (REP 118), in which nothing can be found by name."""
    is_depth = encoding in ("32FC1", "64FC1")
    return ": a depth image, so remap image_raw to the camera's colour image" if is_depth else ""


def _checked_encoding(message: Image) -> _Encoding:
    """The encoding of a message whose fields fit together."""
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"image encoding {message.encoding[:80]!r} is not known{_as_depth(message.encoding)}; "
            f"expected one of {', '.join(sorted(ENCODINGS))}"
        )
    if not (0 < message.height <= MAX_SIDE and 0 < message.width <= MAX_SIDE):
        raise ImageError(f"{_described(message)}: expected sides of 1 to {MAX_SIDE} pixels")
    _check_cells(message.height, message.width, encoding, _described(message))
    _check_extent(message, encoding)
    return encoding


def _check_cells(height: int, width: int, encoding: _Encoding, name: str) -> None:
    """Refuse a mosaic or packed YUV of which a cell is cut."""
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
            f"{_described(message)}: step is {message.step} bytes, "
            f"expected at least {row_bytes} for a row"
        )
    # Some drivers leave out the padding of the last row.
    needed = message.step * (message.height - 1) + row_bytes
    if len(message.data) < needed:
        raise ImageError(
            f"{_described(message)}: {len(message.data)} bytes of data, expected {needed} "
            f"for rows of {message.step}; the message is cut short"
        )


def _described_file(message: CompressedImage) -> str:
    """A compressed image in a few words, for errors."""
    return f"compressed image of format {message.format[:80]!r} and {len(message.data)} bytes"


def _described(message: Image) -> str:
    """The image in a few words, for errors."""
    return f"image of {message.width} x {message.height} pixels, {message.encoding}"


def _pixels(message: Image, encoding: _Encoding) -> NDArray:
    """(H, W, C) view of the message's data, or a copy where bytes had to be swapped."""
    order: Literal["<", ">"] = ">" if message.is_bigendian else "<"
    view = np.ndarray(
        (message.height, message.width, encoding.channels),
        encoding.dtype.newbyteorder(order),
        buffer=message.data,
        strides=(message.step, encoding.channels * encoding.depth, encoding.depth),
    )
    return view.astype(encoding.dtype, copy=False)


def _convert(pixels: NDArray, encoding: _Encoding) -> NDArray[np.uint8]:
    """(H, W, C) of this encoding to (H, W, 3) uint8 RGB."""
    source = pixels[..., 0] if encoding.channels == 1 else pixels
    # OpenCV wants whole rows; a padded image is copied once, a dense one not at all.
    source = np.ascontiguousarray(source)
    return to_uint8(source if encoding.code is None else cv2.cvtColor(source, encoding.code))
