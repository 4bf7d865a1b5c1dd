"""What runs on a node of a Ray cluster. Ray sends this module as it is.

So it also runs where this package is missing or of another version, and can say so: it imports
nothing but Python's own modules.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = "clip_surgery_ros"


class RayWorker:
    """Does items, one after the other, in a process of its own.

    :param folder: working folder of the process that labels, which relative paths begin at.
    :param variables: environment variables to have before anything is imported.
    """

    def __init__(self, folder: str, variables: Mapping[str, str]) -> None:
        os.environ.update(variables)
        if os.path.isdir(folder):
            os.chdir(folder)
        self._job: Any = None

    def place(self) -> str:
        """Return the name of this machine and the number of this process, for messages."""
        return f"{socket.gethostname()} (process {os.getpid()})"

    def problem(self, wanted: str, files: Mapping[str, int], mark: str) -> str:
        """Return why this machine cannot take part, in a sentence; empty if it can.

        :param wanted: version of this package.
        :param files: the bags' files, with their sizes in bytes.
        :param mark: a folder that was just made in the output folder.
        """
        found = _installed()
        if found != wanted:
            has = f"{PACKAGE} {found}" if found else f"no {PACKAGE}"
            return f"it has {has}, and {wanted} is wanted: install this version on all nodes"
        for name, size in files.items():
            if _size(name) != size:
                return (
                    f"it has no such file, or another one, at {Path(name).absolute()}: all nodes "
                    "need the bags at the same paths, as on storage that they share"
                )
        if not os.path.isdir(mark):
            return (
                f"it does not see what is written to {Path(mark).parent.absolute()}: name an "
                "--output on storage that all nodes share"
            )
        return ""

    def prepare(self, job: Any) -> None:
        """Take a job, and load what it needs."""
        self._job = job
        job.prepare()

    def do(self, item: Any) -> None:
        """Do an item of the job."""
        self._job.do(item)


def _installed() -> str:
    """Return this package's version here; empty where there is none."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def _size(name: str) -> int:
    """Return a file's size in bytes, -1 where there is none."""
    try:
        return os.stat(name).st_size
    except OSError:
        return -1
