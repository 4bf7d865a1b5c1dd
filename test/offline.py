"""Records attempts to connect to the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_recordings: list[list[str]] = []


def _record_connection(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        for attempts in _recordings:
            attempts.append(f"{event} {arguments[1:]}")


sys.addaudithook(_record_connection)  # an audit hook cannot be removed


@contextmanager
def connections() -> Iterator[list[str]]:
    """Record every connection that Python tries in this process inside the ``with`` block."""
    attempts: list[str] = []
    _recordings.append(attempts)
    try:
        yield attempts
    finally:
        _recordings.remove(attempts)
