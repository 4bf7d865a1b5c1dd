"""What the tests over real ROS share: a node that spins, listeners, and processes."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

import pytest
import rclpy
from filelock import FileLock, Timeout
from rcl_interfaces.srv import GetParameterTypes
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher

from clip_surgery_ros.ros.wheels import profiles_variable, ros_prefixes

NODE = ("-m", "clip_surgery_ros.node.main", "--ros-args")
"""The node's program; what follows are ROS arguments."""
CAMERA = ("-m", "clip_surgery_ros.demo.camera")
MIDDLEWARE_LOG = re.compile(r"(?<![A-Z])RTPS_")
"""A log category of Fast DDS, whose lines name one; not a variable such as FASTRTPS_..."""
START_S = 120.0
"""Until a node is up: importing torch and loading networks on a busy machine."""
ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "config" / "fastdds.xml"
PROFILES = profiles_variable(ros_prefixes())
TO_BE_KILLED = {PROFILES: None, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
"""Environment of a process that a test kills: without shared memory.

A killed process leaves its shared-memory port behind, and Fast DDS 2.14 may go on delivering into
it what is meant for the next process of that port, in a later test.
"""
DEADLINE_S = 30.0
"""How long a test waits for something that is on its way; a healthy run takes a fraction. On a
machine that does other work it is as many times more as that is slower: see :func:`in_time`."""


T = TypeVar("T")
_DOMAINS = itertools.cycle(range(1, 102))
"""Those above share ports with what the system hands out."""
_MET: WeakSet[Client] = WeakSet()
"""Clients whose server is known to know them."""


@contextmanager
def ros_domain() -> Iterator[Context]:
    """A context in a ROS domain that nobody else on this machine is in, as are the processes
    started meanwhile.

    Neither a robot on the network, nor another run, nor what an earlier test left behind is part
    of a test: Fast DDS goes on delivering into the shared memory of a process that has ended, and
    the graph counts services of nodes that just went.
    """
    before = os.environ["ROS_DOMAIN_ID"]
    domain, lock = claim_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    context = Context()
    rclpy.init(context=context)
    try:
        yield context
    finally:
        rclpy.shutdown(context=context)
        os.environ["ROS_DOMAIN_ID"] = before
        lock.release()


def claim_domain() -> tuple[int, FileLock]:
    """A ROS domain that no other run is in, and the lock that keeps it so."""
    folder = Path(tempfile.gettempdir()) / "clip_surgery_ros_test_domains"
    folder.mkdir(exist_ok=True)
    for domain in itertools.islice(_DOMAINS, 101):
        lock = FileLock(folder / f"{domain}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return domain, lock
    raise AssertionError("all ROS domains are taken by other runs")


@pytest.fixture
def ros_context() -> Iterator[Context]:
    """A context of the test's own."""
    with ros_domain() as context:
        yield context


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


def slowdown() -> float:
    """How many times as long work takes as on this machine when it does nothing else: programs
    that want a core, for each that there is, of the last minute.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def in_time(wait: Callable[[float], T], deadline_s: float) -> T:
    """The outcome of a wait, which is true when what it waited for came.

    Where it does not come on a machine that does other work, it is waited for as much longer as
    the machine is slower. One that does nothing else is given the deadline alone.

    :param wait: waits at most so many seconds; may be called again.
    """
    return wait(deadline_s) or wait(deadline_s * (slowdown() - 1))


def wait_until(true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for what gives no event of its own, by asking in turns."""
    pause = threading.Event()

    def wait(longest_s: float) -> bool:
        end_s = time.monotonic() + longest_s
        while not true():
            if time.monotonic() > end_s:
                return False
            pause.wait(0.01)
        return True

    if not in_time(wait, deadline_s):
        raise AssertionError(f"not so within {deadline_s} s")


def wait_for_reader(publisher: Publisher) -> None:
    """Wait until somebody reads the topic; what is published before reaches nobody."""
    wait_until(lambda: publisher.get_subscription_count() > 0)


def call(
    node: Node, kind: type, name: str, request: object, deadline_s: float = DEADLINE_S
) -> object:
    """Call a service from the test's own thread and wait for the answer."""
    client = client_of(node, kind, name)
    assert in_time(client.wait_for_service, deadline_s), f"{name} is not there"
    if client not in _MET:
        _meet(node, client.service_name.rpartition("/")[0], deadline_s)
        _MET.add(client)
    answer = _answer(client, request, deadline_s)
    assert answer is not None, f"{name} did not answer"
    return answer


def _meet(node: Node, server: str, deadline_s: float) -> None:
    """Wait until a node knows all clients made so far, by asking it something harmless.

    A server gives its answer up after 0.1 s when it has not discovered who asked; on a busy
    machine that happens. It discovers the clients of a process in the order they were made.
    """
    client = node.create_client(GetParameterTypes, f"{server}/get_parameter_types")

    def wait(longest_s: float) -> bool:
        end_s = time.monotonic() + longest_s
        while _answer(client, GetParameterTypes.Request(), slowdown()) is None:
            if time.monotonic() > end_s:
                return False
        return True

    assert in_time(wait, deadline_s), f"{server} does not answer"
    node.destroy_client(client)


def _answer(client: Client, request: object, deadline_s: float) -> object | None:
    """The answer, or None when none has come by then."""
    answered = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    if in_time(answered.wait, deadline_s):
        return future.result()
    client.remove_pending_request(future)
    return None


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
            if not in_time(partial(self._arrived.wait_for, found), deadline_s):
                topic = self._subscription.topic_name
                raise AssertionError(
                    f"{topic}: nothing as expected within {deadline_s} s "
                    f"among {len(self.messages)} messages"
                )
            return found()[0]

    def wait_count(self, count: int, deadline_s: float = DEADLINE_S) -> list:
        """Wait for this many messages; returns those that came, even if fewer."""
        with self._arrived:
            enough = partial(self._arrived.wait_for, lambda: len(self.messages) >= count)
            in_time(enough, deadline_s)
            return list(self.messages)


class Process:
    """A Python program of this project in its own process, with its output kept line by line.

    Fast DDS logs to the same output, for example when two processes that start at the same time
    race for a port in shared memory. These lines are kept apart.

    :param environment: added to the test's own; None takes a variable away.
    """

    def __init__(self, *arguments: str, environment: dict[str, str | None] | None = None) -> None:
        changed = {PROFILES: str(PROFILE), **(environment or {})}
        whole = {**os.environ, **changed}
        self.lines: list[str] = []
        self.middleware_lines: list[str] = []
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
                kept = self.middleware_lines if MIDDLEWARE_LOG.search(line) else self.lines
                kept.append(line.rstrip("\n"))
                self._printed.notify_all()
        with self._printed:
            self._closed = True
            self._printed.notify_all()

    def wait_for_line(self, part: str, deadline_s: float = DEADLINE_S) -> str:
        """The first line that contains this text."""

        def found() -> list[str]:
            return [line for line in self.lines if part in line][:1]

        with self._printed:
            in_time(partial(self._printed.wait_for, lambda: found() or self._closed), deadline_s)
            if not found():
                raise AssertionError(f"'{part}' was not printed; output:\n" + self.text())
            return found()[0]

    @property
    def folder(self) -> Path:
        """What Linux tells of the process."""
        return Path(f"/proc/{self._process.pid}")

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time that it took so far."""
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_mib(self) -> float:
        """Resident memory of the process now."""
        return self._memory_mib("VmRSS")

    @property
    def held_mib(self) -> float:
        """The same without mapped files (libraries, weights), which come as they are read."""
        return self._memory_mib("RssAnon") + self._memory_mib("RssShmem")

    def _memory_mib(self, name: str) -> float:
        status = (self.folder / "status").read_text()
        return int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) / 1024

    def say(self, line: str) -> None:
        """Write a line to the program's standard input."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def text(self) -> str:
        """What the program printed so far, without the lines of the middleware."""
        return "\n".join(self.lines)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Exit status, once it has ended and all output was read."""

        def ended(longest_s: float) -> bool:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(longest_s)
            return not self.alive

        assert in_time(ended, deadline_s), f"did not end within {deadline_s} s:\n{self.text()}"
        self._reader.join(deadline_s)
        return int(self._process.returncode)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def _end(self) -> None:
        """Ask it to end; a killed one leaves shared memory behind that others may wait for."""
        self._process.terminate()
        try:
            self._process.wait(10.0 * slowdown())
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
        # pytest shows it where the test fails
        print("\n".join([*self.middleware_lines, self.text()]))
