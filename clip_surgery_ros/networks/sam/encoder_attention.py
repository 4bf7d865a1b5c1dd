"""Forms of attention with decomposed relative positions, as SAM's image encoder has it.

The scores are ``score(i, j) = s q_i k_j + q_i Rh[row(i), row(j)] + q_i Rw[column(i), column(j)]``
(MViTv2, Li et al. 2022). Written out, a global layer moves H x 4096 x 4096 scores through memory
several times. Here they stay inside torch's fused attention or in a processor's cache.

Shapes: B images (or windows), n heads, h w the grid that attends, N = h * w, d head width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_surgery_ros.arithmetic.graphs import reads
from clip_surgery_ros.arithmetic.layers import ComputeTarget, is_onednn_available, onednn_product


class AttentionForm(Protocol):
    """Computes attention with decomposed relative positions."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the softmax over keys of ``d^-1/2 q k + rows + columns``, times ``v``.

        :param q: (B, n, N, d), as ``k`` and ``v``.
        :param rows: (B, n, h, w, h), added to the scores of a query and each key row.
        :param columns: (B, n, h, w, w), added to the scores of a query and each key column.
        :returns: (B, N, n * d).
        """


@dataclass(frozen=True)
class ExplicitAttention:
    """Computes all scores, as segment-anything does; correct on every device."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        h, w = rows.shape[2:4]
        scores = ((q * q.shape[-1] ** -0.5) @ k.mT).unflatten(-1, (h, w)).unflatten(2, (h, w))
        scores = scores + rows[..., :, None] + columns[..., None, :]  # (B, n, h, w, h, w)
        attention = scores.flatten(4).flatten(2, 3).softmax(dim=-1)  # (B, n, N, N)
        return (attention @ v).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class FoldedAttention:
    """Appends the positions to queries and keys, for one call of the fused kernel.

    With ``Q = [s q, rows, columns]`` and ``K = [k, onehot(row), onehot(column)]``, ``Q K^T`` is
    the score with its positions. The fused kernels need V as wide as Q and K, so zeros are
    appended to V.

    :param multiple: the width is padded with zeros to a multiple of this.
    """

    multiple: int = 16

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        queries, keys = _folded(q, k, rows, columns, self.multiple)
        values = F.pad(v, (0, keys.shape[-1] - v.shape[-1]))
        out = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return out[..., : v.shape[-1]].transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class WideFoldedAttention:
    """:class:`FoldedAttention` by one kernel of torch, for values narrower than queries.

    On Hopper cuDNN has a kernel for queries and keys of 192 channels and values of 128, which are
    those of SAM's global layers: 64 of a head, 64 rows and 64 columns. (Not measured.)

    :param backend: the kernel; it raises RuntimeError where it cannot compute.
    """

    backend: SDPBackend = SDPBackend.CUDNN_ATTENTION

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        queries, keys = _folded(q, k, rows, columns, multiple=64)
        values = F.pad(v, (0, -v.shape[-1] % 128))
        with sdpa_kernel(self.backend):
            out = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return out[..., : v.shape[-1]].transpose(1, 2).flatten(2)


def _folded(
    q: Tensor, k: Tensor, rows: Tensor, columns: Tensor, multiple: int
) -> tuple[Tensor, Tensor]:
    """Return the (B, n, N, D) queries and keys of :class:`FoldedAttention`."""
    (h, w), d = rows.shape[2:4], q.shape[-1]
    used = d + h + w
    # Filled in place: every further copy costs as much as the product.
    queries, keys = (q.new_empty(*q.shape[:3], used + -used % multiple) for _ in range(2))
    torch.mul(q, d**-0.5, out=queries[..., :d])
    queries[..., d : d + h] = rows.flatten(2, 3)
    queries[..., d + h : used] = columns.flatten(2, 3)
    keys[..., :d] = k
    keys[..., d:used] = reads(_one_hot_positions(h, w, k.dtype, k.device))
    queries[..., used:], keys[..., used:] = 0, 0
    return queries, keys


@dataclass(frozen=True)
class ChunkedAttention:
    """Lets the fused kernel add the positions from a small buffer, one chunk of queries at a time.

    :param elements: size of the buffer in scores; small enough for a cache.
    """

    elements: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format)
        buffer = ScoreBuffer(rows, self.elements)
        for part, query, line in buffer.chunks:
            mask = buffer.positions(rows[line], columns[line])  # (b, n, lines * w, N)
            attended = F.scaled_dot_product_attention(
                q[(*part, query)], k[part], v[part], attn_mask=mask
            )
            out[part[0], query, part[1]] = attended.transpose(1, 2)
        return out.flatten(2)


