"""ROS from wheels is in force in every Python of its environment, activated or not.

A ``.pth`` file, which ``setup.py`` installs beside such a ROS, imports this at every start. The
wheels see to the libraries' path in the same way and leave the rest to whoever sources a ROS.
That Python has the installed package from then on, also in a checkout, whose folder of the same
name lacks the message types.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
TRANSPORT_CHOICES = (PROFILES, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
"""Whoever sets one of these has chosen how images travel."""


def enter(environment: MutableMapping[str, str], prefix: str) -> None:
    """Name an environment's ROS and its Fast DDS profile where nothing else is named.

    :param environment: variables, changed in place.
    :param prefix: the environment's folder, laid out like any ROS prefix.
    """
    named = [path for path in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    if not any(os.path.isdir(os.path.join(path, "share", "rclpy")) for path in named):
        # Last, as an underlay is: workspaces that were built on it come before.
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join([*named, prefix])
    if not any(name in environment for name in TRANSPORT_CHOICES):
        profile = os.path.join(prefix, "share", "clip_surgery_ros", "config", "fastdds.xml")
        environment[PROFILES] = profile


enter(os.environ, sys.prefix)
