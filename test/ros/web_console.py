"""The web console as a process, and viewers as browsers would be."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from ros.harness import DEADLINE_S, Process, slowdown

WEB = ("-m", "clip_surgery_ros.web.main", "--port", "0")


@contextmanager
def web_console(*arguments: str) -> Iterator[tuple[Process, str]]:
    """Run a console; give its process, and its address without a path."""
    with Process(*WEB, *arguments) as process:
        line = process.wait_for_line("open http")
        yield process, re.search(r"http://[^/ ]+", line)[0]


class BrowserSide:
    """One WebSocket, as the page uses it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        """Send a message as JSON."""
        await self.socket.send_str(json.dumps(message))

    async def watch(self, *channels: str) -> None:
        """Look at channels of the camera without a name."""
        await self.send(type="watch", wishes=[["", channel] for channel in channels])

    async def next(
        self, kind: str, accept: Callable[[dict], bool] = lambda _: True
    ) -> tuple[dict[str, Any], bytes]:
        """Return the next accepted message of a type, and its picture."""
        async with asyncio.timeout(DEADLINE_S * slowdown()):
            while True:
                content, picture = parts_of(await self.socket.receive())
                if content["type"] == kind and accept(content):
                    return content, picture

    async def closed(self) -> int:
        """Wait until the server closes; return the code."""
        async with asyncio.timeout(DEADLINE_S * slowdown()):
            while (message := await self.socket.receive()).type not in (
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.ERROR,
            ):
                pass
        return message.data if isinstance(message.data, int) else int(self.socket.close_code or 0)


def parts_of(message: aiohttp.WSMessage) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of a message of the console, and its picture."""
    if message.type is aiohttp.WSMsgType.TEXT:
        return json.loads(message.data), b""
    assert message.type is aiohttp.WSMsgType.BINARY, message
    length = int.from_bytes(message.data[:4], "little")
    return json.loads(message.data[4 : 4 + length]), message.data[4 + length :]


@asynccontextmanager
async def viewer(address: str, token: str = "", **options: Any) -> AsyncIterator[BrowserSide]:
    """Connect as the page does, and say hello."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{address}/socket", origin=address, **options) as socket,
    ):
        side = BrowserSide(socket)
        await side.send(type="hello", token=token)
        yield side
