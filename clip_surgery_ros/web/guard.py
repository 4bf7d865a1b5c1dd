"""Who may talk to the console: checks of Host, Origin and token, and the headers of all answers.

A page of another site, open in the same browser, can send requests to this machine. It cannot
change the headers Host and Origin, which say where it comes from.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

SECURITY_HEADERS: Mapping[str, str] = {
    # Only this package's files: no inline script or style, no other site, no frame around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # The page of this version, also after an update of the package.
    "Cache-Control": "no-cache",
    "Server": "clip_surgery_web",
}


def own_names(further: Iterable[str] = ()) -> frozenset[str]:
    """Return the names by which this machine may be called, in lower case.

    :param further: more of them.
    """
    name = socket.gethostname().lower()
    return frozenset(
        {"localhost", name, f"{name}.local", *(other.lower() for other in further)} - {""}
    )


def is_own_host(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this machine.

    An attacker's name that was made to point here (DNS rebinding) is refused. An address in
    numbers is accepted: no name leads to it.

    >>> is_own_host("localhost:8350", own_names()), is_own_host("evil.example", own_names())
    (True, False)
    """
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
        if parts.netloc != host or parts.username is not None or parts.port == 0:
            return False
    except ValueError:
        return False
    if name.lower() in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own_origin(origin: str | None, host: str) -> bool:
    """Whether an Origin header names the page of the console itself.

    >>> is_own_origin("http://localhost:8350", "localhost:8350"), is_own_origin(None, "localhost")
    (True, False)

    :param origin: as it was sent; every browser sends it when it opens a WebSocket.
    :param host: the Host header of the same request, which was checked.
    """
    scheme, _, name = (origin or "").partition("://")
    return scheme in ("http", "https") and name.lower() == host.lower()


def is_token(given: str, token: str) -> bool:
    """Whether the secret is right, in a time that tells nothing of it; there may be none."""
    return not token or hmac.compare_digest(given.encode(), token.encode())
