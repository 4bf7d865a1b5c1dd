"""Attention by products against torch's fused kernel."""

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
    """(batch, count, tokens, width), strided as a network's projection leaves them."""
    generator = torch.Generator().manual_seed(tokens)
    return torch.randn(batch, tokens, count, width, generator=generator).transpose(1, 2)


@pytest.mark.parametrize("elements", [1, 2 * 17 * 17, 2**22])
@pytest.mark.parametrize("asked", [1, 17])
def test_products_are_what_the_fused_kernel_computes(elements: int, asked: int) -> None:
    """With room for less than one head's scores, for two heads', and for all."""
    query, key, value = heads(2, asked), heads(2, 17) + 0.1, heads(2, 17) - 0.1
    found = product_attention(query, key, value, elements)
    torch.testing.assert_close(found, fused_attention(query, key, value), atol=1e-6, rtol=0)


@needs_onednn(torch.float32)
@pytest.mark.parametrize("asked", [1, 17])
def test_products_of_one_head_after_the_other_are_too(asked: int) -> None:
    query, key, value = heads(2, asked), heads(2, 17) + 0.1, heads(2, 17) - 0.1
    found = headwise_attention(query, key, value)
    torch.testing.assert_close(found, fused_attention(query, key, value), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "attend",
    [
        fused_attention,
        product_attention,
        pytest.param(headwise_attention, marks=needs_onednn(torch.bfloat16)),
    ],
)
def test_bfloat16_is_as_near_to_float32_either_way(attend: AttentionFunction) -> None:
    query, key, value = heads(1, 65), 2 * heads(1, 65), heads(1, 65)
    exact = fused_attention(query, key, value)
    low = [x.bfloat16() for x in (query, key, value)]
    torch.testing.assert_close(attend(*low).float(), exact, atol=2e-2, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_the_fastest_is_taken_and_on_a_gpu_the_fused(dtype: torch.dtype) -> None:
    shape = (2, 50, 16)
    found = fastest_attention(ComputeTarget(CPU, dtype), shape)
    assert found in (fused_attention, product_attention, headwise_attention)
    assert (
        fastest_attention(ComputeTarget(CPU, dtype), shape) is found
    )  # so that results stay the same
    assert fastest_attention(ComputeTarget(GPU, dtype), shape) is fused_attention
