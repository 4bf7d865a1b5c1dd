"""Attention by matrix products agrees with torch's fused kernel."""

from __future__ import annotations

import pytest
import torch
from onednn import needs_onednn
from torch import Tensor

from clip_surgery_ros.arithmetic.attention import (
    AttentionFunction,
    fastest_attention,
    fused_attention,
    headwise_attention,
    product_attention,
)
from clip_surgery_ros.arithmetic.layers import ComputeTarget

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def heads(batch: int, tokens: int, count: int = 3, width: int = 16) -> Tensor:
    """Return (batch, count, tokens, width) with the strides of a network's projection."""
    generator = torch.Generator().manual_seed(tokens)
    return torch.randn(batch, tokens, count, width, generator=generator).transpose(1, 2)


@pytest.mark.parametrize("elements", [1, 2 * 17 * 17, 2**22])
@pytest.mark.parametrize("queries", [1, 17])
def test_product_attention_equals_the_fused_kernel(elements: int, queries: int) -> None:
    """The memory limit fits less than one head, two heads, or all heads."""
    query, key, value = heads(2, queries), heads(2, 17) + 0.1, heads(2, 17) - 0.1
    result = product_attention(query, key, value, elements)
    torch.testing.assert_close(result, fused_attention(query, key, value), atol=1e-6, rtol=0)


@needs_onednn(torch.float32)
@pytest.mark.parametrize("queries", [1, 17])
def test_headwise_attention_equals_the_fused_kernel(queries: int) -> None:
    query, key, value = heads(2, queries), heads(2, 17) + 0.1, heads(2, 17) - 0.1
    result = headwise_attention(query, key, value)
    torch.testing.assert_close(result, fused_attention(query, key, value), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "attend",
    [
        fused_attention,
        product_attention,
        pytest.param(headwise_attention, marks=needs_onednn(torch.bfloat16)),
    ],
)
def test_every_attention_in_bfloat16_is_close_to_float32(attend: AttentionFunction) -> None:
    query, key, value = heads(1, 65), 2 * heads(1, 65), heads(1, 65)
    exact = fused_attention(query, key, value)
    low = [x.bfloat16() for x in (query, key, value)]
    torch.testing.assert_close(attend(*low).float(), exact, atol=2e-2, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fastest_attention_is_constant_on_cpu_and_fused_on_gpu(dtype: torch.dtype) -> None:
    shape = (2, 50, 16)
    result = fastest_attention(ComputeTarget(CPU, dtype), shape)
    assert result in (fused_attention, product_attention, headwise_attention)
    assert (
        fastest_attention(ComputeTarget(CPU, dtype), shape) is result
    )  # or else results would change
    assert fastest_attention(ComputeTarget(GPU, dtype), shape) is fused_attention
