"""Linear layers by oneDNN as by torch, and blocks of a CLIP with every activation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from onednn import needs_onednn
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import nn

from clip_surgery_ros.arithmetic.attention import fused_attention
from clip_surgery_ros.arithmetic.layers import (
    ComputeTarget,
    Linear,
    Mlp,
    Norm,
    OneDnnLinear,
    fast_linear,
    is_onednn_faster,
    noise,
)
from clip_surgery_ros.arithmetic.transformer import TransformerBlock

CPU = torch.device("cpu")
DTYPES = [
    pytest.param(dtype, marks=needs_onednn(dtype)) for dtype in (torch.float32, torch.bfloat16)
]
WITHIN = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "gelu", "swish"])
def test_layers_by_onednn_equal_torch_s(dtype: torch.dtype, activation: str) -> None:
    layer, x = nn.Linear(96, 160).to(dtype), torch.randn(3, 7, 96).to(dtype)
    for bias in (layer.bias.detach(), None):
        plain = Linear(layer.weight.detach(), bias, activation)
        torch.testing.assert_close(
            OneDnnLinear.of(plain)(x), plain(x), atol=WITHIN[dtype], rtol=WITHIN[dtype]
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_layers_by_onednn_are_refused(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(layer: Linear) -> Linear:
        return replace(layer, weight=1.1 * layer.weight)

    assert not is_onednn_faster(ComputeTarget(CPU, dtype), wrong)
    assert "oneDNN's linear layers are wrong" in caplog.text


@pytest.mark.parametrize("tokens", [1, 1025, 2500])
def test_an_mlp_adds_the_same_in_chunks(tokens: int) -> None:
    target, norm = ComputeTarget(CPU, torch.float32), nn.LayerNorm(8)
    one, other = nn.Linear(8, 32), nn.Linear(32, 8)
    mlp = Mlp(
        Norm.of(norm, target),
        fast_linear(one.weight, one.bias, target, "gelu"),
        fast_linear(other.weight, other.bias, target),
    )
    x = noise(tokens, 8)
    with torch.no_grad():
        expected = x + other(nn.functional.gelu(one(norm(x))))
    mlp.add_to(x)
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer_scale", [None, 0.3])
@pytest.mark.parametrize(
    "activation", [QuickGELU, nn.GELU, partial(nn.GELU, approximate="tanh"), nn.ReLU]
)
def test_a_block_computes_what_open_clip_s_does(
    activation: type[nn.Module], layer_scale: float | None
) -> None:
    torch.manual_seed(0)
    block = ResidualAttentionBlock(
        64, 2, act_layer=activation, ls_init_value=layer_scale
    ).requires_grad_(False)
    for parameter in block.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    x = noise(2, 17, 64)
    found = TransformerBlock.of(block, ComputeTarget(CPU, torch.float32))(fused_attention, x)
    torch.testing.assert_close(found, block(x), atol=1e-5, rtol=0)
