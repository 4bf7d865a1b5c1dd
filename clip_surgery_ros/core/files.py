"""Files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

UNFINISHED = ".unfinished_"
"""Beginning of the names of temporary folders, which a process that is killed leaves."""


def remove_unfinished(folder: Path) -> None:
    """Remove temporary folders that a process left when it was killed; no other may write."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)


@contextlib.contextmanager
def write_together(folder: Path) -> Iterator[Path]:
    """Give a temporary folder, whose files move into ``folder`` when all of them are written.

    ``folder`` is created if it is missing. After an error, it and its files are as before.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the folder, because renaming is atomic only within one file system.
        with TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished:
            yield Path(unfinished)
            for file in sorted(Path(unfinished).iterdir()):
                os.replace(file, folder / file.name)
    except BaseException:
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def write_whole(path: Path, data: bytes, writer: str = "") -> None:
    """Write a file under a temporary name and rename it, so that a file of its name is complete.

    A process that is killed leaves a file that ends in ``.unfinished``; the next write of the
    same path by the same writer replaces it.

    :param path: in a folder that exists.
    :param writer: tells those apart that may write the same path at the same time.
    :raises OSError: with the file's name, when it cannot be written, as on a full disk.
    """
    unfinished = path.with_name(f"{path.name}{writer}.unfinished")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)  # it is there after an error alone
