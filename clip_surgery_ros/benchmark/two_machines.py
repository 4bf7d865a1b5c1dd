"""Images from a camera on one machine to a node on another: how many arrive, and how late.

Two network namespaces of Linux, joined by a cable of its own (veth), stand for the machines: they
share no memory and no loopback, and what passes is real UDP. It takes root, and iproute2:
``sudo env PATH="$PATH" python -m clip_surgery_ros.benchmark.two_machines``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clip_surgery_ros.benchmark import image_link
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.ros.transport import LIMIT
from clip_surgery_ros.ros.wheels import TRANSPORT_CHOICES, profiles_variable, ros_prefixes

CAMERA, ROBOT = "camera", "robot"
"""The two machines."""
ADDRESSES = {CAMERA: "10.213.77.1/24", ROBOT: "10.213.77.2/24"}
"""Private, and of no network that is likely to be there; nothing leaves the namespaces."""
DOMAIN = "77"
OWN, BEFORE, SHIPPED = "Fast DDS's own", "without its UDP buffer", "as shipped"
"""Profiles."""
UNLIMITED = ""
LIMIT_S = 3 * image_link.DISCOVERY_S
"""Longest run of one case."""
HEAD = (
    "| link | images | profile | arrived | camera's rate | longest publish | age |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


class NoNamespaces(ClipSurgeryError):
    """Namespaces cannot be made here."""


@dataclass(frozen=True)
class Case:
    """What is sent over what.

    :param link: its rate as tc has it, such as ``20mbit``; empty for as fast as it goes.
    :param kind: ``raw`` or ``jpeg``.
    """

    link: str
    kind: str
    rate_hz: float
    count: int
    profile: str


CASES = (
    *(Case(UNLIMITED, "raw", 10, 60, profile) for profile in (OWN, BEFORE, SHIPPED)),
    *(Case(UNLIMITED, "raw", 30, 90, profile) for profile in (OWN, BEFORE, SHIPPED)),
    *(Case("1gbit", "raw", 30, 90, profile) for profile in (OWN, BEFORE, SHIPPED)),
    *(Case("20mbit", "raw", 10, 60, profile) for profile in (OWN, BEFORE, SHIPPED)),
    *(Case("20mbit", "jpeg", 10, 60, profile) for profile in (OWN, SHIPPED)),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a case's images.

    :param rate_hz: at which the camera could send.
    :param longest_s: longest call of ``publish``.
    :param lost: how many the receiver's middleware told to be lost.
    :param age_s: median from stamp to arrival; NaN where none arrived.
    """

    sent: int
    arrived: int
    lost: int
    rate_hz: float
    longest_s: float
    age_s: float


