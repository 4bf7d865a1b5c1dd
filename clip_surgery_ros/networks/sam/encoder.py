"""segment-anything's image encoder, computed faster and to the same numbers.

The network is that of Kirillov et al. 2023 (a ViTDet, Li et al. 2022): most blocks attend within
windows, a few everywhere, and every score carries decomposed relative positions (MViTv2, Li et
al. 2022): ``score(i, j) = s q_i k_j + q_i Rh[row(i), row(j)] + q_i Rw[column(i), column(j)]``.
Written out, a global layer moves H x 4096 x 4096 scores through memory several times. Here they
stay inside torch's fused attention or in a cache (:class:`FoldedAttention`,
:class:`ChunkedAttention`, :class:`ProductAttention`, :class:`HeadwiseAttention`); which form is
fastest depends on device, precision and size, so all are timed when the encoder is built, and
compared with segment-anything's own layer.

Shapes: B images (or windows), n heads, h w the grid that attends, N = h * w, d head width,
C = n * d.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import (
    Block,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.layers import (
    TOKENS,
    ComputeTarget,
    Layer,
    Mlp,
    Norm,
    fast_linear,
    is_onednn_available,
    noise,
    onednn_product,
)
from clip_surgery_ros.arithmetic.timing import fastest

_LOG = logging.getLogger(__name__)
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Error allowed at start-up, relative in norm; a wrong kernel is off by 0.1 to 1."""
_TRIAL_HEADS = 2


class AttentionForm(Protocol):
    """A way to compute attention with decomposed relative positions."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Softmax over keys of ``d^-1/2 q k + rows + columns``, times ``v``.

        :param q: (B, n, N, d), as ``k`` and ``v``.
        :param rows: (B, n, h, w, h), what a query adds to the scores of each key row.
        :param columns: (B, n, h, w, w), to those of each key column.
        :returns: (B, N, n * d).
        """


@dataclass(frozen=True)
class ExplicitAttention:
    """The scores written out, as segment-anything does; right wherever torch is."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        h, w = rows.shape[2:4]
        scores = ((q * q.shape[-1] ** -0.5) @ k.mT).unflatten(-1, (h, w)).unflatten(2, (h, w))
        scores = scores + rows[..., :, None] + columns[..., None, :]  # (B, n, h, w, h, w)
        attention = scores.flatten(4).flatten(2, 3).softmax(dim=-1)  # (B, n, N, N)
        return (attention @ v).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class FoldedAttention:
    """Positions folded into longer queries and keys of one fused call.

    With ``Q = [s q, rows, columns]`` and ``K = [k, onehot(row), onehot(column)]``, ``Q K^T`` is
    the score with its positions. The fused kernels want V as wide as Q and K: zeros fill it.

    :param multiple: the width is padded with zeros to a multiple of this.
    """

    multiple: int = 16

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See :class:`AttentionForm`."""
        queries, keys = _folded(q, k, rows, columns, self.multiple)
        values = F.pad(v, (0, keys.shape[-1] - v.shape[-1]))
        out = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return out[..., : v.shape[-1]].transpose(1, 2).flatten(2)


def _folded(
    q: Tensor, k: Tensor, rows: Tensor, columns: Tensor, multiple: int
) -> tuple[Tensor, Tensor]:
    """(B, n, N, D) queries and keys of :class:`FoldedAttention`."""
    (h, w), d = rows.shape[2:4], q.shape[-1]
    used = d + h + w
    # Filled part by part: every further copy of them costs as much as the product.
    queries, keys = (q.new_empty(*q.shape[:3], used + -used % multiple) for _ in range(2))
    torch.mul(q, d**-0.5, out=queries[..., :d])
    queries[..., d : d + h] = rows.flatten(2, 3)
    queries[..., d + h : used] = columns.flatten(2, 3)
    keys[..., :d] = k
    keys[..., d:used] = _one_hot_places(h, w, k)
    queries[..., used:], keys[..., used:] = 0, 0
    return queries, keys


