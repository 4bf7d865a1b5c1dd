"""What is done with the demo's table while it is shown: the camera moves, objects are taken away.

Parameters of the camera's node say it: ``view`` and ``without``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.demo.views import Carousel, View
from clip_surgery_ros.world.frame import ObjectTruth

Wanted = tuple[int, frozenset[int]]
"""Number of a view, and instances that are taken away."""
SEPARATOR = "; "
"""Between names, in parameters."""


class Handling:
    """Shows the views of a carousel as the parameters of a node say.

    While a view without some objects is rendered, the one before is shown.

    :param node: whose parameters these are: ``view``, the number of the view where the camera
        stays, -1 to go on; ``without``, names of what is taken away; and, read-only, ``views`` and
        ``objects``, how many views and what can be taken away.
    """

    def __init__(self, node: Node, carousel: Carousel) -> None:
        self._node, self._carousel = node, carousel
        self._gone: frozenset[int] = frozenset()
        self._made: tuple[Wanted, View] | None = None
        self._rendering: threading.Thread | None = None
        frame = carousel.first.frame
        self._names = {} if frame is None else {o.instance: _name(o) for o in frame.objects}
        fixed = ParameterDescriptor(read_only=True)
        node.declare_parameter("view", -1)
        node.declare_parameter("without", "")
        node.declare_parameter("views", carousel.count, fixed)
        node.declare_parameter(
            "objects", SEPARATOR.join(dict.fromkeys(self._names.values())), fixed
        )
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def current(self) -> View:
        """The view that is shown."""
        view = self._carousel.current
        if not self._gone:
            return view
        wanted = (view.number, self._gone)
        if self._made is None or self._made[0] != wanted:
            self._render(wanted, view)
        return view if self._made is None else self._made[1]

    def _render(self, wanted: Wanted, view: View) -> None:
        """Begin to render a view, unless one is being rendered."""
        if self._rendering is not None and self._rendering.is_alive():
            return
        without = self._carousel.without

        def run() -> None:
            try:
                made = view if without is None else without(view, wanted[1])
            except ClipSurgeryError as error:
                self._node.get_logger().error(str(error))
                made = view
            self._made = (wanted, made)

        self._rendering = threading.Thread(target=run, daemon=True)
        self._rendering.start()

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        values = {one.name: one.value for one in parameters}
        view, without = values.get("view", -1), str(values.get("without", ""))
        if not -1 <= view < self._carousel.count:
            reason = f"view is {view}, but must be from -1 to {self._carousel.count - 1}"
            return SetParametersResult(successful=False, reason=reason)
        names = [name.strip() for name in without.split(SEPARATOR.strip()) if name.strip()]
        if unknown := set(names) - set(self._names.values()):
            reason = f"{sorted(unknown)[0][:60]!r} is not on the table; objects are listed there"
            return SetParametersResult(successful=False, reason=reason)
        if "view" in values:
            self._carousel.hold(view)
        if "without" in values:
            self._gone = frozenset(k for k, name in self._names.items() if name in names)
            self._made = self._made if self._gone else None
        return SetParametersResult(successful=True)


def _name(described: ObjectTruth) -> str:
    """Return what an object of the truth is called, with its colour."""
    return f"{described.colour} {described.name}".strip()
