"""Decode the bytes of picture files, from disk or from messages; damaged files are errors.

For libjpeg, a JPEG with a missing part is no error: it warns and fills the rest with grey.
simplejpeg passes these warnings on, so this module can refuse such files.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError

Data: TypeAlias = "bytes | array[int]"
"""The bytes of a file; any other buffer works as well."""

MAX_SIDE = 16384
"""More rows or columns than this mean a damaged file: no camera has that many."""

MAX_PIXELS = 64_000_000
"""Files with more pixels are not decoded: no camera on a robot sends them, and a few hundred bytes
may claim gigabytes."""

MAX_BYTES = 8 * MAX_PIXELS
"""Largest file that is read from disk: four channels of 16 bits, not compressed."""

MESSAGE_FORMATS = ("JPEG", "PNG", "TIFF")
"""Formats that image_transport's codecs for pictures write, by Pillow's names."""

DISK_FORMATS = (*MESSAGE_FORMATS, "BMP", "WEBP", "PPM")
"""Formats that are read from disk, by Pillow's names."""

STRAY_BYTES = 16
"""Cheap webcams insert a few bytes before a marker, but the picture is complete. More
bytes mean missing rows, which the decoder has filled with the following data."""

UPRIGHT = 1
"""Exif orientation of a picture that needs no rotation to be shown."""

DECODE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error)
"""What Pillow raises for damaged files; UnidentifiedImageError is an OSError."""

_EXIF_ORIENTATION = 0x0112
# Ubuntu's OpenCV 4.6 has the first, OpenCV 5 the second; level 0 is silence.
_set_opencv_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel

# Pillow's warnings add nothing: sizes are checked here before decoding, against a lower limit than
# Pillow's, and damaged files raise an ImageError.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(data: Data, name: str, formats: Sequence[str]) -> NDArray[Any]:
    """Decode a picture file; rows and channels keep their stored order.

    :param name: of the picture, for errors.
    :param formats: formats that are accepted, by Pillow's names.
    :return: (H, W), or (H, W, C) in OpenCV's order BGR or BGRA; uint8 or uint16.
    :raises ImageError: when the file has another format, is damaged or truncated, is larger than
        ``MAX_PIXELS`` or ``MAX_SIDE`` (read from its header alone), or holds other values than
        brightness.
    """
    file_format, width, height = _read_header(data, name, formats)
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} claims {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million "
            f"are decoded, and {MAX_SIDE} in a row or column"
        )
    is_jpeg = file_format in ("JPEG", "MPO")
    pixels = _decode_jpeg(data, name) if is_jpeg else _decode_with_opencv(data, name)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{name} holds {pixels.dtype} values, expected 8 or 16 bits of brightness; a depth "
            "image, in which nothing can be found by name?"
        )
    return pixels


def to_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert decoded pixels to RGB, without alpha.

    :param pixels: (H, W) grey, or (H, W, 3 or 4) BGR or BGRA; uint8 or uint16.
    :return: (H, W, 3) uint8.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return to_uint8(cv2.cvtColor(pixels, code))


def to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale uint16 values to uint8, so that white stays white; return uint8 values unchanged.

    >>> to_uint8(np.array([[0, 65535]], np.uint16)).tolist()
    [[0, 255]]
    """
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    return np.asarray(pixels, np.uint8)


def exif_orientation(data: bytes) -> int:
    """Return the Exif orientation, 1 to 8; 1 (:data:`UPRIGHT`) where Exif data are damaged."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=DISK_FORMATS) as opened:
            orientation = opened.getexif().get(_EXIF_ORIENTATION, UPRIGHT)
    except (*DECODE_ERRORS, PIL.Image.DecompressionBombError):
        return UPRIGHT
    return orientation if orientation in range(1, 9) else UPRIGHT


def _read_header(data: Data, name: str, formats: Sequence[str]) -> tuple[str, int, int]:
    """Return format, width and height from the file's first bytes; check a PNG's checksums."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(formats)) as opened:
            file_format, (width, height) = str(opened.format), opened.size
            is_cmyk_tiff = file_format == "TIFF" and opened.mode == "CMYK"
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused: {error}") from error
    except DECODE_ERRORS as error:
        others = ", ".join(each for each in formats if each not in ("JPEG", "PNG"))
        raise ImageError(
            f"{name} cannot be decoded; expected a whole JPEG or PNG, or {others}: it is not a "
            "picture of these formats, or its beginning is damaged"
        ) from error
    if is_cmyk_tiff:  # OpenCV takes the fourth channel for alpha
        raise ImageError(f"{name} is a TIFF in printers' colours, CMYK; save it in RGB")
    if file_format == "PNG":
        _check_png(data, name)
    return file_format, width, height


def _check_png(data: Data, name: str) -> None:
    """Compare a PNG's checksums, which takes a fiftieth of the time of decoding."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            opened.verify()
    except DECODE_ERRORS as error:
        raise ImageError(f"{name} is damaged: {error}") from error


def _decode_jpeg(data: Data, name: str) -> NDArray[Any]:
    """Return (H, W) grey or (H, W, 3) BGR of a complete JPEG; refuse a truncated one."""
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours == "Gray":
            return simplejpeg.decode_jpeg(data, "GRAY")[..., 0]
        return simplejpeg.decode_jpeg(data, "BGR")
    except ValueError as error:
        if _means_missing_part(str(error)):
            raise ImageError(
                f"{name} is damaged: a part of the picture is missing ({error})"
            ) from error
    # OpenCV decodes what simplejpeg refuses: CMYK, rare samplings, stray bytes. It also accepts
    # a file without its end, so look for the end marker first.
    content = bytes(data)
    last_scan = content.rfind(b"\xff\xda")
    if content.find(b"\xff\xd9", last_scan) < 0:
        raise ImageError(f"{name} is damaged: a part of the picture is missing at its end")
    return _decode_with_opencv(data, name)


def _means_missing_part(warning: str) -> bool:
    """Return whether libjpeg warns that the file has less data than the picture needs."""
    stray = re.search(r"(\d+) extraneous bytes", warning)
    if stray:
        return int(stray[1]) > STRAY_BYTES
    return warning.startswith(("Corrupt JPEG data", "Premature end"))


def _decode_with_opencv(data: Data, name: str) -> NDArray[Any]:
    """Return (H, W) or (H, W, C) as OpenCV decodes it."""
    try:
        with _silent_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"{name} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ImageError(f"{name} is damaged: it cannot be decoded")
    return pixels


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """Keep OpenCV from printing to stderr: an ImageError says what is wrong."""
    level = _set_opencv_log_level(0)
    try:
        yield
    finally:
        _set_opencv_log_level(level)
