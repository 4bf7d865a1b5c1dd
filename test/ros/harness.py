"""Shared by the tests over real ROS: domains, a spinning node, inboxes and processes."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import resource
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
from rclpy.subscription import Subscription

from clip_surgery_ros.ros.wheels import profiles_variable, ros_prefixes

NODE = ("-m", "clip_surgery_ros.node.main", "--ros-args")
"""The node's program; ROS arguments follow."""
CAMERA = ("-m", "clip_surgery_ros.demo.camera")
MIDDLEWARE_LOG = re.compile(r"(?<![A-Z])RTPS_")
"""A log category of Fast DDS, whose lines name one; not a variable such as FASTRTPS_..."""
START_S = 120.0
"""Limit for the start of a node: import of torch and loading of networks on a busy machine."""
ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "config" / "fastdds.xml"
PROFILES_VARIABLE = profiles_variable(ros_prefixes())
WITHOUT_SHARED_MEMORY = {PROFILES_VARIABLE: None, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
"""Environment without shared memory, for a process that a test kills.

A killed process leaves its shared-memory port, and Fast DDS 2.14 may deliver messages for the next
process with that port, in a later test, to it.
"""
DEADLINE_S = 30.0
"""Limit for a wait; a good run takes a fraction. On a busy machine the limit grows with the load:
see :func:`wait_in_time`."""


T = TypeVar("T")
_DOMAINS = itertools.cycle(range(1, 102))
"""Higher domains use ports that the system assigns to other programs."""
SHARED_MEMORY = Path("/dev/shm")
"""Where Fast DDS keeps the files of its shared memory."""
_DISCOVERED: WeakSet[Client] = WeakSet()
"""Clients that their server has discovered."""


@contextmanager
def ros_domain() -> Iterator[Context]:
    """Give a context in a ROS domain that no other test uses; child processes use it too.

    A robot on the network, another test run or an earlier test would interfere: Fast DDS delivers
    to the shared memory of ended processes, and the graph counts services of ended nodes.
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


def claim_domain(domains: Iterator[int] = _DOMAINS) -> tuple[int, FileLock]:
    """Return a ROS domain that no other run uses, without left-over ports, and its lock."""
    folder = Path(tempfile.gettempdir()) / "clip_surgery_ros_test_domains"
    folder.mkdir(exist_ok=True)
    for domain in itertools.islice(domains, 101):
        lock = FileLock(folder / f"{domain}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            _remove_left_over_ports(domain)
            return domain, lock
    raise AssertionError("all ROS domains are taken by other runs")


def port_in_shared_memory(domain: int, index: int) -> Path:
    """Return the file of a domain's port; a domain has 250 of them."""
    return SHARED_MEMORY / f"fastrtps_port{7400 + 250 * domain + index}"


def _remove_left_over_ports(domain: int) -> None:
    """Remove the ports that killed processes left in a domain.

    Fast DDS counts a port's users in the port. Killed users stay counted, so the next process with
    that port, even if it is the last, does not remove it at its end.
    """
    for index in range(250):
        port = port_in_shared_memory(domain, index)
        locks = [port.with_name(f"{port.name}_{kind}") for kind in ("el", "sl")]
        if not any(map(_is_locked, locks)):
            for file in (port, *locks, port.with_name(f"sem.{port.name}_mutex")):
                with suppress(PermissionError):  # of another user
                    file.unlink(missing_ok=True)


def _is_locked(file: Path) -> bool:
    """Return whether a process holds the lock of this file, as a port's reader does."""
    with suppress(FileNotFoundError), file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.fixture
def ros_context() -> Iterator[Context]:
    """A ROS context in a domain of its own."""
    with ros_domain() as context:
        yield context


@pytest.fixture
def ros_node(ros_context: Context) -> Iterator[Node]:
    """A node that a separate thread spins."""
    node = Node("test_listener", context=ros_context)
    with spinning(node, SingleThreadedExecutor(context=ros_context)):
        yield node
    node.destroy_node()


@contextmanager
def spinning(node: Node, executor: Executor) -> Iterator[None]:
    """Spin a node on a separate thread."""
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


def slowdown() -> float:
    """Return how much slower this machine is than when idle: the load per core, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_in_time(wait: Callable[[float], T], deadline_s: float) -> T:
    """Wait for an event; on a busy machine wait longer, by :func:`slowdown`.

    :param wait: waits at most so many seconds; may be called twice.
    :returns: the result of ``wait``, which is true if the event came.
    """
    return wait(deadline_s) or wait(deadline_s * (slowdown() - 1))


def wait_until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Poll a condition until it is true."""
    pause = threading.Event()

    def wait(longest_s: float) -> bool:
        end_s = time.monotonic() + longest_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            pause.wait(0.01)
        return True

    if not wait_in_time(wait, deadline_s):
        raise AssertionError(f"the condition was not true within {deadline_s} s")


def wait_for_reader(publisher: Publisher) -> None:
    """Wait until a subscriber of the topic exists; earlier messages would be lost."""
    wait_until(lambda: publisher.get_subscription_count() > 0)


def destroy(node: Node, entity: Publisher | Subscription | Client) -> None:
    """Destroy a publisher, a subscription or a client on the thread that spins its node.

    On another thread the executor may be adding the entity's events to its wait set; rclpy then
    raises InvalidHandle, which ends that thread.
    """
    kinds = {
        Publisher: node.destroy_publisher,
        Subscription: node.destroy_subscription,
        Client: node.destroy_client,
    }
    remove = next(method for kind, method in kinds.items() if isinstance(entity, kind))
    if node.executor is None:
        remove(entity)
        return
    removed = threading.Event()

    def run() -> None:
        remove(entity)
        removed.set()

    node.executor.create_task(run)
    assert wait_in_time(removed.wait, DEADLINE_S), "the node's executor does not spin"


def call(
    node: Node, kind: type, name: str, request: object, deadline_s: float = DEADLINE_S
) -> object:
    """Call a service from the test's thread and wait for the answer."""
    client = client_of(node, kind, name)
    assert wait_in_time(client.wait_for_service, deadline_s), f"{name} is not there"
    if client not in _DISCOVERED:
        _wait_for_discovery(node, client.service_name.rpartition("/")[0], deadline_s)
        _DISCOVERED.add(client)
    answer = _answer(client, request, deadline_s)
    assert answer is not None, f"{name} did not answer"
    return answer


def _wait_for_discovery(node: Node, server: str, deadline_s: float) -> None:
    """Call a harmless service until the node has discovered all clients made so far.

    A server drops its answer after 0.1 s if it has not discovered the client, which happens on a
    busy machine. It discovers the clients of a process in the order of their creation.
    """
    client = node.create_client(GetParameterTypes, f"{server}/get_parameter_types")

    def wait(longest_s: float) -> bool:
        end_s = time.monotonic() + longest_s
        while _answer(client, GetParameterTypes.Request(), slowdown()) is None:
            if time.monotonic() > end_s:
                return False
        return True

    assert wait_in_time(wait, deadline_s), f"{server} does not answer"
    destroy(node, client)


def _answer(client: Client, request: object, deadline_s: float) -> object | None:
    """Return the answer, or None after the deadline."""
    answered = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    if wait_in_time(answered.wait, deadline_s):
        return future.result()
    client.remove_pending_request(future)
    return None


def client_of(node: Node, kind: type, name: str) -> Client:
    """Return the node's only client of a service: a server must discover a new client first."""
    resolved = node.resolve_service_name(name)
    for client in node.clients:
        if client.service_name == resolved:
            return client
    return node.create_client(kind, name)


class Inbox:
    """Collects the messages of a topic and waits for expected ones."""

    def __init__(self, node: Node, kind: type, topic: str, qos: object = 10) -> None:
        self.messages: list = []
        self._arrived = threading.Condition()
        self._node = node
        self._subscription = node.create_subscription(kind, topic, self._keep, qos)

    def close(self) -> None:
        """Stop reading; what arrived stays."""
        self._node.destroy_subscription(self._subscription)

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
        """Wait for the first accepted message from index ``after`` on; return it."""

        def found() -> list:
            return [message for message in self.messages[after:] if accept(message)][:1]

        with self._arrived:
            if not wait_in_time(partial(self._arrived.wait_for, found), deadline_s):
                topic = self._subscription.topic_name
                raise AssertionError(
                    f"{topic}: no expected message within {deadline_s} s "
                    f"among {len(self.messages)} messages"
                )
            return found()[0]

    def wait_count(self, count: int, deadline_s: float = DEADLINE_S) -> list:
        """Wait for this many messages; return those that arrived, even if fewer."""
        with self._arrived:
            enough = partial(self._arrived.wait_for, lambda: len(self.messages) >= count)
            wait_in_time(enough, deadline_s)
            return list(self.messages)


def children_s() -> float:
    """Return the processor time of all ended child processes, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Process:
    """A Python program of this project in a separate process, with its output by line.

    Fast DDS logs to the same output, for example when two processes that start at the same time
    race for a port in shared memory. These lines are kept apart.

    :param environment: added to the test's environment; None removes a variable.
    """

    def __init__(self, *arguments: str, environment: dict[str, str | None] | None = None) -> None:
        changed = {PROFILES_VARIABLE: str(PROFILE), **(environment or {})}
        whole = {**os.environ, **changed}
        self.lines: list[str] = []
        self.middleware_lines: list[str] = []
        self._printed = threading.Condition()
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            # Not the checkout: Python would import the sources, not the installed package.
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
        """Wait for the first line that contains this text; return it."""

        def found() -> list[str]:
            return [line for line in self.lines if part in line][:1]

        with self._printed:
            wait_in_time(
                partial(self._printed.wait_for, lambda: found() or self._closed), deadline_s
            )
            if not found():
                raise AssertionError(f"'{part}' was not printed; output:\n" + self.text())
            return found()[0]

    @property
    def folder(self) -> Path:
        """The process's folder in /proc."""
        return Path(f"/proc/{self._process.pid}")

    @property
    def cpu_s(self) -> float:
        """Processor time until now, in seconds."""
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_mib(self) -> float:
        """Current resident memory."""
        return self._memory_mib("VmRSS")

    @property
    def held_mib(self) -> float:
        """Current resident memory without mapped files, such as libraries and weights."""
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
        """Wait until the process has ended and its output was read; return the exit status."""

        def ended(longest_s: float) -> bool:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(longest_s)
            return not self.alive

        assert wait_in_time(ended, deadline_s), (
            f"did not end within {deadline_s} s:\n{self.text()}"
        )
        self._reader.join(deadline_s)
        return int(self._process.returncode)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def _end(self) -> None:
        """Terminate the process; kill it only at last, because that leaves shared memory."""
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
        # pytest shows it for failed tests
        print("\n".join([*self.middleware_lines, self.text()]))
