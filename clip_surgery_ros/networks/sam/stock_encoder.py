"""Image encoders that run with the code of their own package, except for linear layers."""

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
    """Return a copy for inference, in the requested precision or in float32 if that is faster.

    :param mlp: a part of the encoder that takes (B, N, C) tokens; it is timed in both precisions.
    """
    width = next(layer.in_features for layer in mlp.modules() if isinstance(layer, nn.Linear))
    tokens = noise(1, 512, width)

    def run_in(candidate: torch.dtype) -> Callable[[], object]:
        converted = _with_fast_layers(copy.deepcopy(mlp).to(candidate))
        return partial(converted, tokens.to(candidate))

    fastest = faster_dtype(f"{type(encoder).__name__} of width {width}", dtype, device, run_in)
    if fastest != dtype:
        _LOG.info("SAM's encoder runs in %s: %s is slower on this machine", fastest, dtype)
    converted = copy.deepcopy(encoder).to(device, fastest).eval().requires_grad_(False)
    return _with_fast_layers(converted)


class _FastLinear(nn.Module):
    """torch's ``Linear``, computed by :func:`fast_linear`.

    The width is not limited to ``MIN_ONEDNN_WIDTH``, because these encoders start with narrow
    layers and end with wide ones.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        target = ComputeTarget(layer.weight.device, layer.weight.dtype)
        self._layer = fast_linear(layer.weight, layer.bias, target)

    def forward(self, x: Tensor) -> Tensor:
        return self._layer(x)


def _with_fast_layers(network: nn.Module) -> nn.Module:
    """Replace the linear layers of a network, and return it."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is nn.Linear:  # subclasses may compute something else
                setattr(module, name, _FastLinear(layer))
    return network
