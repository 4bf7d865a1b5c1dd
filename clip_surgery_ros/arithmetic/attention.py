"""Attention by torch's fused kernel, or by matrix products where those are faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.arithmetic.layers import (
    ComputeTarget,
    close,
    is_onednn_available,
    noise,
    onednn_product,
)
from clip_surgery_ros.arithmetic.timing import fastest

BUFFER = 2**22
"""Attention scores kept at a time: 8 MB in bfloat16, which fit into caches. Half or twice as many
were not faster."""

AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Computes ``softmax(d^-1/2 q k^T) v`` of queries (B, heads, M, d), keys and values
(B, heads, N, d)."""


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention with torch's fused kernel; see :data:`AttentionFunction`."""
    return F.scaled_dot_product_attention(query, key, value)


def product_attention(query: Tensor, key: Tensor, value: Tensor, elements: int = BUFFER) -> Tensor:
    """Compute attention by batched matrix products; see :data:`AttentionFunction`.

    :param elements: attention scores kept at a time; at least those of one head.
    """
    queries, keys, values = (
        x.flatten(0, 1) for x in (query * query.shape[-1] ** -0.5, key, value)
    )
    heads, query_count, key_count = len(queries), queries.shape[1], keys.shape[1]
    step = max(1, min(heads, elements // (query_count * key_count)))
    buffer = queries.new_empty(step, query_count, key_count)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for first in range(0, heads, step):
        batch = slice(first, first + step)
        scores = buffer[: len(queries[batch])]
        torch.bmm(queries[batch], keys[batch].mT, out=scores)
        torch.bmm(torch.softmax(scores, dim=-1, out=scores), values[batch], out=out[batch])
    return out.view_as(query)


def headwise_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention with oneDNN's products, one head at a time; see
    :data:`AttentionFunction`.
    """
    scaled = query * query.shape[-1] ** -0.5
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    heads = (x.contiguous().flatten(0, 1) for x in (scaled, key, value, out))
    for q, k, v, mixed in zip(*heads, strict=True):
        scores = onednn_product(q, k)
        mixed.copy_(onednn_product(torch.softmax(scores, dim=-1, out=scores), v.mT))
    return out


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend_heads(attend: AttentionFunction, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention, heads side by side again: (B, N, C)."""
    return attend(query, key, value).transpose(1, 2).flatten(2)


@cache
@torch.inference_mode()
def fastest_attention(target: ComputeTarget, shape: tuple[int, int, int]) -> AttentionFunction:
    """The fastest of these, timed; one that is wrong here is left out.

    torch's fused kernel is made for MKL's products in float32, which are slow on AMD's
    processors, and for AMX in bfloat16.

    :param shape: heads, N and d.
    """
    if not is_onednn_available(target):
        return fused_attention
    x = target.move(noise(1, *shape))
    runs = {
        form: partial(form, x, x, x)
        for form in (fused_attention, product_attention, headwise_attention)
    }
    expected = fused_attention(x, x, x)
    return fastest({form: run for form, run in runs.items() if close(run(), expected)})
