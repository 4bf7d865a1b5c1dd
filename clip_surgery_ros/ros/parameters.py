"""ROS parameters from the table in ``parameters.config``: declares, checks and reads them.

Defaults, limits and help texts are in that table, not here.
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

    :param node: gets the parameters, with the values that it was started with.
    :param is_fixed: tells whether parameters that are not live are fixed at the moment.
    :param on_change: called with the new snapshot and the names set, after parameters were set.
    :raises ConfigError: when the values that the node was started with cannot be used.
    """

    def __init__(
        self,
        node: Node,
        is_fixed: Callable[[], bool],
        on_change: Callable[[Config, frozenset[str]], None],
    ) -> None:
        self._node = node
        self._is_fixed, self._on_change = is_fixed, on_change
        overrides = node._parameter_overrides  # rclpy has no public access to them
        qos.check_overrides({name: override.value for name, override in overrides.items()})
        self._values = table_values(overrides.values())
        self._config = Config.from_values(self._values)
        for entry in PARAMETERS:
            value = self._values[entry.name] = _ros_value(getattr(self._config, entry.name))
            # Overrides are checked above, with readable errors; rclpy would show a traceback.
            node.declare_parameter(entry.name, value, descriptor(entry), ignore_override=True)
        for name, similar in misspelled(overrides):
            node.get_logger().warning(f"there is no parameter '{name}'; is '{similar}' meant?")
        _refuse_unknown_types(node)
        node.add_pre_set_parameters_callback(_integers_to_floats)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    @property
    def config(self) -> Config:
        """The current values of all parameters."""
        return self._config

    def _check(self, parameters: Sequence[RosParameter]) -> SetParametersResult:
        """Refuse values that cannot be used, with a reason, before any of them is set."""
        changes = table_values(parameters)
        try:
            check_fixed(changes, self._values, self._is_fixed())
            Config.from_values({**self._values, **changes})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: Sequence[RosParameter]) -> None:
        changes = table_values(parameters)
        if not changes:
            return
        self._values.update(changes)
        self._config = Config.from_values(self._values)
        self._on_change(self._config, frozenset(changes))


_BY_NAME = {entry.name: entry for entry in PARAMETERS}


def _ros_value(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def table_values(parameters: Iterable[RosParameter]) -> dict[str, Any]:
    """Return the values of parameters that are in the table; rclpy's own are not in it."""
    return {
        parameter.name: _list_or_value(parameter)
        for parameter in parameters
        if parameter.name in _BY_NAME
    }


def _list_or_value(parameter: RosParameter) -> Any:
    """Return the value. ROS reads an empty list in a file as no value."""
    is_list = isinstance(_BY_NAME[parameter.name].default, tuple)
    return [] if is_list and parameter.value is None else parameter.value


def _integers_to_floats(parameters: list[RosParameter]) -> list[RosParameter]:
    """Accept 2 for 2.0 where a number with a fraction is expected."""
    return [
        RosParameter(parameter.name, value=float(parameter.value))
        if _is_integer_for_float(parameter)
        else parameter
        for parameter in parameters
    ]


def _is_integer_for_float(parameter: RosParameter) -> bool:
    entry = _BY_NAME.get(parameter.name)
    is_integer = parameter.type_ == RosParameter.Type.INTEGER
    return is_integer and entry is not None and isinstance(entry.default, float)


@contextmanager
def explain_parameter_errors() -> Iterator[None]:
    """Explain values that rclpy's own parameters, such as use_sim_time, cannot have.

    :raises ConfigError: instead of rclpy's errors.
    """
    try:
        yield
    except ParameterException as error:
        reason = str(error).rpartition(": ")[0]  # the last word repeats the name
        raise ConfigError(
            f"{reason}. Unquoted, true and false are BOOL, 1 is INTEGER and 1.0 is DOUBLE; "
            "quoted, everything is STRING"
        ) from error


def misspelled(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names that are probably misspelled, each with the parameter's right name.

    ROS ignores parameters that are set and not declared. Names that are not similar to any
    parameter are left out: a parameter file may be for several nodes.
    """
    unknown = [name for name in names if name not in _BY_NAME]
    near = [(name, difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.8)) for name in unknown]
    return [(name, found[0]) for name, found in near if found]


def check_fixed(changes: Mapping[str, Any], values: Mapping[str, Any], is_fixed: bool) -> None:
    """Refuse changes to parameters that are not live while they are fixed.

    :raises ConfigError: naming the parameter.
    """
    for name, value in changes.items():
        if is_fixed and not _BY_NAME[name].live and value != values[name]:
            raise ConfigError(
                f"parameter '{name}' is fixed while the node is active; deactivate the node, "
                "set it and activate again"
            )


NETWORK_PARAMETERS = (
    *("clip_model", "clip_checkpoint", "clip_sha256", "clip_input_size", "attention"),
    *("sam_model", "sam_checkpoint", "sam_sha256"),
    *("device", "allow_cpu_fallback", "precision", "allow_tf32", "cuda_graphs"),
    "cpu_threads",
    *("templates", "text_cache"),
)
"""Parameters that need the networks loaded again when they change."""


def same_networks(first: Config, second: Config) -> bool:
    """Whether two configurations need the same networks."""
    return all(getattr(first, name) == getattr(second, name) for name in NETWORK_PARAMETERS)


def descriptor(entry: Parameter) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows of an entry of the table."""
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


def _refuse_unknown_types(node: Node) -> None:
    """Refuse values of a type that ROS does not have; they would end the process in rclpy."""
    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            service.callback = partial(_set_known_types, service.callback)


def _set_known_types(
    set_parameters: Callable[[Any, Any], Any], request: Any, response: Any
) -> Any:
    known = {type_.value for type_ in RosParameter.Type}
    unknown = [parameter for parameter in request.parameters if parameter.value.type not in known]
    if not unknown:
        return set_parameters(request, response)
    reason = (
        f"the value of {unknown[0].name[:80]!r} has type {unknown[0].value.type}, which ROS "
        "parameters do not have"
    )
    result = SetParametersResult(successful=False, reason=reason)
    if isinstance(response, SetParameters.Response):
        response.results = [result] * len(request.parameters)
    else:
        response.result = result
    return response


def _constraints(entry: Parameter) -> str:
    """Return the limits that have no field of their own in the descriptor."""
    is_fixed = not entry.live and not entry.read_only
    limits = ["fixed while the node is active"] if is_fixed else []
    if entry.choices:
        limits.append("one of " + ", ".join(map(str, entry.choices)))
    return "; ".join(limits)
