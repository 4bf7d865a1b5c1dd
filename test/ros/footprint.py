"""What a process holds: resident memory, threads and open files, from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ros.harness import Process


@dataclass(frozen=True)
class Footprint:
    """Held at one moment.

    :param resident_mib: resident memory in MiB.
    :param peak_mib: the most that was ever resident, in MiB.
    """

    resident_mib: float
    peak_mib: float
    threads: int
    files: int


class Watched(Process):
    """A process of which one may ask what it holds."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def footprint(self) -> Footprint:
        """What it holds now."""
        pairs = (
            line.split(":", 1)
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
        )
        status = {name: value.split()[0] for name, value in pairs if value.split()}
        return Footprint(
            resident_mib=int(status["VmRSS"]) / 1024,
            peak_mib=int(status["VmHWM"]) / 1024,
            threads=int(status["Threads"]),
            files=len(list(Path(f"/proc/{self.pid}/fd").iterdir())),
        )
