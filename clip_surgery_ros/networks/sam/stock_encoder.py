"""Image encoders that run as their own package wrote them, on a device and in a precision."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.layers import ComputeTarget, fast_linear, noise
from clip_surgery_ros.networks.sam.encoder import faster_dtype

_LOG = logging.getLogger(__name__)


def inference_copy(
    encoder: nn.Module, mlp: nn.Module, device: torch.device, dtype: torch.dtype
) -> Any:
    """A copy for inference on the device, in the precision asked for or in float32 if faster.

    :param mlp: a part of the encoder that takes (B, N, C) tokens, to time precisions by.
    """
    width = next(layer.in_features for layer in mlp.modules() if isinstance(layer, nn.Linear))
    tokens = noise(1, 512, width)

    def run_in(candidate: torch.dtype) -> Callable[[], object]:
        placed = _with_fast_layers(copy.deepcopy(mlp).to(candidate))
        return partial(placed, tokens.to(candidate))

    fastest = faster_dtype(dtype, device, run_in)
    if fastest != dtype:
        _LOG.info("SAM's encoder runs in %s: %s is slower on this machine", fastest, dtype)
    placed = copy.deepcopy(encoder).to(device, fastest).eval().requires_grad_(False)
    return _with_fast_layers(placed)


class _FastLinear(nn.Module):
    """torch's ``Linear`` by :func:`fast_linear`; of any width, since such encoders widen stage by
    stage.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        target = ComputeTarget(layer.weight.device, layer.weight.dtype)
        self._layer = fast_linear(layer.weight, layer.bias, target)

    def forward(self, x: Tensor) -> Tensor:
        return self._layer(x)


def _with_fast_layers(network: nn.Module) -> nn.Module:
    """The network, its linear layers replaced."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is nn.Linear:  # subclasses may be read otherwise
                setattr(module, name, _FastLinear(layer))
    return network
