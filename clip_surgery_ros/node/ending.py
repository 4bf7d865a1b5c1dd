"""How the node's process ends: quickly after a signal, with all output written."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from queue import SimpleQueue
from types import TracebackType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Sent by Ctrl-C and by ``ros2 launch``, which kills a process that still runs 10 s later."""


def end_on_signal() -> None:
    """Let a signal end the process at once; for the time before there is anything to clean up."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def queue_signals() -> SimpleQueue[None]:
    """Return a queue that gets an item for every signal from now on. For the main thread only."""
    # Of all queues, only SimpleQueue may be used in a signal handler that interrupts its methods.
    signals: SimpleQueue[None] = SimpleQueue()
    for number in SIGNALS:
        signal.signal(number, lambda *_: signals.put(None))
    return signals


def end_quickly_on_error() -> None:
    """Let an error that nobody handles end the process as :func:`end_process` does."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        sys.__excepthook__(kind, error, trace)
        end_process(1)

    sys.excepthook = report


def end_process(status: int) -> NoReturn:
    """Run the exit handlers, flush the output and end the process with this exit status.

    The interpreter's own exit would first unload torch and everything else, which takes 2 s of
    processor time, and would wait for threads that compute.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(status)
