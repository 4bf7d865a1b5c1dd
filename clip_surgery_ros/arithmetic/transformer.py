"""The blocks of a CLIP's image tower, on weights laid out for speed."""

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
"""``x sigmoid(1.702 x)`` is what OpenAI's networks have for GELU."""


@dataclass(frozen=True)
class TransformerBlock:
    """``ResidualAttentionBlock`` of open_clip: attention and an MLP, each after a LayerNorm.

    :param qkv: queries, keys and values one after the other.
    :param out: what mixed values add to the block's input.
    """

    norm: Norm
    qkv: Layer
    out: Layer
    heads: int
    mlp: Mlp

    @classmethod
    def of(cls, block: Any, target: ComputeTarget) -> TransformerBlock:
        """From open_clip's; layers that need no other layout share its weights."""
        attention = block.attn
        return cls(
            norm=Norm.of(block.ln_1, target),
            qkv=fast_linear(attention.in_proj_weight, attention.in_proj_bias, target),
            out=_scaled(attention.out_proj, target, block.ls_1),
            heads=attention.num_heads,
            mlp=_mlp(block, target),
        )

    def __call__(self, attend: AttentionFunction, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C), as the network was trained."""
        return self.after(x, attend_heads(attend, *self.project(self.norm(x))))

    def project(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the (B, N, C) normalised input, each (B, heads, N, d)."""
        query, key, value = self.qkv(z).chunk(3, dim=-1)
        return (
            split_heads(query, self.heads),
            split_heads(key, self.heads),
            split_heads(value, self.heads),
        )

    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The block's output for its input and its mixed values, both (B, N, C)."""
        x = x + self.out(mixed)
        self.mlp.add_to(x)
        return x


def _mlp(block: Any, target: ComputeTarget) -> Mlp:
    expand, activation, shrink = block.mlp.c_fc, block.mlp.gelu, block.mlp.c_proj
    norm = Norm.of(block.ln_2, target)
    if _equal(activation, lambda x: x * torch.sigmoid(QUICK_GELU * x)):
        # It is swish(a x) / a: the layers before and after it take their part of a.
        weight, bias = expand.weight * QUICK_GELU, expand.bias * QUICK_GELU
        wide = fast_linear(weight, bias, target, "swish")
        return Mlp(norm, wide, _scaled(shrink, target, block.ls_2, 1 / QUICK_GELU))
    gelu = _equal(activation, F.gelu)
    wide = fast_linear(expand.weight, expand.bias, target, "gelu" if gelu else "none")
    narrow = _scaled(shrink, target, block.ls_2)
    return Mlp(norm, wide, narrow) if gelu else Mlp(norm, wide, narrow, activation)


def _scaled(
    layer: nn.Linear, target: ComputeTarget, layer_scale: Any, factor: float = 1.0
) -> Layer:
    """A layer with the LayerScale after it, if that is one, and a factor of its input."""
    weight, bias = layer.weight, layer.bias
    if hasattr(layer_scale, "gamma"):
        weight, bias = weight * layer_scale.gamma[:, None], bias * layer_scale.gamma
    return fast_linear(weight if factor == 1 else weight * factor, bias, target)


def _equal(one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]) -> bool:
    """Whether two activations are the same."""
    x = torch.linspace(-6, 6, 49)
    return torch.allclose(one(x), other(x), atol=1e-6)
