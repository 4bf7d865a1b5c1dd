"""MobileSAM (Zhang et al. 2023): a TinyViT, distilled from vit_h's encoder, and SAM's decoder.

The package ``mobile_sam`` has the encoder, segment-anything has the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from clip_surgery_ros.networks.sam.build import SamSpec, build_with_encoder
from clip_surgery_ros.networks.sam.packages import import_package
from clip_surgery_ros.networks.sam.stock_encoder import inference_copy

DISTRIBUTION = "mobilesam-mirror"
"""A copy of the authors' repository, which they do not publish as a package."""
TINY_VIT: Mapping[str, Any] = {
    "img_size": 1024,
    "embed_dims": [64, 128, 160, 320],
    "depths": [2, 2, 6, 2],
    "num_heads": [2, 4, 5, 10],
    "window_sizes": [7, 7, 14, 7],
    "drop_path_rate": 0.0,
}
"""Sizes of the authors' weights, which include a classifier that is not used."""


def build_mobile_sam() -> Sam:
    """Return an untrained MobileSAM.

    :raises ConfigError: when its package is not installed.
    """
    tiny_vit = import_package("mobile_sam.modeling.tiny_vit_sam", DISTRIBUTION).TinyViT
    return build_with_encoder(tiny_vit(**TINY_VIT), SamSpec())


class TinyEncoder:
    """MobileSAM's image encoder on a device.

    :param net: a ``TinyViT``; it is copied.
    :param dtype: of weights and arithmetic, unless float32 is faster on this machine.
    """

    def __init__(self, net: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        tiny: Any = net
        copied = inference_copy(net, tiny.layers[-1].blocks[0].mlp, device, dtype)
        self._net = copied.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
        self._dtype = next(self._net.parameters()).dtype

    def __call__(self, pixels: Tensor, height: int) -> Tensor:
        """See :class:`clip_surgery_ros.networks.sam.backend.ImageEncoder`."""
        features: Tensor = self._net(pixels.to(self._dtype))
        return features
