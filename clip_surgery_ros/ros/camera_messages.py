"""Messages that the driver of an RGB-D camera publishes: colour, depth, camera model, poses.

The counterpart of :mod:`clip_surgery_ros.ros.images`, which reads such messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.ros.images import ENCODINGS, image_message

Rgb = NDArray[np.uint8]
Pixels = NDArray[np.uint8]

_BT601 = np.array(
    [
        [65.738, 129.057, 25.064],  # Y
        [-37.945, -74.494, 112.439],  # U
        [112.439, -94.154, -18.285],  # V
    ]
) / np.float64(256)
"""RGB to YUV of ITU-R BT.601, studio range, without the offsets."""
JPEG_QUALITY = 95
"""The default of image_transport's ``compressed`` publisher."""


def _mosaic(image_rgb: Rgb, pattern: str) -> Pixels:
    """Return a Bayer mosaic, (H, W); ``pattern`` is its first row and then its second."""
    mosaic = np.empty(image_rgb.shape[:2], np.uint8)
    for index, letter in enumerate(pattern):
        y, x = divmod(index, 2)
        mosaic[y::2, x::2] = image_rgb[y::2, x::2, "rgb".index(letter)]
    return mosaic


def _packed_yuv(image_rgb: Rgb, luma: int) -> Pixels:
    """Return YUV 4:2:2, (H, W, 2).

    :param luma: channel of Y; U and V alternate in the other channel.
    """
    yuv = image_rgb @ _BT601.T + (16, 128, 128)
    packed = np.empty((*image_rgb.shape[:2], 2), np.float64)
    packed[..., luma] = yuv[..., 0]
    chroma = (yuv[:, 0::2, 1:] + yuv[:, 1::2, 1:]) / 2  # one pair for two pixels
    packed[:, 0::2, 1 - luma] = chroma[..., 0]
    packed[:, 1::2, 1 - luma] = chroma[..., 1]
    return np.round(packed).astype(np.uint8)


def _convert_colours(image_rgb: Rgb, code: int) -> Pixels:
    return np.asarray(cv2.cvtColor(image_rgb, code), np.uint8)


_WRITERS: Mapping[str, Callable[[Rgb], Pixels]] = {
    "rgb8": lambda image_rgb: image_rgb,
    "bgr8": partial(_convert_colours, code=cv2.COLOR_RGB2BGR),
    "rgba8": partial(_convert_colours, code=cv2.COLOR_RGB2RGBA),
    "bgra8": partial(_convert_colours, code=cv2.COLOR_RGB2BGRA),
    "mono8": partial(_convert_colours, code=cv2.COLOR_RGB2GRAY),
    "yuv422": partial(_packed_yuv, luma=1),
    "yuv422_yuy2": partial(_packed_yuv, luma=0),
    "bayer_rggb8": partial(_mosaic, pattern="rggb"),
    "bayer_bggr8": partial(_mosaic, pattern="bggr"),
    "bayer_gbrg8": partial(_mosaic, pattern="gbrg"),
    "bayer_grbg8": partial(_mosaic, pattern="grbg"),
}
COLOUR_ENCODINGS: tuple[str, ...] = tuple(_WRITERS)
"""Encodings that :func:`colour_message` writes, by their ROS names."""
DEPTH_ENCODINGS = ("16UC1", "32FC1")
"""Encodings of depth (REP 118): millimetres as whole numbers, or metres."""


def check_size(encoding: str, width: int, height: int) -> None:
    """Refuse a size that an encoding cannot have.

    :param encoding: in :data:`COLOUR_ENCODINGS`.
    :raises ImageError: the encoding is in cells of two pixels, and a side is odd.
    """
    rows, columns = ENCODINGS[encoding].multiple_hw
    if height % rows or width % columns:
        raise ImageError(
            f"{encoding} comes in cells of {columns} x {rows} pixels, which {width} x {height} is "
            "no multiple of; choose another size or encoding"
        )


