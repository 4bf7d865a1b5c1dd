"""Attention by products against torch's fused kernel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clip_surgery_ros.core.attention import by_products, fastest_attention, fused

CPU = torch.device("cpu")


def heads(batch: int, tokens: int, count: int = 3, width: int = 16) -> Tensor:
    """(batch, count, tokens, width), strided as a network's projection leaves them."""
    generator = torch.Generator().manual_seed(tokens)
    return torch.randn(batch, tokens, count, width, generator=generator).transpose(1, 2)


@pytest.mark.parametrize("elements", [1, 2 * 17 * 17, 2**22])
@pytest.mark.parametrize("asked", [1, 17])
def test_products_are_what_the_fused_kernel_computes(elements: int, asked: int) -> None:
    """With room for less than one head's scores, for two heads', and for all."""
    query, key, value = heads(2, asked), heads(2, 17) + 0.1, heads(2, 17) - 0.1
    found = by_products(query, key, value, elements)
    torch.testing.assert_close(found, fused(query, key, value), atol=1e-6, rtol=0)


def test_bfloat16_is_as_near_to_float32_by_either_way() -> None:
    query, key, value = heads(1, 65), 2 * heads(1, 65), heads(1, 65)
    exact = fused(query, key, value)
    low = [x.bfloat16() for x in (query, key, value)]
    for attend in (fused, by_products):
        torch.testing.assert_close(attend(*low).float(), exact, atol=2e-2, rtol=0)


def test_only_bfloat16_on_a_cpu_may_go_another_way_than_the_fused() -> None:
    assert fastest_attention(CPU, torch.float32) is fused
    assert fastest_attention(torch.device("cuda:0"), torch.bfloat16) is fused
    assert fastest_attention(CPU, torch.bfloat16) in (fused, by_products)
