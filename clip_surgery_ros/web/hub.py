"""What each viewer still gets: the newest of everything, and nothing that is older.

A viewer on a slow network skips messages. It delays neither the node nor other viewers, and takes
no more memory than one message of each kind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]
"""(camera, channel) of messages of which only the newest counts."""
Payload: TypeAlias = bytes | str
"""A WebSocket message, as it is sent: binary or text."""
STATE: Key = ("", "state")
"""State of the node, which every viewer gets."""
ANSWER = "answer"
MOST_ANSWERS = 32
"""Answers that wait for a viewer; one that asks on without reading loses the oldest."""


class Viewer:
    """Messages that wait for one browser, on the event loop's thread."""

    def __init__(self) -> None:
        self.wishes: frozenset[Key] = frozenset()
        """What it looks at."""
        self._waiting: dict[Key, Payload] = {}
        self._has_some = asyncio.Event()

    def offer(self, key: Key, payload: Payload) -> None:
        """Let a message wait, in place of an older one of the same key."""
        self._waiting[key] = payload
        answers = [waiting for waiting in self._waiting if waiting[1] == ANSWER]
        for oldest in answers[:-MOST_ANSWERS]:
            del self._waiting[oldest]
        self._has_some.set()

    def forget(self) -> None:
        """Drop what waits and is not wished any more."""
        for key in [key for key in self._waiting if key[1] not in (ANSWER, STATE[1])]:
            if key not in self.wishes:
                del self._waiting[key]

    async def next(self) -> Payload:
        """Return the message that waits longest; wait for one if there is none."""
        while not self._waiting:
            self._has_some.clear()
            await self._has_some.wait()
        return self._waiting.pop(next(iter(self._waiting)))

    @property
    def waiting(self) -> int:
        """Number of messages that wait."""
        return len(self._waiting)


class Hub:
    """All viewers, on the event loop's thread.

    :param on_change: called with everything that somebody looks at, and the number of viewers,
        whenever either changes.
    """

    def __init__(self, on_change: Callable[[frozenset[Key], int], None]) -> None:
        self._on_change = on_change
        self._viewers: set[Viewer] = set()
        self._newest: dict[Key, Payload] = {}

    @property
    def count(self) -> int:
        """Number of viewers."""
        return len(self._viewers)

    def join(self) -> Viewer:
        """Return a new viewer, which looks at nothing yet."""
        viewer = Viewer()
        self._viewers.add(viewer)
        if STATE in self._newest:
            viewer.offer(STATE, self._newest[STATE])
        self._tell()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)
        self._tell()

    def look(self, viewer: Viewer, wishes: frozenset[Key]) -> None:
        """Set what a viewer looks at. What others see already, it sees at once."""
        new = wishes - viewer.wishes
        viewer.wishes = wishes
        viewer.forget()
        for key in new & self._newest.keys():
            viewer.offer(key, self._newest[key])
        self._tell()

    def deliver(self, key: Key, payload: Payload) -> None:
        """Offer a message to all who look at it."""
        if key == STATE or key in self._wished():
            self._newest[key] = payload
        for viewer in self._viewers:
            if key == STATE or key in viewer.wishes:
                viewer.offer(key, payload)

    def _wished(self) -> frozenset[Key]:
        return frozenset().union(*(viewer.wishes for viewer in self._viewers))

    def _tell(self) -> None:
        wished = self._wished()
        kept = {*wished, STATE} if self._viewers else set()
        self._newest = {key: value for key, value in self._newest.items() if key in kept}
        self._on_change(wished, len(self._viewers))


class Mailbox:
    """Hands messages from another thread to an event loop; of each key only the newest waits.

    :param loop: on which ``deliver`` is called.
    :param deliver: takes key and message.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deliver: Callable[[Key, Payload], None]
    ) -> None:
        self._loop, self._deliver = loop, deliver
        self._letters: dict[Key, Payload] = {}
        self._lock = threading.Lock()

    def put(self, key: Key, payload: Payload) -> None:
        """Hand over a message, from any thread; without effect once the loop is closed."""
        with self._lock:
            is_first = not self._letters
            self._letters[key] = payload
        if is_first and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        with self._lock:
            letters, self._letters = self._letters, {}
        for key, payload in letters.items():
            self._deliver(key, payload)