def colour_message(image_rgb: Rgb, encoding: str, header: Header) -> Image:
    """Return a colour image in an encoding.

    >>> red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    >>> colour_message(red, "bgr8", Header()).data[:3].tolist()
    [0, 0, 255]

    :param image_rgb: (H, W, 3) uint8 RGB.
    :param encoding: in :data:`COLOUR_ENCODINGS`.
    :param header: used as it is, not copied.
    :raises ImageError: see :func:`check_size`.
    """
    height, width = image_rgb.shape[:2]
    check_size(encoding, width, height)
    return image_message(_WRITERS[encoding](image_rgb), encoding, header)


def jpeg_message(image_rgb: Rgb, encoding: str, header: Header) -> CompressedImage:
    """Return a JPEG like those of image_transport's ``compressed`` publisher.

    >>> image = jpeg_message(np.zeros((16, 16, 3), np.uint8), "rgb8", Header())
    >>> image.format
    'rgb8; jpeg compressed bgr8'

    :param image_rgb: (H, W, 3) uint8 RGB.
    :param encoding: of the raw image that is compressed; ``mono8`` gives a grey JPEG.
    :param header: used as it is, not copied.
    """
    grey = encoding == "mono8"
    code = cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    data: Any = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, code), settings)[1]
    stored = "mono8" if grey else "bgr8"
    return CompressedImage(
        header=header, format=f"{encoding}; jpeg compressed {stored}", data=data.tobytes()
    )


def depth_message(depth: NDArray[np.float32], encoding: str, header: Header) -> Image:
    """Return a depth image as REP 118 defines it.

    >>> depth = np.array([[0.5004, 0.0, 70.0]], np.float32)
    >>> np.frombuffer(depth_message(depth, "16UC1", Header()).data, np.uint16).tolist()
    [500, 0, 0]

    :param depth: (H, W) float32, metres along the optical axis, 0 where there is none.
    :param encoding: ``16UC1`` (millimetres; 0 where there is none or more than 65.535 m) or
        ``32FC1`` (metres, NaN where there is none).
    :param header: used as it is, not copied.
    """
    if encoding == "32FC1":
        return image_message(np.where(depth > 0, depth, np.float32(np.nan)), encoding, header)
    millimetres = np.round(depth * 1000)
    return image_message(
        np.where(millimetres < 65536, millimetres, 0).astype(np.uint16), encoding, header
    )


def camera_info(
    matrix: NDArray[np.float64], width: int, height: int, header: Header
) -> CameraInfo:
    """Return the model of a camera without distortion, whose images are rectified.

    >>> matrix = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    >>> camera_info(matrix, 640, 480, Header()).p.tolist()[:4]
    [500.0, 0.0, 319.5, 0.0]

    :param matrix: (3, 3) K, pixels.
    :param width: pixels.
    :param height: pixels.
    :param header: used as it is, not copied.
    """
    return CameraInfo(
        header=header,
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=matrix.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist(),
    )


def transform(pose: NDArray[np.float64], parent: str, child: str, stamp: Time) -> TransformStamped:
    """Return the pose of a frame in its parent, for ``/tf``.

    >>> message = transform(np.eye(4), "world", "camera", Time())
    >>> message.child_frame_id, message.transform.rotation.w
    ('camera', 1.0)

    :param pose: (4, 4) child to parent, metres.
    """
    x, y, z = pose[:3, 3].tolist()
    qx, qy, qz, qw = quaternion(pose[:3, :3]).tolist()
    return TransformStamped(
        header=Header(stamp=stamp, frame_id=parent),
        child_frame_id=child,
        transform=Transform(
            translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)
        ),
    )


def quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit quaternion (x, y, z, w), w at least 0, of a (3, 3) rotation.

    It is the eigenvector of Bar-Itzhack's matrix for the greatest eigenvalue: exact for every
    rotation, without a choice of cases.
    """
    r = rotation
    symmetric = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    eigenvector = np.linalg.eigh(symmetric)[1][:, -1]  # eigh reads the lower triangle
    return np.asarray(eigenvector if eigenvector[3] >= 0 else -eigenvector)
