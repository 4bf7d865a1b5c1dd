"""Attention as torch's fused kernel computes it, or by matrix products where those are faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

BUFFER = 2**22
"""Scores held at a time: 8 MB in bfloat16, which caches hold; half or twice as many, no faster."""
_TRIAL = (1, 12, 1025, 64)
"""ViT-B/16 at 512 pixels."""
_ROUNDS = 3


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``softmax(d^-1/2 q k^T) v``.

    :param query: (B, heads, M, d).
    :param key: (B, heads, N, d), as ``value``.
    :returns: (B, heads, M, d).
    """
    bfloat16 = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if bfloat16 and products_are_faster():
        return by_products(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """:func:`attend` with the scores written out, those of a few heads at a time."""
    queries, keys, values = (
        x.flatten(0, 1) for x in (query * query.shape[-1] ** -0.5, key, value)
    )
    heads, asked, known = len(queries), queries.shape[1], keys.shape[1]
    step = max(1, min(heads, BUFFER // (asked * known)))
    buffer = queries.new_empty(step, asked, known)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for first in range(0, heads, step):
        some = slice(first, first + step)
        scores = buffer[: len(queries[some])]
        torch.bmm(queries[some], keys[some].mT, out=scores)
        torch.bmm(torch.softmax(scores, dim=-1, out=scores), values[some], out=out[some])
    return out.view_as(query)


@lru_cache
def products_are_faster() -> bool:
    """Whether they are in bfloat16 on this processor, timed once: torch's fused kernel knows AMX,
    but not the instructions for bfloat16 of processors without it (AVX-512, Zen 4 and later).
    """
    with torch.inference_mode():
        noise = torch.randn(_TRIAL, generator=torch.Generator().manual_seed(0)).bfloat16()
        return _seconds(by_products, noise) < _seconds(F.scaled_dot_product_attention, noise)


def _seconds(form: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor) -> float:
    """The shortest of a few runs; the first warms up."""
    times = []
    for _ in range(1 + _ROUNDS):
        start = time.perf_counter()
        form(x, x, x)
        times.append(time.perf_counter() - start)
    return min(times[1:])
