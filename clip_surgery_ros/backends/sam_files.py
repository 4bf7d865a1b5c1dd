"""Checkpoints of SAMs into networks, and what a wrong one is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from clip_surgery_ros.core.errors import WeightsError

SIGNS: Sequence[tuple[str, str, int]] = (
    ("vit_t", "image_encoder.layers.3.blocks.1.mlp.fc2.bias", 320),
    ("vit_b", "image_encoder.pos_embed", 768),
    ("vit_l", "image_encoder.pos_embed", 1024),
    ("vit_h", "image_encoder.pos_embed", 1280),
    ("sam2.1_hiera_large", "image_encoder.trunk.blocks.47.mlp.layers.1.bias", 1152),
    ("sam2.1_hiera_base_plus", "image_encoder.trunk.blocks.23.mlp.layers.1.bias", 896),
    ("sam2.1_hiera_small", "image_encoder.trunk.blocks.15.mlp.layers.1.bias", 768),
    ("sam2.1_hiera_tiny", "image_encoder.trunk.blocks.11.mlp.layers.1.bias", 768),
)
"""A tensor by whose name and last dimension a published network is known; the first that fits."""


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, model: str) -> None:
    """Put a file's weights into a network, ready to answer.

    :param path: of the file, for the message.
    :param model: name of the network, for the message.
    :raises WeightsError: when they are of another network.
    """
    try:
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise WeightsError(
            f"weight file {path} does not fit SAM {model}; it {_looks_like(tensors)} "
            f"({str(error).splitlines()[-1].strip()[:120]})"
        ) from error
    network.eval()  # only now: TinyViT draws its position biases from its weights here


def _looks_like(tensors: Mapping[str, Tensor]) -> str:
    for model, name, width in SIGNS:
        if name in tensors and tensors[name].shape[-1:] == (width,):
            return f"looks like {model}: set sam_model to that, or name the right file"
    return "belongs to another network"
