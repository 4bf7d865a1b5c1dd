"""Picture files as arrays, from disk or out of messages: whole, or refused.

A JPEG of which a part is missing is no error to libjpeg: it warns, and fills the rest with grey.
simplejpeg hands these warnings on, so that only whole pictures get through.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import warnings
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError

Data: TypeAlias = "bytes | array[int]"
"""The bytes of a file; any other buffer does as well."""

MAX_SIDE = 16384
"""Rows or columns beyond this are taken for damage: no camera has them."""

MAX_PIXELS = 64_000_000
"""Files beyond this are not decoded: no camera on a robot sends them, and a few hundred bytes may
claim gigabytes."""

MAX_BYTES = 8 * MAX_PIXELS
"""Of a file on disk: four channels of 16 bits, not compressed."""

IN_MESSAGES = ("JPEG", "PNG", "TIFF")
"""What image_transport's codecs for pictures write."""

ON_DISK = (*IN_MESSAGES, "BMP", "WEBP", "PPM")
"""What folders of pictures hold besides."""

STRAY_BYTES = 16
"""Cheap webcams leave a few bytes before a marker, and the picture is whole. More are left where
rows are missing and what follows was decoded in their place."""

UPRIGHT = 1
"""Exif's orientation of a picture that is stored as it is to be shown."""

NOT_READ = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error)
"""What Pillow raises of damaged files; UnidentifiedImageError is an OSError."""

_TIFF = (b"II*\0", b"MM\0*")
_ORIENTATION = 0x0112  # Exif's tag
# Ubuntu's OpenCV 4.6 has it here, 5 there; level 0 is silence.
_set_opencv_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel

# Sizes are checked here, before anything is decoded, against a lower limit than Pillow's; and
# what it warns of in damaged files is said in an error of ours, or is of no account.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class PictureFile:
    """A picture from disk.

    :param image_rgb: (H, W, 3) uint8 RGB, rows as they are stored.
    :param turn: orientation that Exif asks for, 1 to 8; 1 is none.
    """

    image_rgb: NDArray[np.uint8]
    turn: int

    def turned(self) -> NDArray[np.uint8]:
        """(H, W, 3) or (W, H, 3) uint8 RGB, turned as Exif asks."""
        stored = self.image_rgb
        across = stored.transpose(1, 0, 2)
        by_orientation = {
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: across,
            6: across[:, ::-1],
            7: across[::-1, ::-1],
            8: across[::-1],
        }
        return np.ascontiguousarray(by_orientation.get(self.turn, stored))


def read_picture(path: Path) -> PictureFile:
    """A picture file.

    :raises ImageError: when it is not there, no picture, not whole or too large.
    """
    data = file_content(path, MAX_BYTES)
    turn = _turn(data)
    pixels = decode(data, f"picture {path}", ON_DISK)
    if turn != UPRIGHT and data[:4] in _TIFF:  # OpenCV turns these by itself
        raise ImageError(f"picture {path} is a TIFF that asks to be turned; save it upright")
    return PictureFile(to_rgb(pixels), turn)


def file_content(path: Path, most: int | None = None) -> bytes:
    """All bytes of a file.

    :param most: refuse longer ones.
    :raises ImageError: when it cannot be read, or is none: a folder, a pipe, a device.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # reading a pipe or a device might never end
            raise ImageError(f"{path} is not a file")
        if most is not None and about.st_size > most:
            raise ImageError(f"{path} has {about.st_size} bytes; at most {most} are read")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error


def decode(data: Data, name: str, formats: Sequence[str]) -> NDArray[Any]:
    """Decode a picture file, rows and channels as they are stored.

    :param name: of the picture, for errors.
    :param formats: Pillow's names of the formats that are taken.
    :return: (H, W), or (H, W, C) in OpenCV's order BGR or BGRA; uint8 or uint16.
    :raises ImageError: when it is of another format, damaged, not whole, larger than
        ``MAX_PIXELS`` or ``MAX_SIDE`` (told from its head alone), or holds no brightness.
    """
    kind, width, height = _head(data, name, formats)
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} claims {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million "
            f"are decoded, and {MAX_SIDE} in a row or column"
        )
    pixels = _jpeg(data, name) if kind in ("JPEG", "MPO") else _by_opencv(data, name)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{name} holds {pixels.dtype} values, expected 8 or 16 bits of brightness; a depth "
            "image, in which nothing can be found by name?"
        )
    return pixels


def to_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) grey, or (H, W, 3 or 4) in OpenCV's order, to (H, W, 3) uint8 RGB without alpha."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return eight_bits(cv2.cvtColor(pixels, code))


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """uint16 values scaled to uint8, white to white; uint8 as it is."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    return np.asarray(pixels, np.uint8)


