"""The demo in a browser: camera, node and web console, until Ctrl-C."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import String

from clip_surgery_ros.demo.programs import DEADLINE_S, DemoError, process, wait
from clip_surgery_ros.demo.show import QUERY, SPACE
from clip_surgery_ros.ros import qos

RATE_HZ, HOLD_S = 5, 1.5
"""Each view of the circle stays long enough for a result on two cores."""
ADDRESS = "open http"
"""In the line of the console that names its address."""


def serve(
    scene: int | None, image: Path | None, query: str | None, output: Path, port: int | None
) -> None:
    """Start camera, node and console, ask, print the address, and wait until one of them ends.

    :param scene: number of a scene to render; None: the table of the recorded orbit.
    :param image: show this picture instead.
    :param query: what to ask for at first; the page changes it.
    :param output: folder for logs.
    :param port: of the console; None: its default.
    :raises DemoError: a process ended, or nothing came.
    """
    output.mkdir(parents=True, exist_ok=True)
    camera = ["--rate", str(RATE_HZ), "--hold", str(HOLD_S)]
    camera += ["--image", str(image)] if image is not None else []
    camera += ["--scene", str(scene)] if scene is not None else []
    space = () if image is not None else SPACE
    console = [] if image is not None else ["--demo-camera", "demo_camera"]
    console += [] if port is None else ["--port", str(port)]
    with (
        process("camera", output, "clip_surgery_ros.demo.camera", *camera) as camera_process,
        process("node", output, "clip_surgery_ros.node.main", *space) as node_process,
        process("web", output, "clip_surgery_ros.web.main", *console) as web_process,
    ):
        running = {"camera": camera_process, "node": node_process, "web": web_process}
        print("starting camera, node and web console ...", flush=True)
        address = _address(output / "web.log", web_process)
        _ask(QUERY if query is None else query, [*running.values()])
        print(f"{address}\nCtrl-C ends the demo", flush=True)
        _wait_for_an_end(running, output)


def _address(log: Path, console: subprocess.Popen[bytes]) -> str:
    """Return the line of the console that names its address.

    :raises DemoError: it ended, or does not name one.
    """
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        lines = log.read_text(errors="replace").splitlines()
        if found := next((line for line in lines if ADDRESS in line), ""):
            return found
        if console.poll() is not None:
            raise DemoError(f"the web console ended: {lines[-1] if lines else 'see its log'}")
        time.sleep(0.1)
    raise DemoError(f"the web console does not start; see {log}")


def _ask(query: str, running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Set the first query.

    :raises DemoError: a process ended, or the node does not come.
    """
    rclpy.init()
    node = Node("demo_asker")
    try:
        publisher = node.create_publisher(String, "query", qos.query())
        until = partial(wait, node, running=running)
        until(lambda: publisher.get_subscription_count() or None, "starting")
        publisher.publish(String(data=query))
        publisher.wait_for_all_acked(Duration(seconds=5))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _wait_for_an_end(running: Mapping[str, subprocess.Popen[bytes]], output: Path) -> None:
    """Return at Ctrl-C.

    :raises DemoError: a process ended.
    """
    try:
        while all(one.poll() is None for one in running.values()):
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    name, ended = next((n, one) for n, one in running.items() if one.poll() is not None)
    raise DemoError(f"{name} ended with status {ended.returncode}; see {output / f'{name}.log'}")
