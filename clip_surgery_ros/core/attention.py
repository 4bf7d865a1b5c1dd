"""Attention as torch's fused kernel computes it, or by matrix products where those are faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.core.timing import fastest

BUFFER = 2**22
"""Scores held at a time: 8 MB in bfloat16, which caches hold; half or twice as many, no faster."""
_TRIAL = (1, 12, 1025, 64)
"""ViT-B/16 at 512 pixels."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``softmax(d^-1/2 q k^T) v`` of queries (B, heads, M, d), keys and values (B, heads, N, d)."""


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """:data:`Attend` by torch's kernel."""
    return F.scaled_dot_product_attention(query, key, value)


def by_products(query: Tensor, key: Tensor, value: Tensor, elements: int = BUFFER) -> Tensor:
    """:data:`Attend` with the scores written out, those of a few heads at a time.

    :param elements: scores held at a time, but those of a head at least.
    """
    queries, keys, values = (
        x.flatten(0, 1) for x in (query * query.shape[-1] ** -0.5, key, value)
    )
    heads, asked, known = len(queries), queries.shape[1], keys.shape[1]
    step = max(1, min(heads, elements // (asked * known)))
    buffer = queries.new_empty(step, asked, known)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    for first in range(0, heads, step):
        some = slice(first, first + step)
        scores = buffer[: len(queries[some])]
        torch.bmm(queries[some], keys[some].mT, out=scores)
        torch.bmm(torch.softmax(scores, dim=-1, out=scores), values[some], out=out[some])
    return out.view_as(query)


@torch.inference_mode()
def fastest_attention(device: torch.device, dtype: torch.dtype) -> Attend:
    """The faster of both, timed for bfloat16 on CPUs: torch's fused kernel knows AMX, but not the
    instructions for bfloat16 of processors without it (AVX-512, Zen 4 and later).
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        return fused
    noise = torch.randn(_TRIAL, generator=torch.Generator().manual_seed(0)).to(dtype)
    return fastest({form: partial(form, noise, noise, noise) for form in (fused, by_products)})
