"""Output files and folders: checked before the work, written completely or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.files import write_together

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_output_file(path: Path, *inputs: Path) -> None:
    """Check before the work that an output file can be written.

    :param inputs: files that are read, which the output must not replace.
    :raises ConfigError: with the reason, when it cannot.
    """
    if path.is_dir():
        raise ConfigError(f"the output {path} is a folder; name the file in it")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"the output {path} exists and may not be overwritten")
    if any(path.exists() and file.exists() and path.samefile(file) for file in inputs):
        raise ConfigError(f"the output {path} is also the input; name another file")
    check_output_folder(path.parent)


def check_output_folder(folder: Path, *inputs: Path) -> None:
    """Check before the work that an output folder can be made and written.

    :param inputs: folders that are read, which the output must not change.
    :raises ConfigError: with the reason, when it cannot.
    """
    folders = (folder, *folder.absolute().parents)
    nearest = next(path for path in folders if path.exists() or path.is_symlink())
    if not nearest.is_dir():
        raise ConfigError(f"the output {folder} cannot be written: {nearest} is not a folder")
    if any(folder.exists() and path.exists() and folder.samefile(path) for path in inputs):
        raise ConfigError(f"the output {folder} is also the input; name another folder")
    try:
        TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise ConfigError(
            f"the output {folder} cannot be written: {nearest}: {error.strerror}; name another"
        ) from error


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, see :func:`write_together`. A new folder is reported."""
    with _folder_reported(folder), write_together(folder) as unfinished:
        yield unfinished


def write_picture(path: Path, image_rgb: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB as a picture file, see :func:`write_image`. A new folder is
    reported.
    """
    from clip_surgery_ros.pictures.files import write_image

    with _folder_reported(path.parent):
        write_image(path, image_rgb)


@contextmanager
def _folder_reported(folder: Path) -> Iterator[None]:
    new = not folder.exists()
    yield
    if new:
        print(f"made the folder {folder}", file=sys.stderr)
