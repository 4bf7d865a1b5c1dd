"""Pictures that somebody annotated, and what can be wrong with their annotations."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.pictures.decode import UPRIGHT
from clip_surgery_ros.pictures.files import read_bytes, read_picture_file


class DatasetError(ClipSurgeryError):
    """A data set is not laid out as it should be."""


def annotated_picture(path: Path, sizes_hw: Mapping[str, tuple[int, int]]) -> NDArray[np.uint8]:
    """A picture as it was annotated: as stored, or turned as its Exif data ask.

    Of programs that people annotate with, some show a photograph turned and some as stored. The
    size that the annotations declare tells which; where both have it, or none is declared, the
    picture is taken as stored, as pycocotools has it, and a note says so.

    :param sizes_hw: declared height and width, by what declares it.
    :return: (H, W, 3) uint8 RGB.
    :raises DatasetError: when a declared size is neither.
    :raises ImageError: when the picture cannot be read.
    """
    picture = read_picture_file(path)
    stored, turned = picture.image_rgb, picture.upright()
    if all(size == stored.shape[:2] for size in sizes_hw.values()):
        if picture.orientation != UPRIGHT and all(
            s == turned.shape[:2] for s in sizes_hw.values()
        ):
            _note(
                f"{path} asks to be turned (Exif), and no size tells whether it was annotated so"
            )
        return stored
    if all(size == turned.shape[:2] for size in sizes_hw.values()):
        return turned
    who, (height, width) = next(
        (who, size) for who, size in sizes_hw.items() if size != stored.shape[:2]
    )
    raise DatasetError(
        f"{path} is {stored.shape[1]} x {stored.shape[0]} pixels, but {who} is of {width} x "
        f"{height}: put the picture that was annotated there"
    )


def text_of(path: Path) -> str:
    """A file's text.

    :raises DatasetError: when it is not UTF-8.
    :raises ImageError: when it cannot be read.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not text in UTF-8: {error.reason}") from error


def _note(text: str) -> None:
    """Say something beside a progress bar."""
    tqdm.write(f"note: {text}; it is taken as stored", file=sys.stderr)
