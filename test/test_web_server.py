"""The web console as a process beside a node: on demand, many viewers, hostile clients."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from urllib.parse import urlsplit

import aiohttp
import cv2
import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from ros.harness import CAMERA, DEADLINE_S, Inbox, Process, wait_until
from ros.rig import Rig, wait_readers
from ros.web_console import BrowserSide, viewer, web_console
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header, String

from clip_surgery_ros.ros import qos
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.web.console import ConsoleNode, RosThread
from clip_surgery_ros.web.guard import SECURITY_HEADERS
from clip_surgery_ros.web.requests import LARGEST_MESSAGE
from clip_surgery_ros.web.server import MOST_VIEWERS, WRONG_TOKEN

LARGE = np.random.default_rng(3).integers(0, 255, (480, 640, 3), np.uint8)
"""Noise: a JPEG of it is large."""
MOST_MIB = 60
"""That the console may grow by while it serves twenty viewers."""


@pytest.fixture(scope="module")
def console() -> Iterator[str]:
    """The address of a console, which looks for a node in the domain of each test."""
    with web_console() as (process, address):
        yield address
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        assert "Traceback" not in process.text()


@pytest.fixture
def watched(active: Rig) -> Iterator[tuple[Rig, Process, str]]:
    """An active node with a query, and a console in its domain."""
    active.ask("mug; saw")
    with web_console() as (process, address):
        yield active, process, address
        assert process.alive and "Traceback" not in process.text()


async def seen(side: BrowserSide, rig: Rig) -> tuple[dict, bytes]:
    """Show images until one of them comes back with its result."""

    async def show() -> None:
        while True:
            rig.show("camera", image_message(LARGE, "rgb8", Header()))
            await asyncio.sleep(0.1)

    showing = asyncio.create_task(show())
    try:
        return await side.next("frame", lambda frame: frame["query"] is not None)
    finally:
        showing.cancel()


def outputs(rig: Rig) -> set[str]:
    return {output.name for output in rig.node.cameras[0].subscribed_outputs()}


def test_a_result_comes_with_the_picture_that_it_is_about(watched) -> None:
    rig, _, address = watched

    async def run() -> None:
        async with viewer(address) as side:
            state, _ = await side.next("state", lambda state: state["is_there"] and state["query"])
            assert state["query"]["labels"] == ["mug", "saw"]
            assert [camera["name"] for camera in state["cameras"]] == [""]
            await side.watch("frame")
            frame, picture = await seen(side, rig)
            assert frame["frame_id"] == "camera" and (frame["width"], frame["height"]) == (
                640,
                480,
            )
            assert [segment["label"] for segment in frame["segments"]] == ["mug"]
            assert frame["absent"][0]["label"] == "saw" and 0 <= frame["age"] < 30
            shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
            grey = cv2.cvtColor(LARGE, cv2.COLOR_RGB2GRAY)
            assert np.corrcoef(shown.ravel(), grey.ravel())[0, 1] > 0.9
            state, _ = await side.next("state", lambda state: state["parameters"])
            assert state["parameters"]["presence_threshold"] == pytest.approx(0.5, abs=0.5)

    asyncio.run(run())


def test_only_what_a_viewer_looks_at_is_read(watched) -> None:
    rig, _, address = watched
    assert outputs(rig) == set(), "without a viewer the node computes nothing"

    async def run() -> None:
        async with viewer(address) as one, viewer(address) as other:
            await one.next("state", lambda state: state["is_there"])
            assert outputs(rig) == set(), "nothing is looked at yet"
            await one.watch("frame")
            await asyncio.to_thread(wait_readers, rig, "segments")
            assert outputs(rig) == {"segments"}
            await other.watch("heatmaps")
            await asyncio.to_thread(wait_readers, rig, "segments", "heatmaps")
            await one.watch()
            await asyncio.to_thread(wait_until, lambda: outputs(rig) == {"heatmaps"})
            await one.watch("frame")
            await asyncio.to_thread(wait_readers, rig, "segments")
            images = rig.images.get_subscription_count()
            assert images == 2, "the node and the console"

    asyncio.run(run())
    wait_until(lambda: outputs(rig) == set())
    wait_until(lambda: rig.images.get_subscription_count() == 1)
    topic = "/diagnostics"
    wait_until(lambda: rig.outside.count_subscribers(topic) == 0)


def test_a_query_with_thresholds_reaches_the_node_and_refusals_come_back(watched) -> None:
    rig, _, address = watched

    async def run() -> None:
        async with viewer(address) as side:
            await side.next("state", lambda state: state["is_there"])
            thresholds = {"bowl": 0.25, "unused": 0.5}
            await side.send(type="ask", number=7, text="red mug; bowl", thresholds=thresholds)
            answer, _ = await side.next("answer")
            assert answer["is_accepted"] and answer["number"] == 7, answer
            query = rig.echo.wait(lambda query: query.sequence == answer["sequence"])
            assert list(query.labels) == ["red mug", "bowl"]
            assert np.isnan(query.thresholds[0]) and query.thresholds[1] == 0.25
            await side.send(type="ask", number=8, text="mug. saw")
            answer, _ = await side.next("answer")
            assert not answer["is_accepted"] and "one name or several" in answer["message"]
            state, _ = await side.next("state", lambda state: state["query"])
            assert state["query"]["labels"] == ["red mug", "bowl"], "the refused did not count"

    asyncio.run(run())


def test_without_a_result_the_live_picture_is_shown(watched) -> None:
    rig, _, address = watched
    rig.ask("")
    jpegs = rig.outside.create_publisher(CompressedImage, "image_raw/compressed", 10)
    jpeg = cv2.imencode(".jpg", LARGE[..., ::-1])[1].tobytes()

    async def run() -> None:
        async with viewer(address) as side:
            await side.next("state", lambda state: state["is_there"])
            await side.watch("frame")
            await asyncio.to_thread(wait_until, lambda: jpegs.get_subscription_count() == 1)
            message = CompressedImage(format="jpeg", data=jpeg)
            while True:
                jpegs.publish(message)
                try:
                    async with asyncio.timeout(0.2):
                        frame, picture = await side.next("frame")
                        break
                except TimeoutError:
                    continue
            assert frame["query"] is None and picture == jpeg, "passed on as the camera sent it"
            assert rig.images.get_subscription_count() == 1, "not read twice"

    asyncio.run(run())


def test_what_viewers_want_is_done_in_their_order(ros_context: Context) -> None:
    """rclpy runs tasks that wait together in reverse order: the oldest wishes would stay."""
    thread = RosThread(ConsoleNode("clip_surgery", lambda *_: None, context=ros_context), print)
    busy, done = threading.Event(), []
    thread.call(busy.wait)
    for number in range(20):
        thread.call(partial(done.append, number))
    busy.set()
    wait_until(lambda: len(done) == 20)
    thread.stop()
    assert done == list(range(20))


def test_slow_viewers_delay_neither_the_node_nor_the_others(watched) -> None:
    """Twenty viewers, ten of which read nothing: the others see the newest frames."""
    rig, process, address = watched
    sides: list[BrowserSide] = []
    counts = [0] * 10

    async def count(index: int) -> None:
        while True:
            frame, _ = await sides[index].next("frame")
            counts[index] += frame["query"] is not None

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                sides.append(await stack.enter_async_context(viewer(address, max_msg_size=0)))
                await sides[-1].watch("frame")
            await sides[-1].next("state", lambda state: state["viewers"] == 20)
            counting = [asyncio.create_task(count(index)) for index in range(10)]
            await asyncio.to_thread(wait_readers, rig, "segments")
            before_mib = process.resident_mib
            answered = rig.node.cameras[0].tally.counts["answered"]
            end_s = time.monotonic() + 2
            while time.monotonic() < end_s or min(counts) < 5:
                rig.show("camera", image_message(LARGE, "rgb8", Header()))
                await asyncio.sleep(0.05)
                assert time.monotonic() < end_s + DEADLINE_S, counts
            assert rig.node.cameras[0].tally.counts["answered"] - answered >= 5
            # Queues of the ten that read nothing would hold 0.3 MB for each and every frame.
            assert process.resident_mib - before_mib < MOST_MIB
            for task in counting:
                task.cancel()

    asyncio.run(run())


def test_a_node_that_comes_back_is_watched_again(ros_node, rigs) -> None:
    first = Rig(ros_node)

    async def run(address: str) -> None:
        async with viewer(address) as side:
            await side.watch("frame")
            first.activate()
            first.ask("mug; saw")
            await side.next("state", lambda state: state["is_there"])
            await seen(side, first)
            first.close()
            await side.next("state", lambda state: not state["is_there"])
            again = rigs()
            again.activate()
            again.ask("saw; mug")
            await side.next("state", lambda state: state["is_there"])
            frame, _ = await seen(side, again)
            assert frame["query"]["labels"] == ["saw", "mug"]

    with web_console() as (_, address):
        asyncio.run(run(address))


def test_the_demo_s_camera_is_moved_and_objects_are_taken_away(ros_node: Node) -> None:
    inbox = Inbox(ros_node, String, "/truth", qos.latched())

    def waited(view: int, gone: set[str]) -> bool:
        def shows(message: String) -> bool:
            truth = json.loads(message.data)
            there = {f"{one['colour']} {one['name']}".strip() for one in truth["objects"]}
            return truth["view"] == view and not gone & there and "red mug" in there

        return inbox.wait(shows, after=len(inbox.messages)) is not None

    async def run(address: str) -> None:
        async with viewer(address) as side:
            state, _ = await side.next("state", lambda state: state["table"])
            table = state["table"]
            assert (table["view"], table["views"], table["without"]) == (-1, 3, [])
            assert {"red mug", "blue mug", "hammer"} <= set(table["objects"])
            await side.send(type="arrange", view=2, without=["blue mug", "hammer"])
            state, _ = await side.next("state", lambda state: state["table"]["view"] == 2)
            assert state["table"]["without"] == ["blue mug", "hammer"]
            assert await asyncio.to_thread(waited, 2, {"blue mug", "hammer"})
            await side.send(type="arrange", view=9, without=[])
            await side.send(type="arrange", view=2, without=["elephant"])
            await side.send(type="arrange", view=1, without=["hammer"])
            await side.next("state", lambda state: state["table"]["view"] == 1)
            assert await asyncio.to_thread(waited, 1, {"hammer"})

    size = ("--size", "64x48", "--views", "3", "--rate", "5")
    console = web_console("--demo-camera", "demo_camera")
    with Process(*CAMERA, *size), console as (_, address):
        asyncio.run(run(address))


def get(address: str, **options: object) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a request; ``method`` and ``headers`` are options."""

    async def run() -> tuple[int, dict[str, str], bytes]:
        method = str(options.pop("method", "GET"))
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, address, **options) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.read()

    return asyncio.run(run())


