"""ROS parameters from the table in ``parameters.config``: declared, checked together, read as one.

No default, limit or help text is written here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.config import PARAMETERS, Config, Parameter
from clip_surgery_ros.ros import qos


class NodeParameters:
    """The parameters of a node.

    :param node: declares the parameters on it, with the values its overrides give.
    :param fixed_now: tells whether the parameters that are not live are fixed at the moment.
    :param changed: called with the new snapshot and the names set, after parameters were set.
    :raises ConfigError: when the values that the node was started with cannot be used.
    """

    def __init__(
        self,
        node: Node,
        fixed_now: Callable[[], bool],
        changed: Callable[[Config, frozenset[str]], None],
    ) -> None:
        self._node = node
        self._fixed_now = fixed_now
        self._changed = changed
        given = node._parameter_overrides  # rclpy has no public way to them
        qos.check_overrides({name: one.value for name, one in given.items()})
        self._values = own_values(given.values())
        self._config = Config.from_values(self._values)
        for entry in PARAMETERS:
            value = self._values[entry.name] = _ros_value(getattr(self._config, entry.name))
            # Checked above, in words: rclpy's own check of what it was given is a traceback.
            node.declare_parameter(entry.name, value, descriptor(entry), ignore_override=True)
        for name, meant in misspelt(given):
            node.get_logger().warning(f"there is no parameter '{name}'; is '{meant}' meant?")
        _guard_types(node)
        node.add_pre_set_parameters_callback(_with_fractions)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._take)

    @property
    def config(self) -> Config:
        """Snapshot of all parameters."""
        return self._config

    def _check(self, parameters: Sequence[RosParameter]) -> SetParametersResult:
        """Refuse what cannot be used, in a sentence, before anything is changed."""
        changes = own_values(parameters)
        try:
            check_fixed(changes, self._values, self._fixed_now())
            Config.from_values({**self._values, **changes})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take(self, parameters: Sequence[RosParameter]) -> None:
        changes = own_values(parameters)
        if not changes:
            return
        self._values.update(changes)
        self._config = Config.from_values(self._values)
        self._changed(self._config, frozenset(changes))


_BY_NAME = {entry.name: entry for entry in PARAMETERS}


def _ros_value(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def own_values(parameters: Iterable[RosParameter]) -> dict[str, Any]:
    """Values of the parameters that are in the table; use_sim_time and the like are not."""
    return {
        parameter.name: _list_or_value(parameter)
        for parameter in parameters
        if parameter.name in _BY_NAME
    }


def _list_or_value(parameter: RosParameter) -> Any:
    """The value; ROS gives an empty list of a file as no value at all."""
    is_list = isinstance(_BY_NAME[parameter.name].default, tuple)
    return [] if is_list and parameter.value is None else parameter.value


def _with_fractions(parameters: list[RosParameter]) -> list[RosParameter]:
    """Take 2 for 2.0, as YAML's reader cannot know which is meant."""
    return [
        RosParameter(one.name, value=float(one.value)) if _lacks_fraction(one) else one
        for one in parameters
    ]


def _lacks_fraction(parameter: RosParameter) -> bool:
    entry = _BY_NAME.get(parameter.name)
    is_whole = parameter.type_ == RosParameter.Type.INTEGER
    return is_whole and entry is not None and isinstance(entry.default, float)


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Tell of values that rclpy's own parameters, such as use_sim_time, cannot take.

    :raises ConfigError: instead of rclpy's errors.
    """
    try:
        yield
    except ParameterException as error:
        said = str(error).rpartition(": ")[0]  # its last word repeats the name
        raise ConfigError(
            f"{said}. Unquoted, true and false are BOOL, 1 is INTEGER and 1.0 is DOUBLE; quoted, "
            "everything is STRING"
        ) from error


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names that no parameter has and one nearly has, each with that one.

    ROS passes over what a parameter file sets and nobody declares; a file for several nodes may
    well hold names that are none of ours.
    """
    unknown = [name for name in names if name not in _BY_NAME]
    near = [(name, difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.8)) for name in unknown]
    return [(name, found[0]) for name, found in near if found]


def check_fixed(changes: Mapping[str, Any], values: Mapping[str, Any], fixed: bool) -> None:
    """Refuse changes to parameters that are not live while they are fixed.

    :raises ConfigError: naming the parameter.
    """
    for name, value in changes.items():
        if fixed and not _BY_NAME[name].live and value != values[name]:
            raise ConfigError(
                f"parameter '{name}' is fixed while the node is active; deactivate the node, "
                "set it and activate again"
            )


NETWORKS = (
    *("clip_model", "clip_checkpoint", "clip_sha256", "clip_input_size", "attention"),
    *("sam_model", "sam_checkpoint", "sam_sha256"),
    *("device", "allow_cpu_fallback", "precision", "cpu_threads"),
    *("templates", "text_cache"),
)
"""Parameters that make networks what they are; the others need no loading anew."""


def same_networks(one: Config, other: Config) -> bool:
    """Whether two snapshots ask for the same networks."""
    return all(getattr(one, name) == getattr(other, name) for name in NETWORKS)


def descriptor(entry: Parameter) -> ParameterDescriptor:
    """What ``ros2 param describe`` shows of a table entry."""
    message = ParameterDescriptor(
        description=entry.help,
        additional_constraints=_constraints(entry),
        read_only=entry.read_only,
    )
    if entry.minimum is None and entry.maximum is None:
        return message
    if isinstance(entry.default, float):
        low = -1e308 if entry.minimum is None else float(entry.minimum)
        high = 1e308 if entry.maximum is None else float(entry.maximum)
        message.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    else:
        low = -(2**63) if entry.minimum is None else int(entry.minimum)
        high = 2**63 - 1 if entry.maximum is None else int(entry.maximum)
        message.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return message


def _guard_types(node: Node) -> None:
    """Refuse values of a type that ROS does not have; rclpy lets them end the process."""
    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            service.callback = partial(_take_known_types, service.callback)


def _take_known_types(take: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    known = {kind.value for kind in RosParameter.Type}
    unknown = [one for one in request.parameters if one.value.type not in known]
    if not unknown:
        return take(request, response)
    reason = (
        f"the value of {unknown[0].name[:80]!r} has type {unknown[0].value.type}, which is none"
    )
    result = SetParametersResult(successful=False, reason=reason)
    if isinstance(response, SetParameters.Response):
        response.results = [result] * len(request.parameters)
    else:
        response.result = result
    return response


def _constraints(entry: Parameter) -> str:
    """The limits that have no field of their own."""
    fixed = not entry.live and not entry.read_only
    said = ["fixed while the node is active"] if fixed else []
    if entry.choices:
        said.append("one of " + ", ".join(map(str, entry.choices)))
    return "; ".join(said)
