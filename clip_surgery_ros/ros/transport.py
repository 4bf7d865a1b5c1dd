"""What the operating system must allow so that large images arrive."""

from __future__ import annotations

from functools import cache
from pathlib import Path

SOCKET_BYTES = 16_777_216
"""Buffer of a UDP socket that ``config/fastdds.xml`` requests: two full-HD colour images. Linux
gives less, without an error, where its limit is lower."""
LIMIT = Path("/proc/sys/net/core/rmem_max")
"""File with the largest buffer, in bytes, that Linux gives to a socket."""


@cache
def loss_advice(limit: Path = LIMIT) -> str:
    """Return what to do about images that are lost on their way, for people.

    :param limit: as :data:`LIMIT`.
    """
    profile = "start the camera with config/fastdds.xml too, or set image_transport: compressed"
    value = _number(limit)
    if value is None or value >= SOCKET_BYTES:
        return profile
    return (
        f"net.core.rmem_max is {value}, and images from another machine want {SOCKET_BYTES} "
        f"(sysctl); or else {profile}"
    )


def _number(path: Path) -> int | None:
    """Return the number in a file; None without such a file, as on systems other than Linux."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