def test_every_answer_has_the_security_headers_and_no_cors(console: str) -> None:
    for path, status in (("/", 200), ("/app.js", 200), ("/none", 404), ("/socket", 403)):
        found, headers, _ = get(console + path, headers={"Origin": "http://evil.example"})
        assert found == status, path
        assert SECURITY_HEADERS.items() <= headers.items(), path
        assert not [name for name in headers if name.startswith("Access-Control")]
    assert get(console, method="OPTIONS")[0] == get(console, method="POST")[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/../guard.py", "/..%2fguard.py", "/%2e%2e/guard.py", "//etc/passwd", "/vendor",
     "/vendor/../../guard.py", "/app.js/", "/app.js%00", "/etc/passwd", "/vendor/README.md"],
)  # fmt: skip
def test_only_the_page_s_files_are_served(console: str, path: str) -> None:
    where = urlsplit(console)
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        request = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n"
        raw.sendall(request.encode())
        answer = raw.makefile("rb").read()
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer[:200]


def test_other_hosts_and_origins_are_refused(console: str) -> None:
    for host in ("evil.example", "localhost.evil.example:8350", ""):
        assert get(console, headers={"Host": host})[0] in (400, 403)
    assert get(console, headers={"Host": "localhost:1234"})[0] == 200, "through ssh -L 1234:..."

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            for origin in (None, "null", "http://evil.example", "http://localhost:1"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(f"{console}/socket", origin=origin)
                assert refused.value.status == 403

    asyncio.run(run())


@pytest.mark.parametrize(
    "message",
    ["", "{", "null", '{"type": "watch", "wishes": [["", "/rosout"]]}', b"\0" * 10, "[" * 9000,
     "x" * (LARGEST_MESSAGE + 1), '{"type": "ask", "number": 1, "text": "\\ud800"}'],
    ids=range(8),
)  # fmt: skip
def test_a_hostile_message_closes_its_own_connection_only(console: str, message) -> None:
    async def run() -> None:
        async with viewer(console) as other, viewer(console) as hostile:
            await hostile.next("welcome")
            if isinstance(message, bytes):
                await hostile.socket.send_bytes(message)
            else:
                await hostile.socket.send_str(message)
            assert await hostile.closed() in (1002, 1008, 1009)
            await other.send(type="ask", number=1, text="mug")
            answer, _ = await other.next("answer")
            assert "there is no node" in answer["message"]

    asyncio.run(run())


def test_a_flood_of_messages_and_of_connections_ends(console: str) -> None:
    async def run() -> None:
        async with viewer(console) as flood:
            for number in range(500):
                if flood.socket.closed:
                    break
                await flood.send(type="ask", number=number, text="mug")
            assert await flood.closed() == 1008
        async with AsyncExitStack() as stack:
            for _ in range(MOST_VIEWERS):
                side = await stack.enter_async_context(viewer(console))
                await side.next("welcome")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await stack.enter_async_context(viewer(console))
            assert refused.value.status == 503
        async with viewer(console) as later:
            await later.next("welcome")

    asyncio.run(run())


def test_a_token_is_needed_and_nothing_is_told_without_it(tmp_path, ros_context) -> None:
    secret = "a-secret-of-the-test"
    (tmp_path / "token").write_text(secret)

    async def run(address: str) -> None:
        for wrong in ("", "a-secret-of-the-tesT", secret[:-1]):
            async with viewer(address, wrong) as side:
                message = await side.socket.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE and message.data == WRONG_TOKEN
        async with viewer(address, secret) as side:
            welcome, _ = await side.next("welcome")
            assert welcome["read_only"]
            await side.send(type="ask", number=1, text="mug")
            answer, _ = await side.next("answer")
            assert not answer["is_accepted"] and "read-only" in answer["message"]

    options = ("--token-file", str(tmp_path / "token"), "--read-only", "--host", "0.0.0.0")
    with web_console(*options) as (process, address):
        assert f"#token={secret}" in process.text()
        asyncio.run(run(f"http://127.0.0.1:{urlsplit(address).port}"))


def test_an_address_that_is_taken_is_one_sentence(console: str) -> None:
    port = str(urlsplit(console).port)
    with Process("-m", "clip_surgery_ros.web.main", "--port", port) as second:
        assert second.wait() == 2
        assert second.text().count("\n") == 0 and f"port {port}" in second.text()
