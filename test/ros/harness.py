"""What the tests over real ROS share: a node that spins, listeners, and processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher

NODE = ("-m", "clip_surgery_ros.main", "--ros-args")
"""The node's program; what follows are ROS arguments."""
CAMERA = ("-m", "clip_surgery_ros.demo.camera")
START_S = 120.0
"""Until a node is up: importing torch and loading networks on a busy machine."""
ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "config" / "fastdds.xml"
TO_BE_KILLED = {"FASTRTPS_DEFAULT_PROFILES_FILE": None, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
"""Environment of a process that a test kills: without shared memory.

A killed process leaves its shared-memory port behind, and Fast DDS 2.14 may go on delivering into
it what is meant for the next process of that port, in a later test.
"""
DEADLINE_S = 30.0
"""How long a test waits for something that is on its way; a healthy run takes a fraction."""


@pytest.fixture(scope="session")
def ros_context() -> Iterator[Context]:
    """One context, so one participant of the middleware, for all tests of the process.

    Were each test to have its own, the next might count the services of one that just went, and
    then wait_for_service waits until it counts as many as it reached.
    """
    context = Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def ros_node(ros_context: Context) -> Iterator[Node]:
    """A node spun by a thread of its own."""
    node = Node("test_listener", context=ros_context)
    with spinning(node, SingleThreadedExecutor(context=ros_context)):
        yield node
    node.destroy_node()


@contextmanager
def spinning(node: Node, executor: Executor) -> Iterator[None]:
    """Spin a node on a thread of its own."""
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


def wait_until(true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for what gives no event of its own, by asking in turns."""
    pause = threading.Event()
    end_s = time.monotonic() + deadline_s
    while not true():
        if time.monotonic() > end_s:
            raise AssertionError(f"not so within {deadline_s} s")
        pause.wait(0.01)


def wait_for_reader(publisher: Publisher) -> None:
    """Wait until somebody reads the topic; what is published before reaches nobody."""
    wait_until(lambda: publisher.get_subscription_count() > 0)


def call(
    node: Node, kind: type, name: str, request: object, deadline_s: float = DEADLINE_S
) -> object:
    """Call a service from the test's own thread and wait for the answer."""
    client = client_of(node, kind, name)
    assert client.wait_for_service(deadline_s), f"{name} is not there"
    answered = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    assert answered.wait(deadline_s), f"{name} did not answer"
    return future.result()


def client_of(node: Node, kind: type, name: str) -> Client:
    """The node's client of a service, made once: a server may not know a new one's ear yet."""
    resolved = node.resolve_service_name(name)
    for client in node.clients:
        if client.service_name == resolved:
            return client
    return node.create_client(kind, name)


class Inbox:
    """Keeps what arrives on a topic and waits for what a test expects."""

    def __init__(self, node: Node, kind: type, topic: str, qos: object = 10) -> None:
        self.messages: list = []
        self._arrived = threading.Condition()
        self._subscription = node.create_subscription(kind, topic, self._keep, qos)

    def _keep(self, message: object) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    def wait(
        self,
        accept: Callable[[object], bool] = lambda _: True,
        *,
        after: int = 0,
        deadline_s: float = DEADLINE_S,
    ) -> object:
        """The first message from index ``after`` on that is accepted."""

        def found() -> list:
            return [message for message in self.messages[after:] if accept(message)][:1]

        with self._arrived:
            if not self._arrived.wait_for(found, deadline_s):
                topic = self._subscription.topic_name
                raise AssertionError(
                    f"{topic}: nothing as expected within {deadline_s} s "
                    f"among {len(self.messages)} messages"
                )
            return found()[0]

    def wait_count(self, count: int, deadline_s: float = DEADLINE_S) -> list:
        """Wait for this many messages; returns those that came, even if fewer."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.messages) >= count, deadline_s)
            return list(self.messages)


class Process:
    """A Python program of this project in its own process, with its output kept line by line.

    :param environment: added to the test's own; None takes a variable away.
    """

    def __init__(self, *arguments: str, environment: dict[str, str | None] | None = None) -> None:
        changed = {"FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE), **(environment or {})}
        whole = {**os.environ, **changed}
        self.lines: list[str] = []
        self._printed = threading.Condition()
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            # Not the checkout: its folder would stand in for the installed package.
            cwd=tempfile.gettempdir(),
            env={name: value for name, value in whole.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._printed:
                self.lines.append(line.rstrip("\n"))
                self._printed.notify_all()
        with self._printed:
            self._closed = True
            self._printed.notify_all()

    def wait_for_line(self, part: str, deadline_s: float = DEADLINE_S) -> str:
        """The first line that contains this text."""

        def found() -> list[str]:
            return [line for line in self.lines if part in line][:1]

        with self._printed:
            self._printed.wait_for(lambda: found() or self._closed, deadline_s)
            if not found():
                raise AssertionError(f"'{part}' was not printed; output:\n" + self.text())
            return found()[0]

    @property
    def resident_mib(self) -> float:
        """Resident memory of the process now."""
        return self._memory_mib("VmRSS")

    @property
    def held_mib(self) -> float:
        """The same without mapped files (libraries, weights), which come as they are read."""
        return self._memory_mib("RssAnon") + self._memory_mib("RssShmem")

    def _memory_mib(self, name: str) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) / 1024

    def say(self, line: str) -> None:
        """Write a line to the program's standard input."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def text(self) -> str:
        """All output so far."""
        return "\n".join(self.lines)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Exit status, once it has ended and all output was read."""
        status = self._process.wait(deadline_s)
        self._reader.join(deadline_s)
        return status

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def _end(self) -> None:
        """Ask it to end; a killed one leaves shared memory behind that others may wait for."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._process.stdin.close()
        self._reader.join()
        self._process.stdout.close()
        print(self.text())  # pytest shows it where the test fails
