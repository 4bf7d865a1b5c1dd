"""How the node's process ends: when told by a signal, at once, and with everything written."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from queue import SimpleQueue
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""From the keyboard and from ``ros2 launch``, which kills what is still there 10 s later."""


def end_at_once_when_told() -> None:
    """Let a signal end the process, as long as there is nothing to put in order."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def hear_signals() -> SimpleQueue[None]:
    """A queue that gets an item for every signal from now on. The main thread must call this."""
    heard: SimpleQueue[None] = SimpleQueue()  # a signal may come in the middle of its methods
    for number in SIGNALS:
        signal.signal(number, lambda *_: heard.put(None))
    return heard


def end_process(status: int) -> NoReturn:
    """Write what is left to be written and end, with this exit status.

    The interpreter's own way takes torch and all else apart first, for 2 s of processor time, and
    waits for threads that compute.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(status)
