"""Images from a camera on one machine to a node on another: how many arrive, and how late.

Two network namespaces of Linux, connected by a virtual cable (veth), stand for the machines: they
share no memory and no loopback interface, and messages travel as real UDP. This needs root and
iproute2:
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
"""The names of the two machines."""
ADDRESSES = {CAMERA: "10.213.77.1/24", ROBOT: "10.213.77.2/24"}
"""Private addresses that hardly any network uses; no message leaves the namespaces."""
DOMAIN = "77"
DEFAULT, SHIPPED = "Fast DDS's default", "as shipped"
SMALL_BUFFER = "as shipped, without the UDP buffer"
"""Profiles of Fast DDS: its default, ours without the larger UDP buffer, and ours."""
UNLIMITED = ""
LIMIT_S = 3 * image_link.DISCOVERY_S
"""The longest run of one case."""
HEAD = (
    "| link | images | profile | arrived | camera's rate | longest publish | age |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


class NoNamespaces(ClipSurgeryError):
    """Raised where network namespaces cannot be made."""


@dataclass(frozen=True)
class Case:
    """A link, the images that are sent over it, and the profile of Fast DDS.

    :param link: its rate as tc takes it, such as ``20mbit``; empty for no limit.
    :param kind: images are ``raw`` or ``jpeg``.
    :param count: the number of images.
    """

    link: str
    kind: str
    rate_hz: float
    count: int
    profile: str


CASES = (
    *(Case(UNLIMITED, "raw", 10, 60, profile) for profile in (DEFAULT, SMALL_BUFFER, SHIPPED)),
    *(Case(UNLIMITED, "raw", 30, 90, profile) for profile in (DEFAULT, SMALL_BUFFER, SHIPPED)),
    *(Case("1gbit", "raw", 30, 90, profile) for profile in (DEFAULT, SMALL_BUFFER, SHIPPED)),
    *(Case("20mbit", "raw", 10, 60, profile) for profile in (DEFAULT, SMALL_BUFFER, SHIPPED)),
    *(Case("20mbit", "jpeg", 10, 60, profile) for profile in (DEFAULT, SHIPPED)),
)


@dataclass(frozen=True)
class Outcome:
    """The measurements of a case.

    :param sent: number of images sent.
    :param arrived: number of images received.
    :param lost: number of images that the receiver's middleware reported as lost.
    :param rate_hz: the rate that the camera reached.
    :param longest_s: longest call of ``publish``.
    :param age_s: median time from stamp to arrival; NaN if none arrived.
    """

    sent: int
    arrived: int
    lost: int
    rate_hz: float
    longest_s: float
    age_s: float


@contextmanager
def two_machines(rate: str = UNLIMITED) -> Iterator[dict[str, str]]:
    """Make two connected namespaces, and delete them at the end.

    :param rate: of the cable, as tc takes it; empty for no limit.
    :return: the namespaces' names, by machine.
    :raises NoNamespaces: with the reason, when they cannot be made.
    """
    if shutil.which("ip") is None or shutil.which("tc") is None:
        raise NoNamespaces("the commands ip and tc are missing: apt install iproute2")
    spaces = {machine: f"{machine}_{os.getpid()}" for machine in ADDRESSES}
    made = []
    try:
        for space in spaces.values():
            _ip("netns", "add", space)
            made.append(space)
        _connect(spaces, rate)
        yield spaces
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def _connect(spaces: dict[str, str], rate: str) -> None:
    camera, robot = spaces[CAMERA], spaces[ROBOT]
    _ip("link", "add", "veth0", "netns", camera, "type", "veth", "peer", "veth0", "netns", robot)
    for machine, space in spaces.items():
        _ip("-n", space, "address", "add", ADDRESSES[machine], "dev", "veth0")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "link", "set", "veth0", "up")
        _ip("-n", space, "route", "add", "default", "dev", "veth0")  # discovery uses multicast
        if rate:
            # The sending machine's queue holds a tenth of a second; the rest is dropped.
            shape = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "100ms")
            _command("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "veth0", *shape)


def _ip(*arguments: str) -> None:
    _command("ip", *arguments)


def _command(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise NoNamespaces(f"'{' '.join(command)}' is not allowed or not possible here: {reason}")


def measure(case: Case, spaces: dict[str, str]) -> Outcome:
    """Send the images of a case from the camera's namespace to the robot's, and count them."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(case.profile, Path(folder))
        receiver = _start(spaces[ROBOT], environment, "receive", case.kind, str(case.count))
        sender = _start(
            spaces[CAMERA], environment, "send", case.kind, str(case.rate_hz), str(case.count)
        )
        try:
            received = json.loads(receiver.communicate(timeout=LIMIT_S)[0])
            sent = json.loads(sender.communicate(timeout=LIMIT_S)[0])
        finally:
            for process in (receiver, sender):
                process.kill()
                process.wait()
    return Outcome(
        sent=sent["sent"],
        arrived=received["arrived"],
        lost=received["lost"],
        rate_hz=sent["rate"],
        longest_s=sent["longest"],
        age_s=received["age"],
    )


def _environment(profile: str, folder: Path) -> dict[str, str]:
    """Return the environment variables of a machine with this profile of Fast DDS."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in TRANSPORT_CHOICES},
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    }
    if profile == DEFAULT:
        # The default, named, because without the variable the package would use its own profile.
        return {**environment, "FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
    text = shipped_profile().read_text()
    if profile == SMALL_BUFFER:
        text = re.sub(r"<receiveBufferSize>\d+</receiveBufferSize>", "", text)
    path = folder / "profile.xml"
    path.write_text(text)
    return {**environment, profiles_variable(ros_prefixes()): str(path)}


def shipped_profile() -> Path:
    """Return the Fast DDS profile that this package installs."""
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("clip_surgery_ros")) / "config" / "fastdds.xml"


def _start(space: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    # Each machine has its own shared memory.
    own_memory = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
    program = [sys.executable, "-m", image_link.__name__, *arguments]
    return subprocess.Popen(
        ["ip", "netns", "exec", space, "sh", "-c", own_memory, "sh", *program],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def table_row(case: Case, outcome: Outcome) -> str:
    """Return a row in Markdown, to follow :data:`HEAD`."""
    link = case.link or "no limit"
    age = f"{1000 * outcome.age_s:.0f} ms" if outcome.arrived else "none arrived"
    return (
        f"| {link} | {case.kind}, {case.rate_hz:g} Hz | {case.profile} "
        f"| {outcome.arrived} of {outcome.sent} | {outcome.rate_hz:.1f} Hz "
        f"| {1000 * outcome.longest_s:.0f} ms | {age} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table row by row, or the reason why nothing can be measured here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--link", help="measure only the cases of this link, such as 20mbit")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each case (default: 1)")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if options.link in (None, case.link)]
    try:
        print(headline(), HEAD, sep="\n\n", flush=True)
        for case in cases * options.rounds:
            with two_machines(case.link) as spaces:
                print(table_row(case, measure(case, spaces)), flush=True)
    except NoNamespaces as reason:
        print(f"two machines: skipped: {reason}")
    return 0


def headline() -> str:
    """Return one line that says what the measurements depend on."""
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
