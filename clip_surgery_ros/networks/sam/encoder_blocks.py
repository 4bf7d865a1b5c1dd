"""Blocks of SAM's image encoder: windows, attention with its projections, MLP.

Most blocks attend within windows, a few across the whole grid (a ViTDet, Li et al. 2022). Which
form of attention is fastest depends on device, precision and size. So all forms are timed when the
encoder is built, and compared with segment-anything's own layer.

Shapes: B images (or windows), n heads, h w the grid that attends, N = h * w, d head width,
C = n * d.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from segment_anything.modeling.image_encoder import (
    Block,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.layers import (
    ComputeTarget,
    Layer,
    Mlp,
    Norm,
    fast_linear,
    noise,
    tokens_per_step,
)
from clip_surgery_ros.arithmetic.timing import fastest
from clip_surgery_ros.networks.sam.encoder_attention import AttentionForm, ExplicitAttention

_LOG = logging.getLogger(__name__)
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest error allowed at start-up, relative in norm; a wrong kernel has an error of 0.1 to 1."""
_TRIAL_HEADS = 2
"""Heads of a trial on a CPU."""


class Windows:
    """The windows of a grid: the position of each token, and the positions that are padding.

    :param grid_hw: tokens per column and row.
    :param size: side of a window; the grid is padded to a multiple of it.
    """

    def __init__(self, grid_hw: tuple[int, int], size: int, device: torch.device) -> None:
        tokens = torch.arange(1, 1 + grid_hw[0] * grid_hw[1]).view(1, *grid_hw, 1)
        source = window_partition(tokens, size)[0].flatten() - 1  # -1 is padding
        self.size = size
        self._source = source.clamp(min=0).to(device)
        self._padding = (source < 0).nonzero()[:, 0].to(device)
        self._target = source.argsort()[len(self._padding) :].to(device)

    def split(self, x: Tensor, filler: Tensor) -> Tensor:
        """Split (B, N, C) into (B * windows, size * size, C), with the (C,) filler as padding."""
        windows = x.index_select(1, self._source)
        windows[:, self._padding] = filler
        return windows.view(-1, self.size**2, x.shape[-1])

    def join(self, windows: Tensor, batch: int) -> Tensor:
        """Join windows to (B, N, C)."""
        return windows.view(batch, -1, windows.shape[-1]).index_select(1, self._target)


