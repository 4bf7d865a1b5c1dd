"""What large images need of the system on their way."""

from __future__ import annotations

from functools import cache
from pathlib import Path

SOCKET_BYTES = 16_777_216
"""Buffer of a UDP socket that ``config/fastdds.xml`` asks for: two full-HD images in colour. Linux
gives less in silence where its limits are lower."""
LIMIT = Path("/proc/sys/net/core/rmem_max")


@cache
def cure_of_loss(limit: Path = LIMIT) -> str:
    """What to do about images that are lost on their way, for people.

    :param limit: file with the largest buffer in bytes that the kernel gives a socket.
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
    """None where there is no such file, as on other systems than Linux."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
