"""The processes of the demo, and waiting for what they say."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import rclpy
from rclpy.node import Node

from clip_surgery_ros.core.errors import ClipSurgeryError

DEADLINE_S = 60.0
"""Longest wait for any one thing; a slow machine takes a fifth of it."""


class DemoError(ClipSurgeryError):
    """The demo cannot go on."""


@contextmanager
def process(name: str, output: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module in a process of its own, its output in ``NAME.log``; ended at the end."""
    with open(output / f"{name}.log", "wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(timeout=10)
            except subprocess.TimeoutExpired:
                running.kill()


Found = TypeVar("Found")


def wait(
    node: Node,
    ready: Callable[[], Found | None],
    what: str,
    running: Sequence[subprocess.Popen[bytes]],
) -> Found:
    """Spin until ``ready`` gives something.

    :raises DemoError: when a process ended or nothing came.
    """
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
        if found := ready():
            return found
        if any(one.poll() is not None for one in running):
            raise DemoError(f"{what}: a process of the demo ended; see its log")
    raise DemoError(f"{what}: nothing within {DEADLINE_S:.0f} s; see the logs")
