"""Reads depth images: raw ones (REP 118), and those of image_transport's ``compressedDepth``.

``compressedDepth`` has a header of 12 bytes, and then a PNG or RVL of 16 bits (A. D. Wilson, "Fast
Lossless Depth Image Compression", 2017). 32FC1 is stored as ``A / depth + B``.
"""

from __future__ import annotations

import struct
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.core.errors import ImageError, SpaceError
from clip_surgery_ros.pictures.decode import MAX_PIXELS, MAX_SIDE, decode
from clip_surgery_ros.space.depth import UNITS, metres_of

DepthMessage: TypeAlias = Image | CompressedImage
HEADER_BYTES = 12
"""Of compressedDepth: a number that nobody reads, and the floats A and B of 32FC1."""
_TYPES = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}


def metres_of_message(message: DepthMessage, unit: float = 0.0) -> NDArray[np.float32]:
    """Return the depth of a message, (H, W) float32 metres, 0 where nothing was measured.

    :param unit: metres of one unit; 0 takes that of the encoding.
    :raises ImageError: the message is damaged, or its fields contradict each other.
    :raises SpaceError: its encoding is not one of depth.
    """
    if hasattr(message, "format"):  # messages of bags have classes of their own
        raw, encoding = _decompressed(message)
    else:
        raw, encoding = _raw(message), message.encoding
    return metres_of(raw, encoding, unit)


def _raw(message: Image) -> NDArray[Any]:
    """Return the (H, W) values of a raw depth image."""
    if message.encoding not in UNITS:
        raise SpaceError(
            f"the depth topic carries images with encoding {message.encoding[:80]!r}: expected "
            f"one of {', '.join(UNITS)}; name the topic of depth in depth_topics"
        )
    name = f"depth image of {message.width} x {message.height} pixels, {message.encoding}"
    if not (0 < message.height <= MAX_SIDE and 0 < message.width <= MAX_SIDE):
        raise ImageError(f"{name}: expected sides of 1 to {MAX_SIDE} pixels")
    dtype = np.dtype(_TYPES[message.encoding])
    order: Literal["<", ">"] = ">" if message.is_bigendian else "<"
    row_bytes = message.width * dtype.itemsize
    needed = message.step * (message.height - 1) + row_bytes
    if message.step < row_bytes or len(message.data) < needed:
        raise ImageError(
            f"{name}: {len(message.data)} bytes of data in rows of {message.step}, expected "
            f"{needed} in rows of at least {row_bytes}; the message is cut short"
        )
    return np.ndarray(
        (message.height, message.width),
        dtype.newbyteorder(order),
        buffer=message.data,
        strides=(message.step, dtype.itemsize),
    )


def _decompressed(message: CompressedImage) -> tuple[NDArray[Any], str]:
    """Return the (H, W) values of a compressedDepth message, and their encoding."""
    encoding, _, rest = (part.strip() for part in message.format.partition(";"))
    name = f"compressed depth image of format {message.format[:80]!r}"
    if not rest.startswith("compressedDepth") or encoding not in UNITS:
        raise ImageError(
            f"{name}: expected '16UC1; compressedDepth' or '32FC1; compressedDepth'. Transport "
            "'compressed' spoils depth: set depth_transport to compressedDepth or raw"
        )
    data = bytes(message.data)
    if len(data) <= HEADER_BYTES:
        raise ImageError(f"{name}: {len(data)} bytes; the message is cut short")
    body = data[HEADER_BYTES:]
    pixels = _rvl(body, name) if "rvl" in rest else decode(body, name, ("PNG",))
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise ImageError(f"{name} has {pixels.dtype} pixels of shape {pixels.shape}, not 16 bits")
    if encoding != "32FC1":
        return pixels, encoding
    a, b = struct.unpack_from("<ff", data, 4)
    if not np.isfinite([a, b]).all() or a == 0:
        raise ImageError(f"{name}: quantisation by {a:g} and {b:g}; the message is damaged")
    with np.errstate(divide="ignore"):
        metres = np.float32(a) / (pixels.astype(np.float32) - np.float32(b))
    return np.where(pixels > 0, metres, np.float32(0)), encoding


def _rvl(body: bytes, name: str) -> NDArray[np.uint16]:
    """Return the (H, W) pixels of an RVL stream: width, height, then words of eight nibbles.

    A number is of nibbles with three bits each, the lowest first; the highest bit of a nibble says
    that another one follows. The numbers are, in turn: zeros to write, then how many pixels
    follow, then the difference of each from the pixel before, with the sign in its lowest bit.
    """
    if len(body) < 8:
        raise ImageError(f"{name}: {len(body)} bytes of RVL; the message is cut short")
    width, height = struct.unpack_from("<ii", body)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ImageError(f"{name} claims {width} x {height} pixels; the message is damaged")
    numbers = _variable_length(body[8 : 8 + (len(body) - 8) // 4 * 4])
    size, at, pixel = width * height, 0, 0
    places, runs = [], []
    while pixel < size:
        if at + 2 > len(numbers):
            raise ImageError(f"{name}: RVL ends at pixel {pixel} of {size}; it is cut short")
        zeros, count = int(numbers[at]), int(numbers[at + 1])
        start = pixel + zeros
        run = numbers[at + 2 : at + 2 + count]
        if start + count > size or len(run) < count or zeros + count == 0:
            raise ImageError(f"{name}: RVL has a run of {count} at pixel {start} of {size}")
        places.append(np.arange(start, start + count))
        runs.append(run)
        at, pixel = at + 2 + count, start + count
    deltas = np.concatenate(runs)
    signed = (deltas >> 1) ^ -(deltas & 1)
    result = np.zeros(size, np.uint16)
    result[np.concatenate(places)] = np.cumsum(signed).astype(np.uint16)
    return result.reshape(height, width)


def _variable_length(words: bytes) -> NDArray[np.int64]:
    """Return the numbers in words of eight nibbles, the highest nibble first."""
    values = np.frombuffer(words, "<u4")
    shifts = np.arange(28, -4, -4, dtype=np.uint32)
    nibbles = ((values[:, None] >> shifts) & np.uint32(15)).ravel().astype(np.int64)
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        return np.zeros(0, np.int64)
    nibbles = nibbles[: ends[-1] + 1]
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(nibbles)) - np.repeat(starts, ends - starts + 1)
    # More nibbles than a number of 32 bits has are damage; their bits are dropped.
    bits = np.where(place < 11, (nibbles & 7) << np.minimum(3 * place, 33), 0)
    return np.asarray(np.add.reduceat(bits, starts))
