"""The web server: files, and one WebSocket for each viewer. On one asyncio loop; no ROS here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from clip_surgery_ros.web.content import as_json
from clip_surgery_ros.web.files import INDEX, page_files
from clip_surgery_ros.web.guard import (
    SECURITY_HEADERS,
    is_own_host,
    is_own_origin,
    is_token,
    own_names,
)
from clip_surgery_ros.web.hub import ANSWER, Hub, Viewer
from clip_surgery_ros.web.options import WebOptions
from clip_surgery_ros.web.requests import (
    LARGEST_MESSAGE,
    Arrange,
    Ask,
    Hello,
    RequestError,
    Watch,
    parse_request,
)

SOCKET = "/socket"
MOST_VIEWERS = 40
"""Twice as many as are measured; each costs a connection and what it is sent."""
HELLO_S = 5.0
"""A browser says hello at once; who does not is disconnected after so many seconds."""
WRONG_TOKEN_S = 1.0
"""Wait before a wrong token is refused, seconds."""
HEARTBEAT_S = 15.0
"""Period of pings; a viewer that does not answer one within half of it is disconnected."""
MESSAGES_A_SECOND, BURST = 20.0, 60.0
"""What a viewer may send; a person types and points far less."""
WRONG_TOKEN = 4401
"""Code of the closing of a WebSocket, which the page explains."""

OnAsk = Callable[[Ask, Callable[[bool, str, int], None]], None]
"""Hands a query to the node, and its answer to a function that any thread may call."""


class Server:
    """Handlers of requests.

    :param options: token, names and rights.
    :param hub: all viewers.
    :param ask: hands a query to the node.
    :param arrange: arranges the demo's table.
    """

    def __init__(
        self, options: WebOptions, hub: Hub, ask: OnAsk, arrange: Callable[[Arrange], None]
    ) -> None:
        self._options, self._hub, self._ask, self._arrange = options, hub, ask, arrange
        self._names = own_names(options.allowed_hosts)
        self._files = page_files()
        self._sockets = 0

    def application(self) -> web.Application:
        """Return the application that aiohttp runs."""
        made = web.Application(middlewares=[self._check_host])
        made.on_response_prepare.append(_add_headers)
        made.router.add_get("/", self._file)
        made.router.add_get(SOCKET, self._socket)
        made.router.add_get("/{path:.+}", self._file)
        return made

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not is_own_host(request.headers.get("Host", ""), self._names):
            raise web.HTTPForbidden(
                text="This is no name of the machine; start clip_surgery_web with --allow-host."
            )
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _file(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info.get("path", INDEX))
        if file is None:
            raise web.HTTPNotFound(text="There is no such file.")
        return web.Response(body=file.data, content_type=file.content_type, charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not is_own_origin(request.headers.get("Origin"), request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="Only the console's own page may connect.")
        if self._sockets >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text="Too many viewers are connected.")
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=LARGEST_MESSAGE, compress=False
        )
        self._sockets += 1
        try:
            await socket.prepare(request)
            if await self._is_greeted(socket):
                await self._serve(socket)
        finally:
            self._sockets -= 1
        return socket

    async def _is_greeted(self, socket: web.WebSocketResponse) -> bool:
        """Whether the first message has the token; else the WebSocket is closed."""
        try:
            request = parse_request(await socket.receive_str(timeout=HELLO_S))
        except (TimeoutError, TypeError, RequestError):
            await _close(socket, WSCloseCode.POLICY_VIOLATION, "no hello")
            return False
        if isinstance(request, Hello) and is_token(request.token, self._options.token):
            return True
        await asyncio.sleep(WRONG_TOKEN_S)
        await _close(socket, WRONG_TOKEN, "the token is wrong")
        return False

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        """Send and receive until the viewer leaves."""
        viewer = self._hub.join()
        await socket.send_str(as_json({"type": "welcome", "read_only": self._options.read_only}))
        sending = asyncio.create_task(_send(socket, viewer))
        rate = Allowance(MESSAGES_A_SECOND, BURST)
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    raise RequestError("a message is no text")
                if not rate.take():
                    raise RequestError("too many messages")
                self._act(viewer, message.data)
        except RequestError as error:
            await _close(socket, WSCloseCode.POLICY_VIOLATION, str(error))
        finally:
            self._hub.leave(viewer)
            sending.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sending

    def _act(self, viewer: Viewer, text: str) -> None:
        """Do what a viewer wants.

        :raises RequestError: it wants nothing that there is.
        """
        request = parse_request(text)
        if isinstance(request, Watch):
            self._hub.look(viewer, request.wishes)
        elif isinstance(request, Arrange) and not self._options.read_only:
            self._arrange(request)
        elif isinstance(request, Ask) and self._options.read_only:
            _answer(viewer, request.number, False, "this console is read-only", 0)
        elif isinstance(request, Ask):
            loop, asked = asyncio.get_running_loop(), request.number

            def on_answer(is_accepted: bool, sentence: str, sequence: int) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(
                        _answer, viewer, asked, is_accepted, sentence, sequence
                    )

            self._ask(request, on_answer)


class Allowance:
    """How many messages may still come (token bucket).

    :param rate: per second.
    :param burst: at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._last_s = burst, time.monotonic()

    def take(self) -> bool:
        """Whether one more message may come now."""
        now_s = time.monotonic()
        self._left = min(self._burst, self._left + self._rate * (now_s - self._last_s))
        self._last_s = now_s
        self._left -= 1
        return self._left >= 0


def _answer(viewer: Viewer, asked: int, is_accepted: bool, sentence: str, sequence: int) -> None:
    content = {
        "type": "answer",
        "number": asked,
        "is_accepted": is_accepted,
        "message": sentence,
        "sequence": sequence,
    }
    viewer.offer((str(asked), ANSWER), as_json(content))


async def _send(socket: web.WebSocketResponse, viewer: Viewer) -> None:
    """Send what waits for a viewer; each message waits until the network took the one before."""
    with suppress(ConnectionError):
        while True:
            payload = await viewer.next()
            if isinstance(payload, bytes):
                await socket.send_bytes(payload)
            else:
                await socket.send_str(payload)


async def _close(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    await socket.close(code=code, message=reason.encode()[:120])


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
