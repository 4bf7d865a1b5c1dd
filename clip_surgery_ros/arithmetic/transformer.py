"""The blocks of a CLIP's image tower, with weights in a memory layout that is fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.attention import AttentionFunction, attend_heads, split_heads
from clip_surgery_ros.arithmetic.layers import ComputeTarget, Layer, Mlp, Norm, fast_linear

QUICK_GELU = 1.702
"""OpenAI's networks approximate GELU by ``x sigmoid(1.702 x)``."""


@dataclass(frozen=True)
class TransformerBlock:
    """open_clip's ``ResidualAttentionBlock``: attention and an MLP, each after a LayerNorm.

    :param qkv: computes queries, keys and values, concatenated.
    :param out: projects the attended values, which are added to the block's input.
    """

    norm: Norm
    qkv: Layer
    out: Layer
    heads: int
    mlp: Mlp

    @classmethod
    def of(cls, block: Any, target: ComputeTarget) -> TransformerBlock:
        """Convert a block of open_clip; layers that need no conversion share its weights."""
        attention = block.attn
        return cls(
            norm=Norm.of(block.ln_1, target),
            qkv=fast_linear(attention.in_proj_weight, attention.in_proj_bias, target),
            out=_scaled(attention.out_proj, target, block.ls_1),
            heads=attention.num_heads,
            mlp=_mlp(block, target),
        )

    def __call__(self, attend: AttentionFunction, x: Tensor) -> Tensor:
        """Compute the block as the network was trained: (B, N, C) to (B, N, C)."""
        return self.after(x, attend_heads(attend, *self.project(self.norm(x))))

    def project(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of the normalised (B, N, C) input.

        :returns: each (B, heads, N, d).
        """
        query, key, value = self.qkv(z).chunk(3, dim=-1)
        return (
            split_heads(query, self.heads),
            split_heads(key, self.heads),
            split_heads(value, self.heads),
        )

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output for its input and its attended values, both (B, N, C)."""
        x = x + self.out(attended)
        self.mlp.add_to(x)
        return x


def _mlp(block: Any, target: ComputeTarget) -> Mlp:
    expand, activation, shrink = block.mlp.c_fc, block.mlp.gelu, block.mlp.c_proj
    norm = Norm.of(block.ln_2, target)
    if _are_equal(activation, lambda x: x * torch.sigmoid(QUICK_GELU * x)):
        # QuickGELU is swish(a x) / a. The first layer multiplies by a, the second divides by it.
        weight, bias = expand.weight * QUICK_GELU, expand.bias * QUICK_GELU
        wide = fast_linear(weight, bias, target, "swish")
        return Mlp(norm, wide, _scaled(shrink, target, block.ls_2, 1 / QUICK_GELU))
    is_gelu = _are_equal(activation, F.gelu)
    wide = fast_linear(expand.weight, expand.bias, target, "gelu" if is_gelu else "none")
    narrow = _scaled(shrink, target, block.ls_2)
    return Mlp(norm, wide, narrow) if is_gelu else Mlp(norm, wide, narrow, activation)


def _scaled(
    layer: nn.Linear, target: ComputeTarget, layer_scale: Any, factor: float = 1.0
) -> Layer:
    """Return a layer that includes the LayerScale after it, if there is one.

    :param factor: the layer's input is multiplied by it.
    """
    weight, bias = layer.weight, layer.bias
    if hasattr(layer_scale, "gamma"):
        weight, bias = weight * layer_scale.gamma[:, None], bias * layer_scale.gamma
    return fast_linear(weight if factor == 1 else weight * factor, bias, target)


def _are_equal(first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> bool:
    """Whether two activations compute the same."""
    x = torch.linspace(-6, 6, 49)
    return torch.allclose(first(x), second(x), atol=1e-6)
