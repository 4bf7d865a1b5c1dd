"""What ROS is told at the start: its arguments and parameter files, refused in words.

rcl ends a process with a traceback for what it cannot read, and passes over what is for nobody.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rclpy
import yaml

from clip_surgery_ros.core.errors import ConfigError

_SOURCE = re.compile(r", at \S+:\d+")
"""Where in rcl's source an error was met, which is of no use to who made it."""


def start(arguments: Sequence[str], **options: Any) -> None:
    """Start ROS with a command line, program name first.

    :param options: as for ``rclpy.init``.
    :raises ConfigError: when ROS cannot use it.
    """
    try:
        rclpy.init(args=list(arguments), **options)
    except RuntimeError as error:  # rclpy's own errors are
        raise ConfigError(_explained(error, arguments)) from error


def check_files_meant(arguments: Sequence[str], node_name: str) -> None:
    """Refuse a parameter file that sets nothing of this node: the defaults would run instead.

    :param node_name: with its namespace.
    :raises ConfigError: naming the file and whom it is for.
    """
    for path in parameter_files(arguments):
        sections = list(_sections(yaml.load(path.read_bytes(), yaml.BaseLoader)))
        if sections and not any(_matches(section, node_name) for section in sections):
            raise ConfigError(
                f"parameter file {path} is for {', '.join(sections)[:200]} and sets nothing of "
                f"{node_name}; call the section /**, which is for every node, or {node_name}"
            )


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """Files that a command line gives with ``--params-file``."""
    pairs = itertools.pairwise(arguments)
    return [Path(path) for option, path in pairs if option == "--params-file"]


def _explained(error: RuntimeError, arguments: Sequence[str]) -> str:
    """Why ROS did not start, for people."""
    complaints = [_complaint(path) for path in parameter_files(arguments)]
    if any(complaints):
        return next(filter(None, complaints))
    said = _SOURCE.sub("", str(error)).removeprefix("failed to initialize rcl: ")
    if said.startswith("["):  # the arguments that are unknown
        said = f"{said} are unknown"
    return (
        f"ROS cannot use its arguments: {said}; give parameters as -p name:=value, files as "
        "--params-file file.yaml and other names as -r from:=to, all after --ros-args"
    )


def check_parameter_file(path: Path) -> None:
    """Refuse what is no parameter file: launch would go on without it, and the defaults run.

    :raises ConfigError: naming the file.
    """
    if complaint := _complaint(path):
        raise ConfigError(complaint)


def _complaint(path: Path) -> str:
    """What is wrong with a parameter file; empty when ROS knows that better."""
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


def _sections(tree: Any, place: str = "") -> Iterator[str]:
    """Names of the nodes that a parameter file is for, with their namespaces, as written."""
    if not isinstance(tree, dict):
        return
    for name, below in tree.items():
        if name == "ros__parameters":
            yield place
        elif isinstance(below, dict):
            yield from _sections(below, f"{place}/{str(name).strip('/')}")


def _matches(section: str, node_name: str) -> bool:
    """Whether a section is for a node: ``*`` is any one part of a name, ``**`` any number."""
    anything = {"*": "/[^/]+", "**": "(/[^/]+)*"}
    parts = section.lstrip("/").split("/")
    pattern = "".join(anything.get(part, "/" + re.escape(part)) for part in parts)
    return re.fullmatch(pattern, node_name) is not None
