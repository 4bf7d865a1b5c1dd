"""Attention by torch's fused kernel, or by matrix products where those are faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.arithmetic.layers import (
    ComputeTarget,
    is_close,
    is_onednn_available,
    noise,
    onednn_product,
)
from clip_surgery_ros.arithmetic.timing import cached_choice, fastest

BUFFER_SCORES = 2**22
"""Attention scores in the buffer: 8 MB in bfloat16, which fits into a processor's cache. Half or
twice as many were not faster."""

AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Computes ``softmax(d^-1/2 q k^T) v``, (B, heads, M, d), for queries of the same shape; keys and
values are (B, heads, N, d)."""


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention with torch's fused kernel; see :data:`AttentionFunction`."""
    return F.scaled_dot_product_attention(query, key, value)


def product_attention(
    query: Tensor, key: Tensor, value: Tensor, elements: int = BUFFER_SCORES
) -> Tensor:
    """Compute attention by batched matrix products; see :data:`AttentionFunction`.

    :param elements: size of the buffer in scores; the scores of one head always fit.
    """
    queries, keys, values = (
        x.flatten(0, 1) for x in (query * query.shape[-1] ** -0.5, key, value)
    )
    total_heads, query_count, key_count = len(queries), queries.shape[1], keys.shape[1]
    step = max(1, min(total_heads, elements // (query_count * key_count)))
    buffer = queries.new_empty(step, query_count, key_count)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for start in range(0, total_heads, step):
        batch = slice(start, start + step)
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
    by_head = (x.contiguous().flatten(0, 1) for x in (scaled, key, value, out))
    for q, k, v, attended in zip(*by_head, strict=True):
        scores = onednn_product(q, k)
        attended.copy_(onednn_product(torch.softmax(scores, dim=-1, out=scores), v.mT))
    return out


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split (B, N, C) into (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend_heads(attend: AttentionFunction, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention of (B, heads, N, d) and concatenate the heads: (B, N, C)."""
    return attend(query, key, value).transpose(1, 2).flatten(2)


@cached_choice
@torch.inference_mode()
def fastest_attention(target: ComputeTarget, shape: tuple[int, int, int]) -> AttentionFunction:
    """Return the function of this module that is fastest on this machine.

    All of them run once for a comparison with torch's fused kernel, and are timed if they agree
    with it. The fused kernel uses MKL in float32, which is slow on AMD's processors; in bfloat16
    it is fast on processors with AMX only.

    :param shape: heads, N and d.
    """
    if not is_onednn_available(target):
        return fused_attention
    x = target.move(noise(1, *shape))
    runs = {
        attend: partial(attend, x, x, x)
        for attend in (fused_attention, product_attention, headwise_attention)
    }
    expected = fused_attention(x, x, x)
    correct = {attend: run for attend, run in runs.items() if is_close(run(), expected)}
    return fastest(f"attention of {shape} in {target}", correct, target.device)
