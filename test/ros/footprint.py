"""Memory, threads and open files of a process."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ros.harness import Process


@dataclass(frozen=True)
class Footprint:
    """Memory, threads and files at one moment."""

    held_mib: float
    threads: int
    files: int


class WatchedProcess(Process):
    """A process that can report its footprint."""

    def footprint(self) -> Footprint:
        """Return the current footprint."""
        return Footprint(
            self.held_mib,
            threads=len(list((self.folder / "task").iterdir())),
            files=len(list((self.folder / "fd").iterdir())),
        )

    @property
    def peak_mib(self) -> float:
        """The maximum of resident memory since the start."""
        return int(re.search(r"VmHWM:\s*(\d+)", (self.folder / "status").read_text())[1]) / 1024
