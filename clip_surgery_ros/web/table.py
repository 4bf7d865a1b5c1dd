"""The demo's table: moves its camera and takes objects away, by the camera's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.task import Future

NAMES = ("view", "views", "without", "objects")
"""Parameters of ``demo/handling.py``."""
SEPARATOR = "; "


class Table:
    """A client of the demo's camera. All on the executor's thread.

    :param node: makes the clients.
    :param camera: name of the camera's node.
    :param on_change: called when :attr:`content` is another.
    """

    def __init__(self, node: Node, camera: str, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._get = node.create_client(GetParameters, f"{camera}/get_parameters")
        self._set = node.create_client(SetParameters, f"{camera}/set_parameters")
        self.content: dict[str, Any] | None = None
        """Number of the view that is held (-1: none), how many there are, names of what is taken
        away, and of what can be; None until the camera answers."""

    def read(self) -> None:
        """Ask the camera how it is."""
        if self._get.service_is_ready():
            future = self._get.call_async(GetParameters.Request(names=[*NAMES]))
            future.add_done_callback(self._on_values)

    def arrange(self, view: int, without: Sequence[str]) -> None:
        """Hold a view, and take objects away; the camera refuses what it does not have."""
        if not self._set.service_is_ready():
            return
        parameters = [
            Parameter("view", value=view).to_parameter_msg(),
            Parameter("without", value=SEPARATOR.join(without)).to_parameter_msg(),
        ]
        future = self._set.call_async(SetParameters.Request(parameters=parameters))
        future.add_done_callback(lambda _: self.read())

    def _on_values(self, future: Future) -> None:
        response = future.result()
        values = [] if response is None else [*map(parameter_value_to_python, response.values)]
        if len(values) != len(NAMES) or None in values:
            return
        view, views, without, objects = values
        content = {
            "view": view,
            "views": views,
            "without": [name for name in without.split(SEPARATOR) if name],
            "objects": [name for name in objects.split(SEPARATOR) if name],
        }
        if content != self.content:
            self.content = content
            self._on_change()