@dataclass(frozen=True)
class BlockAttention:
    """The attention of one block, without its residual.

    :param heads: number of heads; ``qkv`` computes queries, keys and values, concatenated.
    :param rows: (h, h, d) position table ``Rh`` by query row and key row.
    :param columns: (w, w, d), ``Rw``.
    :param windows: by the number of grid rows computed at a time; empty for global attention.
    :param filler: (3 C,), q, k and v of padding.
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
        """Build it from a block of segment-anything."""
        attention, size = block.attn, block.window_size
        h, w = (size, size) if size else grid_hw
        strips = _strip_lengths(grid_hw[0], size, target.device) if size else set()
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
        """Return views of (B, h, w, C) that can be computed one after the other."""
        return x.split(max(self.windows), dim=1) if self.windows else (x,)

    def __call__(self, x: Tensor) -> Tensor:
        """Compute one strip, (B, rows, w, C) to the same shape."""
        windows = self.windows[x.shape[1]] if self.windows else None
        if windows:
            qkv = self.qkv(self.norm(x)).flatten(1, 2)  # (B, N, 3 C)
            # Project before padding: it saves work, and the projection of zeros is its bias.
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
        """Project (B, N, C) to (3, B, n, N, d) queries, keys and values, in chunks of tokens."""
        batch, tokens, width = x.shape
        heads = x.new_empty(3, batch, self.heads, tokens, width // self.heads)
        step = tokens_per_step(x)
        parts = zip(x.split(step, dim=1), heads.split(step, dim=3), strict=True)
        for part, part_heads in parts:
            qkv = self.qkv(self.norm(part)).unflatten(-1, (3, self.heads, -1))
            part_heads.copy_(qkv.permute(2, 0, 3, 1, 4))
        return heads


def _strip_lengths(rows: int, size: int, device: torch.device) -> set[int]:
    """Return how many rows of a grid may be computed together, by rows of windows.

    Rows of windows are independent of each other. One at a time fits into a CPU's cache. A GPU
    computes together all that show the image, or all that do not.
    """
    if device.type == "cpu":
        return {min(rows, size), rows % size or min(rows, size)}
    inner = range(size, rows, size)
    return {*inner, *(rows - used for used in inner), rows}


Blocks = Sequence[tuple[BlockAttention, Mlp]]


def run_blocks(blocks: Blocks, x: Tensor) -> None:
    """Run blocks on (B, rows, w, C) in place; ``rows`` may be fewer strips than the grid has.

    On CPUs, whose caches hold one image, images are computed one after the other.
    """
    images = x.split(1) if x.device.type == "cpu" else (x,)
    for (attention, mlp), image in itertools.product(blocks, images):
        for strip in attention.strips(image):
            strip += attention(strip)
            mlp.add_to(strip)


def fast_blocks(
    blocks: Iterable[Any],
    grid_hw: tuple[int, int],
    target: ComputeTarget,
    forms: Sequence[AttentionForm],
) -> list[tuple[BlockAttention, Mlp]]:
    """Convert blocks of segment-anything; windowed blocks share one form, global ones another."""
    chosen: dict[int, AttentionForm] = {}
    for block in blocks:
        if block.window_size not in chosen:
            chosen[block.window_size] = choose_form(block, grid_hw, target, forms)
    return [
        (BlockAttention.of(x, grid_hw, target, chosen[x.window_size]), fast_mlp(x, target))
        for x in blocks
    ]


@torch.inference_mode()
def choose_form(
    block: Any, grid_hw: tuple[int, int], target: ComputeTarget, forms: Sequence[AttentionForm]
) -> AttentionForm:
    """Return the fastest form that agrees with segment-anything's own layer.

    Each form runs on random input, in a layer of the block's shape. On CPUs it has fewer heads and
    takes a fraction of a second; a GPU computes so few heads in less time than it takes to ask it.

    :param block: a block of segment-anything.
    :returns: one of the forms, or :class:`ExplicitAttention` when none agrees.
    """
    heads = _TRIAL_HEADS if target.device.type == "cpu" else block.attn.num_heads
    trial = _trial_block(block, grid_hw, heads).to(target.device)
    x = noise(1, *grid_hw, trial.norm1.weight.shape[0]).to(target.device)
    expected, correct = _stock_attention(trial, x), {}
    for form in forms:
        run = partial(_attend, BlockAttention.of(trial, grid_hw, target, form), target.move(x))
        try:
            error = float((run().float() - expected).norm() / expected.norm())
        except RuntimeError as failure:  # a kernel that this device, width or precision lacks
            _LOG.info("%s does not run on %s: %s", form, target.device, failure)
            continue
        if error <= _TOLERANCE[target.dtype]:  # false for NaN
            correct[form] = run
        else:
            _LOG.warning(
                "%s is wrong on this machine (%s, %s, grid %s, windows of %d: off by %.2g) and is "
                "not used; SAM's encoder stays correct, but may be slower",
                form, target.device, target.dtype, grid_hw, block.window_size, error,
            )  # fmt: skip
    if not correct:
        _LOG.warning(
            "no fast attention is correct on this machine; SAM runs segment-anything's own, which "
            "is slower"
        )
        return ExplicitAttention()
    width = block.attn.qkv.in_features // block.attn.num_heads
    shape = f"{grid_hw}, windows of {block.window_size}, {heads} heads of {width}"
    name = f"SAM's attention of {shape} in {target}"
    return fastest(name, correct, target.device)


def _linear(layer: nn.Linear, target: ComputeTarget, activation: str = "none") -> Layer:
    return fast_linear(layer.weight, layer.bias, target, activation)


def fast_mlp(block: Any, target: ComputeTarget) -> Mlp:
    """Convert the MLP of a block of segment-anything."""
    expand = _linear(block.mlp.lin1, target, "gelu")
    return Mlp(Norm.of(block.norm2, target), expand, _linear(block.mlp.lin2, target))


def _trial_block(block: Any, grid_hw: tuple[int, int], most_heads: int) -> Block:
    """Return a random block of the same shape with at most this many heads."""
    heads = min(block.attn.num_heads, most_heads)
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
            nn.init.normal_(table, std=0.5)  # large: a kernel that ignores them fails
    return trial


def _attend(attention: BlockAttention, x: Tensor) -> Tensor:
    """Compute (B, h, w, C) to the same shape, one strip after the other."""
    return torch.cat([attention(strip) for strip in attention.strips(x)], dim=1)


def _stock_attention(block: Any, x: Tensor) -> Tensor:
    """Compute a block's attention as segment-anything's ``Block.forward`` does."""
    size, normed = block.window_size, block.norm1(x)
    if not size:
        return block.attn(normed)
    windows, padded_hw = window_partition(normed, size)
    return window_unpartition(block.attn(windows), size, padded_hw, x.shape[1:3])