@contextmanager
def two_machines(rate: str = UNLIMITED) -> Iterator[dict[str, str]]:
    """Two namespaces joined by a cable, as long as it takes.

    :param rate: of the cable, as tc has it; empty for as fast as it goes.
    :return: names of the namespaces by machine.
    :raises NoNamespaces: when they cannot be made, with the reason.
    """
    if shutil.which("ip") is None or shutil.which("tc") is None:
        raise NoNamespaces("the commands ip and tc are missing: apt install iproute2")
    spaces = {machine: f"{machine}_{os.getpid()}" for machine in ADDRESSES}
    made = []
    try:
        for space in spaces.values():
            _ip("netns", "add", space)
            made.append(space)
        _join(spaces, rate)
        yield spaces
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def _join(spaces: dict[str, str], rate: str) -> None:
    one, other = spaces.values()
    _ip("link", "add", "veth0", "netns", one, "type", "veth", "peer", "veth0", "netns", other)
    for machine, space in spaces.items():
        _ip("-n", space, "address", "add", ADDRESSES[machine], "dev", "veth0")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "link", "set", "veth0", "up")
        _ip("-n", space, "route", "add", "default", "dev", "veth0")  # for multicast: discovery
        if rate:
            # A tenth of a second waits in the sending machine's queue, the rest is dropped.
            shape = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "100ms")
            _command("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "veth0", *shape)


def _ip(*arguments: str) -> None:
    _command("ip", *arguments)


def _command(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise NoNamespaces(f"'{' '.join(command)}' is not allowed or not possible here: {said}")


def measure(case: Case, spaces: dict[str, str]) -> Outcome:
    """Send a case's images from one namespace to the other."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(case.profile, Path(folder))
        receiver = _start(spaces[ROBOT], environment, "receive", case.kind, str(case.count))
        sender = _start(
            spaces[CAMERA], environment, "send", case.kind, str(case.rate_hz), str(case.count)
        )
        try:
            heard = json.loads(receiver.communicate(timeout=LIMIT_S)[0])
            sent = json.loads(sender.communicate(timeout=LIMIT_S)[0])
        finally:
            for process in (receiver, sender):
                process.kill()
                process.wait()
    return Outcome(
        sent=sent["sent"],
        arrived=heard["arrived"],
        lost=heard["lost"],
        rate_hz=sent["rate"],
        longest_s=sent["longest"],
        age_s=heard["age"],
    )


def _environment(profile: str, folder: Path) -> dict[str, str]:
    """A machine's environment with this profile of Fast DDS."""
    chosen = {
        **{name: value for name, value in os.environ.items() if name not in TRANSPORT_CHOICES},
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    }
    if profile == OWN:
        # The built-in choice, named so that nothing else is put in its place.
        return {**chosen, "FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
    text = shipped_profile().read_text()
    if profile == BEFORE:
        text = re.sub(r"<receiveBufferSize>\d+</receiveBufferSize>", "", text)
    path = folder / "profile.xml"
    path.write_text(text)
    return {**chosen, profiles_variable(ros_prefixes()): str(path)}


def shipped_profile() -> Path:
    """The Fast DDS profile that comes along."""
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("clip_surgery_ros")) / "config" / "fastdds.xml"


def _start(space: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    # Shared memory of its own, as a machine has.
    apart = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
    program = [sys.executable, "-m", image_link.__name__, *arguments]
    return subprocess.Popen(
        ["ip", "netns", "exec", space, "sh", "-c", apart, "sh", *program],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def table_row(case: Case, outcome: Outcome) -> str:
    """A row in Markdown, below :data:`HEAD`."""
    link = case.link or "as fast as it goes"
    age = f"{1000 * outcome.age_s:.0f} ms" if outcome.arrived else "none came"
    return (
        f"| {link} | {case.kind}, {case.rate_hz:g} Hz | {case.profile} "
        f"| {outcome.arrived} of {outcome.sent} | {outcome.rate_hz:.1f} Hz "
        f"| {1000 * outcome.longest_s:.0f} ms | {age} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, each row when it is known; say why, where there can be none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--link", help="measure cases of this link only, such as 20mbit")
    parser.add_argument("--rounds", type=int, default=1, help="how often each (default: 1)")
    options = parser.parse_args(arguments)
    chosen = [case for case in CASES if options.link in (None, case.link)]
    try:
        print(about(), HEAD, sep="\n\n", flush=True)
        for case in chosen * options.rounds:
            with two_machines(case.link) as spaces:
                print(table_row(case, measure(case, spaces)), flush=True)
    except NoNamespaces as reason:
        print(f"two machines: skipped: {reason}")
    return 0


def about() -> str:
    """What the figures depend on."""
    height, width = image_link.SIZE_HW
    sizes = ", ".join(
        f"{kind} {len(image_link.message(kind).data) / 1e6:.2g} MB" for kind in ("raw", "jpeg")
    )
    limit = LIMIT.read_text().strip()
    return (
        f"{width} x {height} ({sizes}), best effort; net.core.rmem_max {limit}; "
        f"{os.cpu_count()} cores"
    )


if __name__ == "__main__":
    sys.exit(main())
