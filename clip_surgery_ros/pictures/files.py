"""Read and write picture files on disk."""

from __future__ import annotations

import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.pictures.decode import (
    DISK_FORMATS,
    MAX_BYTES,
    UPRIGHT,
    decode,
    exif_orientation,
    to_rgb,
)

_TIFF = (b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class PictureFile:
    """A picture from disk and its Exif orientation.

    :param image_rgb: (H, W, 3) uint8 RGB, rows as they are stored.
    :param orientation: Exif orientation, 1 to 8; 1 needs no rotation.

    >>> stored = np.zeros((2, 3, 3), np.uint8)
    >>> PictureFile(stored, orientation=6).upright().shape
    (3, 2, 3)
    """

    image_rgb: NDArray[np.uint8]
    orientation: int

    def upright(self) -> NDArray[np.uint8]:
        """Return the picture rotated by its Exif orientation, (H, W, 3) or (W, H, 3)."""
        stored = self.image_rgb
        transposed = stored.transpose(1, 0, 2)
        by_orientation = {
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: transposed,
            6: transposed[:, ::-1],
            7: transposed[::-1, ::-1],
            8: transposed[::-1],
        }
        return np.ascontiguousarray(by_orientation.get(self.orientation, stored))


def read_picture_file(path: Path) -> PictureFile:
    """Read a picture with its Exif orientation.

    :raises ImageError: when the file is missing, not a picture, truncated or too large.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_image(f"{folder}/grey.png", np.full((2, 3, 3), 128, np.uint8))
    ...     read_picture_file(Path(folder, "grey.png")).orientation
    1
    """
    data = read_bytes(path, MAX_BYTES)
    orientation = exif_orientation(data)
    pixels = decode(data, f"picture {path}", DISK_FORMATS)
    if orientation != UPRIGHT and data[:4] in _TIFF:  # OpenCV rotates these by itself
        raise ImageError(f"picture {path} is a TIFF with an Exif orientation; save it upright")
    return PictureFile(to_rgb(pixels), orientation)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 RGB, rows as they are stored.

    The node does not rotate a camera's images either, so boxes and masks mean the same pixels in
    both. A note on stderr names a file whose Exif data ask for a rotation.

    :raises ImageError: when the file is missing or not a picture.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_image(f"{folder}/red.png", np.full((2, 3, 3), (255, 0, 0), np.uint8))
    ...     image_rgb = read_image(f"{folder}/red.png")
    >>> image_rgb.shape, image_rgb[0, 0].tolist()
    ((2, 3, 3), [255, 0, 0])
    """
    picture = read_picture_file(Path(path))
    if picture.orientation != UPRIGHT:
        print(
            f"note: {path} asks to be turned (Exif); it is taken as stored, as the node takes it. "
            "To turn the file itself, use `mogrify -auto-orient`",
            file=sys.stderr,
        )
    return picture.image_rgb


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes:
    """Read all bytes of a file.

    :param max_bytes: refuse longer files.
    :raises ImageError: when it cannot be read, or is no regular file: a folder, a pipe, a device.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
            raise ImageError(f"{path} is not a file")
        if max_bytes is not None and status.st_size > max_bytes:
            raise ImageError(f"{path} has {status.st_size} bytes; at most {max_bytes} are read")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error


def check_picture_name(path: Path) -> None:
    """Check that the ending of a file name is that of a picture format.

    :raises ImageError: when it is not; the message names an ending.
    """
    if not (path.suffix and cv2.haveImageWriter(f"x{path.suffix}")):
        raise ImageError(f"cannot write {path}: take an ending such as .png")


def write_image(path: str | Path, image_rgb: NDArray[np.uint8]) -> None:
    """Write a picture, completely or not at all; make its folder where there is none.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :raises ImageError: when the file's ending is not that of a picture format.
    """
    path = Path(path)
    check_picture_name(path)
    try:
        data = encode_image(path.suffix, image_rgb)
    except ImageError as error:
        raise ImageError(f"cannot write {path}: {error}") from error
    with write_together(path.parent) as unfinished:
        (unfinished / path.name).write_bytes(data)