def _head(data: Data, name: str, formats: Sequence[str]) -> tuple[str, int, int]:
    """Format, width and height from the file's first bytes; a PNG's checksums are compared."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(formats)) as opened:
            kind, (width, height) = str(opened.format), opened.size
            in_print = kind == "TIFF" and opened.mode == "CMYK"
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused: {error}") from error
    except NOT_READ as error:
        others = ", ".join(one for one in formats if one not in ("JPEG", "PNG"))
        raise ImageError(
            f"{name} cannot be decoded; expected a whole JPEG or PNG, or {others}: it is not a "
            "picture of these, or its beginning is damaged"
        ) from error
    if in_print:  # OpenCV takes the fourth channel for alpha
        raise ImageError(f"{name} is a TIFF in printers' colours, CMYK; save it in RGB")
    if kind == "PNG":
        _check_png(data, name)
    return kind, width, height


def _check_png(data: Data, name: str) -> None:
    """Compare a PNG's checksums, for a fiftieth of what decoding costs."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            opened.verify()
    except NOT_READ as error:
        raise ImageError(f"{name} is damaged: {error}") from error


def _jpeg(data: Data, name: str) -> NDArray[Any]:
    """(H, W) or (H, W, 3) BGR of a JPEG that is whole."""
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours == "Gray":
            return simplejpeg.decode_jpeg(data, "GRAY")[..., 0]
        return simplejpeg.decode_jpeg(data, "BGR")
    except ValueError as error:
        if _is_missing_a_part(str(error)):
            raise ImageError(
                f"{name} is damaged: a part of the picture is missing ({error})"
            ) from error
    # CMYK, rare samplings and stray bytes, which OpenCV takes; it takes missing ends, too.
    content = bytes(data)
    last_scan = content.rfind(b"\xff\xda")
    if content.find(b"\xff\xd9", last_scan) < 0:
        raise ImageError(f"{name} is damaged: a part of the picture is missing at its end")
    return _by_opencv(data, name)


def _is_missing_a_part(warning: str) -> bool:
    """Does a warning of libjpeg's say that the data are fewer than the picture wants?"""
    stray = re.search(r"(\d+) extraneous bytes", warning)
    if stray:
        return int(stray[1]) > STRAY_BYTES
    return warning.startswith(("Corrupt JPEG data", "Premature end"))


def _by_opencv(data: Data, name: str) -> NDArray[Any]:
    """(H, W) or (H, W, C) as OpenCV decodes it."""
    try:
        with _quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"{name} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ImageError(f"{name} is damaged: it cannot be decoded")
    return pixels


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Without OpenCV's own lines on stderr: what is wrong is said in an error of ours."""
    level = _set_opencv_log_level(0)
    try:
        yield
    finally:
        _set_opencv_log_level(level)


def _turn(data: bytes) -> int:
    """Exif's orientation, 1 to 8; damaged Exif data ask for no turn."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=ON_DISK) as opened:
            turn = opened.getexif().get(_ORIENTATION, UPRIGHT)
    except (*NOT_READ, PIL.Image.DecompressionBombError):
        return UPRIGHT
    return turn if turn in range(1, 9) else UPRIGHT