@dataclass(frozen=True)
class ProductAttention:
    """Computes scores by batched matrix products in a small buffer, a chunk of queries at a time.

    Faster than torch's fused kernels in bfloat16 on processors without AMX, and sometimes in
    float32.

    :param elements: size of the buffer in scores; small enough for a cache.
    :param folded: add the positions as :class:`FoldedAttention` does: more products, fewer sums.
    """

    elements: int
    folded: bool

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format)
        buffer = ScoreBuffer(rows, self.elements)
        if self.folded:
            q, k = _folded(q, k, rows, columns, multiple=32)
        else:
            q, k = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous()
        v = v.contiguous()
        for part, query, line in buffer.chunks:
            if self.folded:
                scores = buffer.scores(rows[line])
            else:
                scores = buffer.positions(rows[line], columns[line])
            queries, keys, values, sums = (
                x.flatten(0, 1) for x in (q[(*part, query)], k[part], v[part], scores)
            )
            sums.baddbmm_(queries, keys.mT, beta=0 if self.folded else 1)
            attended = torch.bmm(torch.softmax(sums, dim=-1, out=sums), values)
            out[part[0], query, part[1]] = attended.unflatten(0, scores.shape[:2]).transpose(1, 2)
        return out.flatten(2)


@dataclass(frozen=True)
class HeadwiseAttention:
    """Computes scores with oneDNN's products, one head and one chunk of its queries at a time.

    Faster on AMD's processors, where oneDNN multiplies float32 faster than torch's kernels.

    :param elements: scores of a chunk; at least those of one grid row.
    """

    elements: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format)
        q, k, v = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
        batch, heads, h, w = rows.shape[:4]
        lines = max(1, min(h, self.elements // (w * h * w)))
        for b, n, r in itertools.product(range(batch), range(heads), range(0, h, lines)):
            query, line = slice(r * w, (r + lines) * w), slice(r, r + lines)
            scores = onednn_product(q[b, n, query], k[b, n])  # (lines * w, N)
            grid = scores.view(-1, w, h, w)
            grid += rows[b, n, line][..., :, None]
            grid += columns[b, n, line][..., None, :]
            torch.softmax(scores, dim=-1, out=scores)
            out[b, query, n] = onednn_product(scores, v[b, n].mT)
        return out.flatten(2)


Slices = tuple[slice, ...]


class ScoreBuffer:
    """Memory for the scores of a chunk of queries, reused for each chunk.

    :param rows: (B, n, h, w, h).
    :param elements: size in scores; at least one grid row fits.
    """

    def __init__(self, rows: Tensor, elements: int) -> None:
        self._shape = batch, heads, h, w = rows.shape[:4]
        line = w * h * w
        # Whole windows first, then heads, then rows of the grid.
        windows = min(batch, max(1, elements // (heads * h * line)))
        part = heads if windows > 1 else min(heads, max(1, elements // (h * line)))
        lines = h if part > 1 else min(h, max(1, elements // line))
        self.steps = windows, part, lines
        """Windows, heads and grid rows of a chunk."""
        self._memory = rows.new_empty(windows * part * lines * line)

    @property
    def chunks(self) -> Iterator[tuple[Slices, slice, Slices]]:
        """Slices of each chunk: windows and heads; queries; windows, heads and grid rows."""
        (batch, heads, h, w), (windows, part_of_heads, lines) = self._shape, self.steps
        for b in range(0, batch, windows):
            for n in range(0, heads, part_of_heads):
                part = (slice(b, b + windows), slice(n, n + part_of_heads))
                for r in range(0, h, lines):
                    yield part, slice(r * w, (r + lines) * w), (*part, slice(r, r + lines))

    def scores(self, rows: Tensor) -> Tensor:
        """Return the (b, n, lines * w, N) buffer of a chunk, not initialised."""
        return self._view(rows).flatten(4).flatten(2, 3)

    def positions(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return (b, n, lines * w, N) scores that hold only the positions."""
        torch.add(rows[..., :, None], columns[..., None, :], out=self._view(rows))
        return self.scores(rows)

    def _view(self, rows: Tensor) -> Tensor:
        """Return the buffer as (b, n, lines, w, h, w)."""
        shape = (*rows.shape, self._shape[3])
        return self._memory[: math.prod(shape)].view(shape)


def candidate_forms(target: ComputeTarget) -> tuple[AttentionForm, ...]:
    """Return the forms worth timing: chunks for the CPU's L2 and L3 caches, larger for GPUs."""
    if target.device.type != "cpu":
        chunked = ChunkedAttention(2**24), ChunkedAttention(2**27)
        return *chunked, FoldedAttention(), WideFoldedAttention()
    return (
        ChunkedAttention(2**20),
        ChunkedAttention(2**22),
        FoldedAttention(),
        ProductAttention(2**22, folded=False),
        ProductAttention(2**22, folded=True),
        *([HeadwiseAttention(2**21)] if is_onednn_available(target) else []),
    )


@lru_cache(maxsize=8)
def _one_hot_positions(h: int, w: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (h * w, h + w): each key's row and column as one-hot vectors.

    Kept for the global grid and the windows of a few networks, as every layer needs them.
    """
    rows = torch.eye(h, dtype=dtype, device=device).repeat_interleave(w, dim=0)
    columns = torch.eye(w, dtype=dtype, device=device).repeat(h, 1)
    return torch.cat([rows, columns], dim=-1)
