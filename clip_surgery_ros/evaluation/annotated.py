"""Read annotated pictures and texts of a data set, and report what is wrong with them."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.pictures.decode import DECODE_ERRORS, MAX_BYTES, MAX_PIXELS, UPRIGHT
from clip_surgery_ros.pictures.files import read_bytes, read_picture_file


class DatasetError(ClipSurgeryError):
    """A data set has another layout than expected."""


def read_annotated_picture(
    path: Path, sizes_hw: Mapping[str, tuple[int, int]]
) -> NDArray[np.uint8]:
    """Read a picture as it was annotated: as stored, or turned as its Exif data ask.

    Some annotation programs show a photograph turned, others show it as stored. The size that the
    annotations declare tells which. Where it fits both, or no size is declared, the picture is
    taken as stored, as pycocotools does, and a note on stderr says so.

    :param sizes_hw: declared height and width, by the file or mask that declares it.
    :return: (H, W, 3) uint8 RGB.
    :raises DatasetError: when a declared size fits neither.
    :raises ImageError: when the picture cannot be read.
    """
    picture = read_picture_file(path)
    stored, upright = picture.image_rgb, picture.upright()
    fits_stored = all(size == stored.shape[:2] for size in sizes_hw.values())
    fits_upright = all(size == upright.shape[:2] for size in sizes_hw.values())
    if fits_stored:
        if picture.orientation != UPRIGHT and fits_upright:
            tqdm.write(
                f"note: {path} asks to be turned (Exif), and no declared size tells whether it "
                "was annotated turned; it is taken as stored",
                file=sys.stderr,
            )
        return stored
    if fits_upright:
        return upright
    source, (height, width) = next(
        (source, size) for source, size in sizes_hw.items() if size != stored.shape[:2]
    )
    raise DatasetError(
        f"{path} has {stored.shape[1]} x {stored.shape[0]} pixels, but {source} is for {width} x "
        f"{height}: replace it by the picture that was annotated"
    )


def read_text(path: Path) -> str:
    """Read a text file.

    :raises DatasetError: when it is not UTF-8.
    :raises ImageError: when it cannot be read.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not text in UTF-8: {error.reason}") from error


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Read (H, W) palette indices or grey values; colours would not say which class.

    :raises DatasetError: when the file is no picture, or has other values.
    :raises ImageError: when it cannot be read.
    """
    data = read_bytes(path, MAX_BYTES)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DatasetError(f"{path} claims {picture.width} x {picture.height} pixels")
            picture.load()
            values = np.asarray(picture)
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} is not a picture, or damaged: {error}") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise DatasetError(
            f"{path} has {values.shape} values of type {values.dtype}, but needs one index of 8 "
            "bits for each pixel"
        )
    return values
