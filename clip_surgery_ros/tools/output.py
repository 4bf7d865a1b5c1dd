"""Where subcommands write: checked before the work, whole or not there after it."""

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
    """Refuse a file that cannot be written, so that no work is done in vain.

    :param inputs: files that are read, which it must not replace.
    :raises ConfigError: saying why.
    """
    if path.is_dir():
        raise ConfigError(f"the output {path} is a folder; name the file in it")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"the output {path} is there and may not be overwritten")
    if any(path.exists() and one.exists() and path.samefile(one) for one in inputs):
        raise ConfigError(f"the output {path} is what is read; name another file")
    check_output_folder(path.parent)


def check_output_folder(folder: Path, *inputs: Path) -> None:
    """Refuse a folder that is none, and one that cannot be made or written.

    :param inputs: folders that are read, which must stay as they are.
    :raises ConfigError: saying why.
    """
    places = (folder, *folder.absolute().parents)
    nearest = next(one for one in places if one.exists() or one.is_symlink())
    if not nearest.is_dir():
        raise ConfigError(f"the output {folder} cannot be written: {nearest} is no folder")
    if any(folder.exists() and one.exists() and folder.samefile(one) for one in inputs):
        raise ConfigError(f"the output {folder} is the folder that is read; name another")
    try:
        TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise ConfigError(
            f"the output {folder} cannot be written: {nearest}: {error.strerror}; name another"
        ) from error


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, see :func:`write_together`; that one was made is said."""
    with _folder_reported(folder), write_together(folder) as unfinished:
        yield unfinished


def write_picture(path: Path, image_rgb: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB as a picture file, see :func:`write_image`; a folder that had to
    be made is reported.
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
