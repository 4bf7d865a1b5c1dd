"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory


@contextlib.contextmanager
def write_together(folder: Path) -> Iterator[Path]:
    """A folder to write files into, which move into ``folder`` when all of them are written.

    ``folder`` is made where it is missing. When something goes wrong, it and its files are as they
    were before.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the files' places: only within a file system is renaming all or nothing.
        with TemporaryDirectory(prefix=".unfinished_", dir=folder) as unfinished:
            yield Path(unfinished)
            for file in sorted(Path(unfinished).iterdir()):
                os.replace(file, folder / file.name)
    except BaseException:
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()
        raise