@dataclass(frozen=True)
class ChunkedAttention:
    """Positions added by the fused kernel from a small buffer, a chunk of queries at a time.

    :param elements: scores whose positions the buffer holds; small enough for a cache.
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
    """Scores as batched matrix products into a small buffer, a chunk of queries at a time.

    Faster than torch's fused kernels on processors that multiply bfloat16 without AMX, which those
    kernels do not use, and at times in float32.

    :param elements: scores that the buffer holds; small enough for a cache.
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
    """Scores by oneDNN's products, for one head and a chunk of its queries at a time.

    Faster where oneDNN multiplies float32 faster than torch's kernels do: on AMD's processors.

    :param elements: scores of a chunk, but those of a grid row at least.
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
    """Memory for the scores of a chunk of queries, used again for each.

    :param rows: (B, n, h, w, h).
    :param elements: how many scores it holds at most, but those of a grid row at least.

    ``steps``: windows, heads and grid rows of a chunk.
    """

    def __init__(self, rows: Tensor, elements: int) -> None:
        self._shape = batch, heads, h, w = rows.shape[:4]
        line = w * h * w
        # Whole windows first, then heads, then rows of the grid.
        some = min(batch, max(1, elements // (heads * h * line)))
        few = heads if some > 1 else min(heads, max(1, elements // (h * line)))
        lines = h if few > 1 else min(h, max(1, elements // line))
        self.steps = some, few, lines
        self._memory = rows.new_empty(some * few * lines * line)

    @property
    def chunks(self) -> Iterator[tuple[Slices, slice, Slices]]:
        """Windows and heads; queries; windows, heads and grid rows of each chunk."""
        (batch, heads, h, w), (some, few, lines) = self._shape, self.steps
        for b in range(0, batch, some):
            for n in range(0, heads, few):
                part = (slice(b, b + some), slice(n, n + few))
                for r in range(0, h, lines):
                    yield part, slice(r * w, (r + lines) * w), (*part, slice(r, r + lines))

    def scores(self, rows: Tensor) -> Tensor:
        """(b, n, lines * w, N) of a chunk's ``rows``, with nothing in them yet."""
        return self._view(rows).flatten(4).flatten(2, 3)

    def positions(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(b, n, lines * w, N) scores with the positions alone."""
        torch.add(rows[..., :, None], columns[..., None, :], out=self._view(rows))
        return self.scores(rows)

    def _view(self, rows: Tensor) -> Tensor:
        """(b, n, lines, w, h, w) in the buffer."""
        shape = (*rows.shape, self._shape[3])
        return self._memory[: math.prod(shape)].view(shape)


class Windows:
    """The windows of a grid: where each token goes, and which places no token fills.

    :param grid_hw: tokens per column and row.
    :param size: side of a window; the grid is filled up to a multiple of it.
    """

    def __init__(self, grid_hw: tuple[int, int], size: int, device: torch.device) -> None:
        tokens = torch.arange(1, 1 + grid_hw[0] * grid_hw[1]).view(1, *grid_hw, 1)
        source = window_partition(tokens, size)[0].flatten() - 1  # -1 where nothing is
        self.size = size
        self._source = source.clamp(min=0).to(device)
        self._unfilled = (source < 0).nonzero()[:, 0].to(device)
        self._home = source.argsort()[len(self._unfilled) :].to(device)

    def split(self, x: Tensor, filler: Tensor) -> Tensor:
        """(B, N, C) to (B * windows, size * size, C), with the (C,) filler in unfilled places."""
        windows = x.index_select(1, self._source)
        windows[:, self._unfilled] = filler
        return windows.view(-1, self.size**2, x.shape[-1])

    def join(self, windows: Tensor, batch: int) -> Tensor:
        """Back to (B, N, C)."""
        return windows.view(batch, -1, windows.shape[-1]).index_select(1, self._home)


@dataclass(frozen=True)
class BlockAttention:
    """The attention of one block, without its residual.

    :param heads: of the attention; ``qkv`` gives queries, keys and values one after the other.
    :param rows: (h, h, d) position table ``Rh`` by query row and key row.
    :param columns: (w, w, d), ``Rw``.
    :param windows: by the grid rows that are attended at a time; none attends everywhere.
    :param filler: (3 C,), q, k and v of places in windows that no token fills.
    """

    norm: Norm
    qkv: Layer
    out: Layer
    heads: int
    rows: Tensor
    columns: Tensor
    windows: Mapping[int, Windows]
    filler: Tensor
    form: AttentionForm

    @classmethod
    def of(
        cls, block: Any, grid_hw: tuple[int, int], target: ComputeTarget, form: AttentionForm
    ) -> BlockAttention:
        """From a block of segment-anything."""
        attention, size = block.attn, block.window_size
        h, w = (size, size) if size else grid_hw
        # Rows of windows have nothing to do with each other. One at a time stays in a CPU's cache.
        step = min(grid_hw[0], size if target.device.type == "cpu" else grid_hw[0])
        strips = {step, grid_hw[0] % step or step} if size else ()
        return cls(
            norm=Norm.of(block.norm1, target),
            qkv=_linear(attention.qkv, target),
            out=_linear(attention.proj, target),
            heads=attention.num_heads,
            rows=target.move(get_rel_pos(h, h, attention.rel_pos_h)),
            columns=target.move(get_rel_pos(w, w, attention.rel_pos_w)),
            windows={n: Windows((n, grid_hw[1]), size, target.device) for n in strips},
            filler=target.move(attention.qkv.bias),
            form=form,
        )

    def strips(self, x: Tensor) -> Sequence[Tensor]:
        """Views of (B, h, w, C) that can be attended one by one, with all rows or few."""
        return x.split(max(self.windows), dim=1) if self.windows else (x,)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, rows, w, C), one of the strips, to the same shape."""
        windows = self.windows[x.shape[1]] if self.windows else None
        if windows:
            qkv = self.qkv(self.norm(x)).flatten(1, 2)  # (B, N, 3 C)
            # Projecting first saves the padding's share; of zeros, the projection is its bias.
            qkv = windows.split(qkv, self.filler)
            heads = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        else:
            heads = self._by_head(x.flatten(1, 2))
        q, k, v = heads  # each (B, n, N, d)
        grid = q.unflatten(2, (len(self.rows), len(self.columns)))
        rows = torch.einsum("bnhwd,hkd->bnhwk", grid, self.rows)
        columns = torch.einsum("bnhwd,wkd->bnhwk", grid, self.columns)
        attended = self.form(q, k, v, rows, columns)  # (B, N, C)
        if windows:
            attended = windows.join(attended, len(x))
        return self.out(attended).view_as(x)

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, N, C) to (3, B, n, N, d) queries, keys and values, some tokens at a time."""
        batch, tokens, width = x.shape
        heads = x.new_empty(3, batch, self.heads, tokens, width // self.heads)
        parts = zip(x.split(TOKENS, dim=1), heads.split(TOKENS, dim=3), strict=True)
        for part, some in parts:
            qkv = self.qkv(self.norm(part)).unflatten(-1, (3, self.heads, -1))
            some.copy_(qkv.permute(2, 0, 3, 1, 4))
        return heads


class FastImageEncoder:
    """An ``ImageEncoderViT`` of segment-anything with faster attention, for inference.

    It reads the given encoder's weights, which stay as they are, and shares those that need no
    conversion.

    :param encoder: with relative positions and biases, as all published ones are built.
    :param device: torch device.
    :param dtype: of weights and arithmetic.
    :param forms: attention forms to choose from; None takes :func:`candidate_forms`.
    """

    def __init__(
        self,
        encoder: ImageEncoderViT,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        forms: Sequence[AttentionForm] | None = None,
    ) -> None:
        net: Any = encoder
        target = ComputeTarget.of_network(torch.device(device), dtype, net.pos_embed.shape[-1])
        self.dtype = dtype
        self._patch = net.patch_embed.proj.kernel_size[0]
        weight, bias = net.patch_embed.proj.weight, net.patch_embed.proj.bias
        self._embed = fast_linear(weight.flatten(1), bias, target)
        self._positions = target.move(net.pos_embed)  # (1, h, w, C)
        grid_hw = (self._positions.shape[1], self._positions.shape[2])
        blocks = _blocks(net.blocks, grid_hw, target, forms or candidate_forms(target))
        self._leading = tuple(itertools.takewhile(lambda block: block[0].windows, blocks))
        self._later = blocks[len(self._leading) :]
        self._blank: dict[int, Tensor] = {}
        project, norm1, convolve, norm2 = net.neck
        self._project = fast_linear(project.weight.flatten(1), None, target)
        self._convolve = target.move(convolve.weight).contiguous(memory_format=torch.channels_last)
        self._norm1, self._norm2 = (Norm.of(norm, target) for norm in (norm1, norm2))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalised and padded pixels to features.

        :param pixels: (B, 3, S, S).
        :returns: (B, c, h, w), channels last in memory.
        """
        x = self._embed(self._patches(pixels.to(self.dtype))) + self._positions
        used = self._used_rows(pixels)
        _run(self._leading, x[:, :used])
        if used < x.shape[1]:
            x[:, used:] = self._blank_rows(used)
        _run(self._later, x)
        x = self._norm1(self._project(x)).permute(0, 3, 1, 2)  # (B, c, h, w)
        x = F.conv2d(x, self._convolve, padding=1)
        return self._norm2(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _used_rows(self, pixels: Tensor) -> int:
        """Rows of the grid in those strips of windows that show anything of an image.

        Until the first block that attends everywhere, the others are the same for all images.
        """
        if not self._leading or pixels.device.type != "cpu":  # a GPU would have to wait for this
            return self._positions.shape[1]
        filled = np.flatnonzero(pixels.any(dim=3).any(dim=1).any(dim=0).numpy())
        last = int(filled[-1]) // self._patch if len(filled) else 0
        step = max(self._leading[0][0].windows)
        return min((last // step + 1) * step, self._positions.shape[1])

    def _blank_rows(self, first: int) -> Tensor:
        """(1, h - first, w, C) of the leading blocks where pixels are zero; kept."""
        if first not in self._blank:
            nothing = self._positions.new_zeros(1, 3 * self._patch**2)
            x = self._embed(nothing) + self._positions[:, first:]
            _run(self._leading, x)
            self._blank[first] = x
        return self._blank[first]

    def _patches(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, h, w, 3 * p * p): its convolution's stride is its kernel's size."""
        rows = pixels.unflatten(2, (-1, self._patch)).unflatten(4, (-1, self._patch))
        return rows.permute(0, 2, 4, 1, 3, 5).flatten(3)  # from (B, 3, h, p, w, p)


Blocks = Sequence[tuple[BlockAttention, Mlp]]


def _run(blocks: Blocks, x: Tensor) -> None:
    """Blocks on (B, rows, w, C), changed in place; strips of windows may be left out."""
    for (attention, mlp), image in itertools.product(blocks, x.split(1)):
        for strip in attention.strips(image):
            strip += attention(strip)
            mlp.add_to(strip)


def candidate_forms(target: ComputeTarget) -> tuple[AttentionForm, ...]:
    """Forms worth timing: chunks for CPUs' second and third caches, larger ones for GPUs."""
    if target.device.type != "cpu":
        return ChunkedAttention(2**24), ChunkedAttention(2**27), FoldedAttention()
    return (
        ChunkedAttention(2**20),
        ChunkedAttention(2**22),
        FoldedAttention(),
        ProductAttention(2**22, folded=False),
        ProductAttention(2**22, folded=True),
        *([HeadwiseAttention(2**21)] if is_onednn_available(target) else []),
    )


@torch.inference_mode()
def choose_form(
    block: Any, grid_hw: tuple[int, int], target: ComputeTarget, forms: Sequence[AttentionForm]
) -> AttentionForm:
    """The fastest form that agrees with segment-anything's own layer.

    Both run on random input in a layer of the block's shape with fewer heads, which takes a
    fraction of a second.

    :param block: a block of segment-anything.
    :returns: one of the forms, or :class:`ExplicitAttention` when all are wrong.
    """
    trial = _trial_block(block, grid_hw).to(target.device)
    x = noise(1, *grid_hw, trial.norm1.weight.shape[0]).to(target.device)
    expected, right = _stock_attention(trial, x), {}
    for form in forms:
        run = partial(_attended, BlockAttention.of(trial, grid_hw, target, form), target.move(x))
        error = float((run().float() - expected).norm() / expected.norm())
        if error <= _TOLERANCE[target.dtype]:  # which NaN is not
            right[form] = run
        else:
            _LOG.warning(
                "%s is wrong on this machine (%s, %s, grid %s, windows of %d: off by %.2g) and is "
                "not used; SAM's encoder stays correct, but may be slower",
                form, target.device, target.dtype, grid_hw, block.window_size, error,
            )  # fmt: skip
    if not right:
        _LOG.warning("no fast attention is right here; SAM runs segment-anything's own, slower")
        return ExplicitAttention()
    return fastest(right)


def encoder_dtype(
    encoder: ImageEncoderViT, dtype: torch.dtype, device: str | torch.device
) -> torch.dtype:
    """The precision for this encoder, by :func:`faster_dtype`."""
    cpu = torch.device(device)
    block: Any = encoder.blocks[0]
    width = block.norm2.weight.shape[0]
    x = noise(1, 1, 512, width)

    def run_in(candidate: torch.dtype) -> Callable[[], object]:
        target = ComputeTarget.of_network(cpu, candidate, width)
        return partial(_mlp(block, target).add_to, x.to(candidate))

    return faster_dtype(dtype, cpu, run_in)


def faster_dtype(
    dtype: torch.dtype,
    device: torch.device,
    run_in: Callable[[torch.dtype], Callable[[], object]],
) -> torch.dtype:
    """The precision asked for, or float32 where that is faster, and so costs nothing.

    Processors without matrix instructions for bfloat16 multiply it at half of float32's speed.

    :param run_in: gives some typical work in a precision, to be timed.
    """
    if dtype == torch.float32 or device.type != "cpu":
        return dtype
    with torch.inference_mode():
        return fastest({candidate: run_in(candidate) for candidate in (dtype, torch.float32)})


def _blocks(
    blocks: Iterable[Any],
    grid_hw: tuple[int, int],
    target: ComputeTarget,
    forms: Sequence[AttentionForm],
) -> list[tuple[BlockAttention, Mlp]]:
    """Blocks of segment-anything; one form serves all windowed ones, one all global ones."""
    chosen: dict[int, AttentionForm] = {}
    for block in blocks:
        if block.window_size not in chosen:
            chosen[block.window_size] = choose_form(block, grid_hw, target, forms)
    return [
        (BlockAttention.of(x, grid_hw, target, chosen[x.window_size]), _mlp(x, target))
        for x in blocks
    ]


def _linear(layer: nn.Linear, target: ComputeTarget, activation: str = "none") -> Layer:
    return fast_linear(layer.weight, layer.bias, target, activation)


def _mlp(block: Any, target: ComputeTarget) -> Mlp:
    """Of a block of segment-anything."""
    expand = _linear(block.mlp.lin1, target, "gelu")
    return Mlp(Norm.of(block.norm2, target), expand, _linear(block.mlp.lin2, target))


def _trial_block(block: Any, grid_hw: tuple[int, int]) -> Block:
    """A random block of the same shape with at most two heads."""
    heads = min(block.attn.num_heads, _TRIAL_HEADS)
    width = block.attn.qkv.in_features // block.attn.num_heads
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trial = Block(
            heads * width,
            heads,
            mlp_ratio=1,
            use_rel_pos=True,
            window_size=block.window_size,
            input_size=grid_hw,
        )
        for table in (trial.attn.rel_pos_h, trial.attn.rel_pos_w):
            nn.init.normal_(table, std=0.5)  # so large that a kernel without them is far off
    return trial


def _attended(attention: BlockAttention, x: Tensor) -> Tensor:
    """(B, h, w, C) to the same shape, strip by strip."""
    return torch.cat([attention(strip) for strip in attention.strips(x)], dim=1)


def _stock_attention(block: Any, x: Tensor) -> Tensor:
    """The attention of a block as segment-anything's ``Block.forward`` runs it."""
    size, normed = block.window_size, block.norm1(x)
    if not size:
        return block.attn(normed)
    windows, padded_hw = window_partition(normed, size)
    return window_unpartition(block.attn(windows), size, padded_hw, x.shape[1:3])


def _one_hot_places(h: int, w: int, like: Tensor) -> Tensor:
    """(h * w, h + w): each key's row and column as one-hot vectors."""
    rows = torch.eye(h, dtype=like.dtype, device=like.device).repeat_interleave(w, dim=0)
    columns = torch.eye(w, dtype=like.dtype, device=like.device).repeat(h, 1)
    return torch.cat([rows, columns], dim=-1)
