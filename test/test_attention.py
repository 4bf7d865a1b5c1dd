"""Attention by products against torch's fused kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.core import attention
from clip_surgery_ros.core.attention import attend, by_products, products_are_faster


def heads(batch: int, tokens: int, count: int = 3, width: int = 16) -> Tensor:
    """(batch, count, tokens, width), strided as a network's projection leaves them."""
    generator = torch.Generator().manual_seed(tokens)
    return torch.randn(batch, tokens, count, width, generator=generator).transpose(1, 2)


@pytest.mark.parametrize("buffer", [1, 2 * 17 * 17, 2**22])
@pytest.mark.parametrize("asked", [1, 17])
def test_products_are_what_the_fused_kernel_computes(
    monkeypatch: pytest.MonkeyPatch, buffer: int, asked: int
) -> None:
    """With a buffer of less than one head's scores, of two heads', and of all."""
    monkeypatch.setattr(attention, "BUFFER", buffer)
    query, key, value = heads(2, asked), heads(2, 17) + 0.1, heads(2, 17) - 0.1
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(by_products(query, key, value), expected, atol=1e-6, rtol=0)


def test_bfloat16_is_as_near_to_float32_by_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = heads(1, 65), 2 * heads(1, 65), heads(1, 65)
    exact = F.scaled_dot_product_attention(query, key, value)
    low = [x.bfloat16() for x in (query, key, value)]
    for faster in (True, False):
        monkeypatch.setattr(attention, "products_are_faster", lambda faster=faster: faster)
        torch.testing.assert_close(attend(*low).float(), exact, atol=2e-2, rtol=0)


def test_which_is_faster_is_timed_once_and_only_for_bfloat16() -> None:
    products_are_faster.cache_clear()
    attend(*(heads(1, 5),) * 3)
    assert products_are_faster.cache_info().misses == 0
    for _ in range(2):
        attend(*(heads(1, 5).bfloat16(),) * 3)
    assert products_are_faster.cache_info().misses == 1
