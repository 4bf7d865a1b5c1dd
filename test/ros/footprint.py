"""What a process holds: memory, threads and open files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ros.harness import Process


@dataclass(frozen=True)
class Footprint:
    """Held at one moment."""

    held_mib: float
    threads: int
    files: int


class Watched(Process):
    """A process of which one may ask what it holds."""

    def footprint(self) -> Footprint:
        """What it holds now."""
        return Footprint(
            self.held_mib,
            threads=len(list((self.folder / "task").iterdir())),
            files=len(list((self.folder / "fd").iterdir())),
        )

    @property
    def peak_mib(self) -> float:
        """The most that was ever resident."""
        return int(re.search(r"VmHWM:\s*(\d+)", (self.folder / "status").read_text())[1]) / 1024
