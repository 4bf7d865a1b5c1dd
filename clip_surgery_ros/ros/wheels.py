"""ROS from wheels is in force in every Python of its environment, activated or not.

A ``.pth`` file, which ``setup.py`` installs beside such a ROS, calls :func:`enter` at every start.
The wheels see to the libraries' path in the same way and leave the rest to whoever sources a ROS.
That Python has the installed package from then on, also in a checkout, whose folder of the same
name lacks the message types.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence

TRANSPORT_CHOICES = (
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
)
"""Whoever sets one of these has chosen how images travel."""


def enter(environment: MutableMapping[str, str] = os.environ, prefix: str = sys.prefix) -> None:
    """Name an environment's ROS and its Fast DDS profile where nothing else is named.

    :param environment: variables, changed in place.
    :param prefix: the environment's folder, laid out like any ROS prefix.
    """
    named = ros_prefixes(environment)
    if not any(_has(path, "rclpy") for path in named):
        # Last, as an underlay is: workspaces that were built on it come before.
        named = [*named, prefix]
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(named)
    if not any(name in environment for name in TRANSPORT_CHOICES):
        profile = os.path.join(prefix, "share", "clip_surgery_ros", "config", "fastdds.xml")
        environment[profiles_variable(named)] = profile


def ros_prefixes(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Where ROS packages are, the overlays first."""
    paths = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [path for path in paths if path]


def profiles_variable(prefixes: Sequence[str]) -> str:
    """The variable that names Fast DDS's profiles: since ROS 2 Kilted, Fast DDS 3 and its package
    have another name.

    :param prefixes: where ROS packages are.
    """
    is_third = any(_has(path, "fastdds") for path in prefixes)
    return f"{'FASTDDS' if is_third else 'FASTRTPS'}_DEFAULT_PROFILES_FILE"


def _has(prefix: str, package: str) -> bool:
    return os.path.isdir(os.path.join(prefix, "share", package))
