"""Image encoders that run as their own package wrote them, on a device and in a precision."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from clip_surgery_ros.backends.sam_encoder import faster_dtype, noise

_LOG = logging.getLogger(__name__)


def placed_copy(
    encoder: nn.Module, mlp: nn.Module, device: torch.device, dtype: torch.dtype
) -> Any:
    """A copy for inference on the device, in the precision asked for or in float32 if faster.

    :param mlp: a part of the encoder that takes (B, N, C) tokens, to time precisions by.
    """
    width = next(layer.in_features for layer in mlp.modules() if isinstance(layer, nn.Linear))
    tokens = noise(1, 512, width)

    def run_in(candidate: torch.dtype) -> Callable[[], object]:
        return partial(copy.deepcopy(mlp).to(candidate), tokens.to(candidate))

    fastest = faster_dtype(dtype, device, run_in)
    if fastest != dtype:
        _LOG.info("SAM's encoder runs in %s: %s is slower on this machine", fastest, dtype)
    return copy.deepcopy(encoder).to(device, fastest).eval().requires_grad_(False)
