"""CUDA graphs: all kernels of a network, launched with one call.

Launching the kernels of a network one by one takes the host longer than a large GPU takes to run
them. A graph has the kernels with the addresses of their memory. So its inputs are copied to the
memory that they had when it was captured, its outputs are copied from there, and tables that its
kernels read must stay where they are (:func:`reads`).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)
CAPACITY = 16
"""Graphs of a network that are kept: those of a few sizes of images, or numbers of prompts."""
TOLERANCE = 3e-2
"""Largest error of a graph, relative in norm: that of other kernels in bfloat16. A graph that
reads wrong memory has an error of 0.1 to 1."""

Function = Callable[..., tuple[Tensor, ...]]
"""Launches the same kernels for all inputs of the same shapes, and never waits for the GPU."""
T = TypeVar("T")
_captures: list[list[Any]] = []  # what each capture in progress keeps


def reads(table: T) -> T:
    """Keep a table as long as the graph that is being captured, if one is; return the table.

    Caches whose tables may be dropped return them through this.
    """
    for kept in _captures:
        kept.append(table)
    return table


class Graphs:
    """Calls functions on a GPU as graphs, those of the shapes seen last.

    A graph is captured at the second call for its shapes: images of a size that comes once would
    take longer. It is used if it computes what the function does; otherwise the function is called
    as before, and the log says so.

    :param name: of the network, for messages.
    :param enabled: on CPUs there are no graphs.
    """

    def __init__(self, name: str, enabled: bool) -> None:
        self.name, self.enabled = name, enabled
        self._graphs: OrderedDict[Hashable, Graph | None] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, key: Hashable, function: Function, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the function returns, in memory of its own.

        :param key: tells functions of inputs of the same shapes apart.
        """
        if not self.enabled:
            return function(*inputs)
        key = (key, *(x.shape for x in inputs))
        if key not in self._graphs:  # the first call also fills the function's caches
            self._keep(key, None)
            return function(*inputs)
        graph = self._graphs[key]
        if graph is None:
            graph = self._capture(function, inputs)
        self._keep(key, graph)
        return graph(*inputs) if graph else function(*inputs)

    def _keep(self, key: Hashable, graph: Graph | None) -> None:
        """Keep a graph as the newest, and drop the oldest one."""
        self._graphs[key] = graph
        self._graphs.move_to_end(key)
        if len(self._graphs) > CAPACITY:
            self._graphs.popitem(last=False)

    def _capture(self, function: Function, inputs: tuple[Tensor, ...]) -> Graph | None:
        """Return a graph that computes what the function does; None if that is not possible."""
        try:
            others = (graph for graph in self._graphs.values() if graph)
            graph = Graph(function, inputs, next(others, None))
            if all(map(_agree, graph(*inputs), function(*inputs))):
                return graph
            problem = "it computes something else"
        except RuntimeError as error:  # also a shortage of memory, which the function may not have
            problem = str(error).partition("\n")[0]
        self.enabled = False
        _LOG.warning(
            "%s runs without a CUDA graph (%s); results are the same, but a frame takes longer",
            self.name,
            problem,
        )
        return None


class Graph:
    """A CUDA graph of a function for inputs of one shape each.

    :param inputs: of the shapes; their values are not used.
    :param other: a graph to share memory with. One runs after the other, and outputs are copied
        before the next one runs.
    """

    def __init__(
        self, function: Function, inputs: tuple[Tensor, ...], other: Graph | None = None
    ) -> None:
        self._device = inputs[0].device
        # Zeros: a graph that ignored its inputs would agree with the values it was captured with.
        self._inputs = [torch.zeros_like(x) for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        self._tables: list[Any] = []
        _captures.append(self._tables)
        try:
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(
                    self._graph,
                    pool=other._graph.pool() if other else None,
                    stream=torch.cuda.Stream(self._device),
                    capture_error_mode="thread_local",
                ),
            ):
                self._outputs = function(*self._inputs)
        finally:
            _captures.remove(self._tables)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the function's outputs, in memory of their own."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two results differ by rounding errors only; not if one has NaN."""
    error, size = (found - expected).float().norm(), expected.float().norm()
    return bool(error <= TOLERANCE * size)
