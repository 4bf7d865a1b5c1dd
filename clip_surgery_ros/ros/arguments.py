"""Starts ROS with command-line arguments, and checks them and their parameter files.

rcl itself ends the process with a traceback for a file that it cannot read, and silently ignores
a file that is for no node.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.utilities import remove_ros_args

from clip_surgery_ros.core.errors import ConfigError

_SOURCE = re.compile(r", at \S+:\d+")
"""The line in rcl's source where an error occurred, of no use for the user."""


def start(arguments: Sequence[str], **options: Any) -> None:
    """Start ROS.

    :param arguments: command line, program name first.
    :param options: as for ``rclpy.init``.
    :raises ConfigError: when ROS cannot use the arguments.
    """
    try:
        rclpy.init(args=list(arguments), **options)
    except RuntimeError as error:  # the base class of rclpy's own errors
        raise ConfigError(_explanation(error, arguments)) from error


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are not for ROS.

    :raises ConfigError: when ROS cannot use those that are.
    """
    try:
        return remove_ros_args(list(arguments))
    except RuntimeError as error:
        raise ConfigError(_explanation(error, arguments)) from error


def check_files_apply(arguments: Sequence[str], node_name: str) -> None:
    """Refuse a parameter file that has no section for this node; ROS would use the defaults.

    :param arguments: command line.
    :param node_name: with its namespace.
    :raises ConfigError: naming the file and the nodes that it is for.
    """
    for path in parameter_files(arguments):
        sections = list(_sections(yaml.load(path.read_bytes(), yaml.BaseLoader)))
        if sections and not any(_matches(section, node_name) for section in sections):
            raise ConfigError(
                f"parameter file {path} is for {', '.join(sections)[:200]} and sets nothing of "
                f"{node_name}; call the section /**, which is for every node, or {node_name}"
            )


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files that a command line names with ``--params-file``."""
    pairs = itertools.pairwise(arguments)
    return [Path(path) for option, path in pairs if option == "--params-file"]


def _explanation(error: RuntimeError, arguments: Sequence[str]) -> str:
    """Return why ROS did not start, for people."""
    problems = [_problem(path) for path in parameter_files(arguments)]
    if any(problems):
        return next(filter(None, problems))
    reason = _SOURCE.sub("", str(error)).removeprefix("failed to initialize rcl: ")
    if reason.startswith("["):  # a list of unknown arguments
        reason = f"{reason} are unknown"
    return (
        f"ROS cannot use its arguments: {reason}; give parameters as -p name:=value, files as "
        "--params-file file.yaml and other names as -r from:=to, all after --ros-args"
    )


def check_parameter_file(path: Path) -> None:
    """Refuse a file that is no parameter file; launch would ignore it and use the defaults.

    :raises ConfigError: naming the file.
    """
    if problem := _problem(path):
        raise ConfigError(problem)


def _problem(path: Path) -> str:
    """Return what is wrong with a parameter file; empty when it has sections for nodes."""
    if not path.is_file():
        return f"parameter file {path} does not exist, or is no file; name one that does"
    try:
        tree = yaml.load(path.read_bytes(), yaml.BaseLoader)
    except OSError as error:
        return f"parameter file {path} cannot be read: {error.strerror}"
    except yaml.YAMLError as error:
        return f"parameter file {path} is no YAML: {' '.join(str(error).split())}"
    if not any(_sections(tree)):
        return (
            f"parameter file {path} has no ros__parameters; write the node's name or /** in the "
            "first line, 'ros__parameters:' indented in the next, and the parameters below that"
        )
    return ""


def _sections(tree: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of the nodes that a parameter file is for, as written, with namespaces."""
    if not isinstance(tree, dict):
        return
    for name, below in tree.items():
        if name == "ros__parameters":
            yield prefix
        elif isinstance(below, dict):
            yield from _sections(below, f"{prefix}/{str(name).strip('/')}")


def _matches(section: str, node_name: str) -> bool:
    """Whether a section is for a node: ``*`` is one part of a name, ``**`` any number of parts."""
    wildcards = {"*": "/[^/]+", "**": "(/[^/]+)*"}
    parts = section.lstrip("/").split("/")
    pattern = "".join(wildcards.get(part, "/" + re.escape(part)) for part in parts)
    return re.fullmatch(pattern, node_name) is not None
