"""Makes a ROS that is installed from Python wheels work in every Python of its environment.

``setup.py`` installs a ``.pth`` file beside such a ROS; it calls :func:`enter` when Python starts.
The wheels themselves set the path of the libraries in the same way, but not the variables that
a ROS sets when it is sourced. Python then imports the installed package even in a checkout, whose
folder of the same name does not have the message types.
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
"""Variables that choose Fast DDS's transport; when one is set, it is not changed here."""


def enter(environment: MutableMapping[str, str] = os.environ, prefix: str = sys.prefix) -> None:
    """Set the variables of ROS and of its Fast DDS profile, unless they are set already.

    :param environment: the variables; this changes them.
    :param prefix: folder of the Python environment, which has the layout of a ROS prefix.
    """
    prefixes = ros_prefixes(environment)
    if not any(_has(path, "rclpy") for path in prefixes):
        # Last, as an underlay: workspaces that are built on it come first.
        prefixes = [*prefixes, prefix]
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(prefixes)
    if not any(name in environment for name in TRANSPORT_CHOICES):
        profile = os.path.join(prefix, "share", "clip_surgery_ros", "config", "fastdds.xml")
        environment[profiles_variable(prefixes)] = profile


def ros_prefixes(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return the folders with ROS packages, the overlays first."""
    paths = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [path for path in paths if path]


def profiles_variable(prefixes: Sequence[str]) -> str:
    """Return the variable that names Fast DDS's profiles; Fast DDS 3, of ROS 2 Kilted, has a new
    name for it.

    :param prefixes: folders with ROS packages.
    """
    is_third = any(_has(path, "fastdds") for path in prefixes)
    return f"{'FASTDDS' if is_third else 'FASTRTPS'}_DEFAULT_PROFILES_FILE"


def _has(prefix: str, package: str) -> bool:
    return os.path.isdir(os.path.join(prefix, "share", package))
