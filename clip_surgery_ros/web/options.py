"""The command line of the web console."""

from __future__ import annotations

import argparse
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rclpy.exceptions import NameValidationException
from rclpy.validate_topic_name import validate_topic_name

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.arguments import Parser, nonempty_path, whole_number

HOST = "127.0.0.1"
"""By default nobody on the network reaches the console."""
PORT = 8350
"""Not the port of rosbridge (9090), Foxglove's bridge (8765) or common development servers."""
SHORTEST_TOKEN = 16
"""Letters of a token; shorter ones can be guessed over a network."""
TOKEN_BYTES = 24
"""Of a token that the console makes: 192 bits."""
_TOKEN = re.compile(r"[A-Za-z0-9_~.-]+")
"""What stands in an address without an escape."""
_LAST_PORT = 65535
ABOUT = """\
Serves a page with which a browser watches the node and asks it for things by words. It reads only
what somebody looks at, so that the node computes nothing for a page that nobody has open.

The page is for this machine alone. From another one, use ssh:

  ssh -L 8350:localhost:8350 robot     # then open http://localhost:8350

or --host 0.0.0.0, with which the console prints an address with a secret token. That connection
is not encrypted.
"""


@dataclass(frozen=True)
class WebOptions:
    """How the console is served.

    :param node: name of the node that is watched; a relative one is in the console's namespace.
    :param host: address to listen on.
    :param port: TCP port; 0 takes a free one.
    :param token: secret that a viewer must know; empty if none is needed.
    :param read_only: viewers can watch, and cannot change the query.
    :param table: name of the demo's camera, which viewers may move; empty if there is none.
    :param allowed_hosts: names of this machine, as of a proxy, in addition to its own.
    """

    node: str
    host: str
    port: int
    token: str
    read_only: bool
    table: str
    allowed_hosts: tuple[str, ...]


def parse_options(arguments: Sequence[str]) -> WebOptions:
    """Return the options of a command line, which is without ROS's own arguments.

    What is wrong with it ends the program with one sentence and status 2.

    :raises ConfigError: the file of the token, or a name, cannot be used.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.port > _LAST_PORT:
        parser.error(f"--port is {given.port}, but ports end at {_LAST_PORT}")
    for name in filter(None, (given.node, given.demo_camera)):
        _check_name(name)
    token = "" if given.token_file is None else read_token(given.token_file)
    if not token and not is_loopback(given.host):
        token = secrets.token_urlsafe(TOKEN_BYTES)
    return WebOptions(
        given.node,
        given.host,
        given.port,
        token,
        given.read_only,
        given.demo_camera,
        tuple(given.allow_host),
    )


def _check_name(name: str) -> None:
    try:
        validate_topic_name(name)
    except NameValidationException as error:
        raise ConfigError(
            f"'{name[:80]}' is no name of a node, such as /robot/clip_surgery"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: Path) -> str:
    """Return the secret in a file.

    :raises ConfigError: the file cannot be read, or holds no token.
    """
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {path} cannot be read: {error}") from error
    if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"--token-file {path} must hold at least {SHORTEST_TOKEN} letters, digits or any of "
            "_ ~ . - and nothing else; `openssl rand -hex 24` makes a good one"
        )
    return token


def _parser() -> Parser:
    made = Parser(
        prog="clip_surgery_web",
        description=ABOUT,
        epilog="--ros-args -r __ns:=/robot watches a node of a namespace; docs/watch.md says more",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--node", default="clip_surgery", help="node to watch (default: %(default)s)")
    add("--host", default=HOST, help="address to listen on (default: %(default)s)")
    add("--port", type=whole_number(0), default=PORT, help="(default: %(default)s; 0: a free one)")
    add(
        "--token-file",
        type=nonempty_path,
        metavar="FILE",
        help="file with the secret that a viewer must know (default: none on this machine alone; "
        "a new one at each start for any other address)",
    )
    add("--read-only", action="store_true", help="viewers watch, and cannot ask")
    add(
        "--demo-camera",
        default="",
        metavar="NODE",
        help="a demo_camera, which viewers may then move, and whose objects they may take away",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name of this machine, as of a proxy; may be repeated",
    )
    return made
