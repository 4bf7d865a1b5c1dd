"""Linear layers of oneDNN and transformer blocks compute the same as torch and open_clip."""

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
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "gelu", "swish"])
def test_onednn_layers_equal_torch(dtype: torch.dtype, activation: str) -> None:
    layer, x = nn.Linear(96, 160).to(dtype), torch.randn(3, 7, 96).to(dtype)
    for bias in (layer.bias.detach(), None):
        plain = Linear(layer.weight.detach(), bias, activation)
        torch.testing.assert_close(
            OneDnnLinear.of(plain)(x), plain(x), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_onednn_layers_with_wrong_results_are_not_used(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    def scale_weight(layer: Linear) -> Linear:
        return replace(layer, weight=1.1 * layer.weight)

    assert not is_onednn_faster(ComputeTarget(CPU, dtype), scale_weight)
    assert "oneDNN's linear layers are wrong" in caplog.text


@pytest.mark.parametrize("tokens", [1, 1025, 2500])
def test_mlp_in_chunks_equals_torch(tokens: int) -> None:
    target, norm = ComputeTarget(CPU, torch.float32), nn.LayerNorm(8)
    first, second = nn.Linear(8, 32), nn.Linear(32, 8)
    mlp = Mlp(
        Norm.of(norm, target),
        fast_linear(first.weight, first.bias, target, "gelu"),
        fast_linear(second.weight, second.bias, target),
    )
    x = noise(tokens, 8)
    with torch.no_grad():
        expected = x + second(nn.functional.gelu(first(norm(x))))
    mlp.add_to(x)
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer_scale", [None, 0.3])
@pytest.mark.parametrize(
    "activation", [QuickGELU, nn.GELU, partial(nn.GELU, approximate="tanh"), nn.ReLU]
)
def test_transformer_block_equals_open_clip(
    activation: type[nn.Module], layer_scale: float | None
) -> None:
    torch.manual_seed(0)
    block = ResidualAttentionBlock(
        64, 2, act_layer=activation, ls_init_value=layer_scale
    ).requires_grad_(False)
    for parameter in block.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    x = noise(2, 17, 64)
    result = TransformerBlock.of(block, ComputeTarget(CPU, torch.float32))(fused_attention, x)
    torch.testing.assert_close(result, block(x), atol=1e-5, rtol=0)
