"""Architecture surgery: CLIP image encoders whose every token can be compared with texts.

Li et al., "A Closer Look at the Explainability of CLIP" (arXiv 2304.05653), section 3.3. A
surgeon reads an encoder's weights and computes beside it: the encoder is not changed, and the
only state kept is the position table resized to each grid seen.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SURGERY_BLOCKS = 6
"""The new path runs beside the last six blocks; shallower encoders take it from the start."""


class Surgeon(Protocol):
    """An image encoder seen token by token; shapes are those of ``interfaces``."""

    patch: int
    native_size: int

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) by the new path; CLS is CLIP's own image embedding."""

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) by the encoder as it was trained."""


class PositionTable:
    """A learned position table, resized bilinearly to the grid at hand.

    :param table: (1 + gh * gw, C), CLS first; never written to.
    :param grid_hw: gh, gw.
    """

    def __init__(self, table: Tensor, grid_hw: tuple[int, int]) -> None:
        self._table, self._grid_hw = table.detach(), grid_hw
        self._resized: dict[tuple[int, int], Tensor] = {grid_hw: self._table}

    def __call__(self, grid_hw: tuple[int, int]) -> Tensor:
        """(1 + h * w, C) for this grid."""
        if grid_hw not in self._resized:
            grid = self._table[1:].T.reshape(1, -1, *self._grid_hw).float()
            grid = F.interpolate(grid, grid_hw, mode="bilinear", align_corners=False)
            patches = grid.flatten(2)[0].T.to(self._table.dtype)
            self._resized[grid_hw] = torch.cat([self._table[:1], patches])
        return self._resized[grid_hw]


class VitSurgeon:
    """Surgery of a vision transformer with a CLS token, as open_clip builds it.

    :param visual: ``open_clip.transformer.VisionTransformer`` with the plain block type.
    """

    def __init__(self, visual: nn.Module) -> None:
        v: Any = visual
        self._v = v
        self.patch = int(v.patch_size[0])
        self.native_size = int(v.image_size[0])
        self._positions = PositionTable(v.positional_embedding, tuple(v.grid_size))
        blocks = list(v.transformer.resblocks)
        self._early = blocks[:-SURGERY_BLOCKS]
        self._late = blocks[-SURGERY_BLOCKS:]

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`."""
        original = self._embed(pixels)
        for block in self._early:
            original = original + _attend(block, *_project(block, original))
            original = original + _mlp(block, original)
        new = original
        for block in self._late:
            query, key, value = _project(block, original)
            new = new + _attend(block, value, value, value)
            if block is self._late[-1]:  # of the last block only CLS goes on
                original, query = original[:, :1], query[:, :, :1]
            original = original + _attend(block, query, key, value)
            original = original + _mlp(block, original)
        return self._finish(torch.cat([original, new[:, 1:]], dim=1))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`."""
        x = self._embed(pixels)
        for block in (*self._early, *self._late):
            x = x + _attend(block, *_project(block, x))
            x = x + _mlp(block, x)
        return self._finish(x)

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) at the entry of the first block."""
        v = self._v
        patches = v.conv1(pixels)  # (B, C, h, w)
        positions = self._positions((patches.shape[2], patches.shape[3]))
        patches = patches.flatten(2).transpose(1, 2)
        cls = v.class_embedding.expand(len(patches), 1, -1)
        return v.ln_pre(torch.cat([cls, patches], dim=1) + positions)

    def _finish(self, x: Tensor) -> Tensor:
        return self._v.ln_post(x) @ self._v.proj


class ResNetSurgeon:
    """Surgery of OpenAI's ModifiedResNet: its attention pool, for every token, v against v.

    :param visual: ``open_clip.modified_resnet.ModifiedResNet``.
    """

    patch = 32  # strides of the stem and the stages together

    def __init__(self, visual: nn.Module) -> None:
        v: Any = visual
        self._v = v
        side = int(v.image_size[0] if isinstance(v.image_size, tuple | list) else v.image_size)
        self.native_size = side
        grid = side // self.patch
        self._positions = PositionTable(v.attnpool.positional_embedding, (grid, grid))

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`; here CLS, the mean token, goes the new way too."""
        pool, x = self._v.attnpool, self._embed(pixels)
        value = _heads(pool.v_proj(x), pool.num_heads)
        return pool.c_proj(_mix(value, value, value))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`."""
        pool, x = self._v.attnpool, self._embed(pixels)
        query, key, value = (
            _heads(project(x), pool.num_heads)
            for project in (pool.q_proj, pool.k_proj, pool.v_proj)
        )
        return pool.c_proj(_mix(query, key, value))

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) at the entry of the pool, the mean token first."""
        v = self._v
        x = v.layer4(v.layer3(v.layer2(v.layer1(v.stem(pixels)))))
        positions = self._positions((x.shape[2], x.shape[3]))
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions


def _project(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block's input, each (B, heads, N, d)."""
    attention = block.attn
    qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = qkv.chunk(3, dim=-1)
    return (
        _heads(query, attention.num_heads),
        _heads(key, attention.num_heads),
        _heads(value, attention.num_heads),
    )


def _attend(block: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What a block's attention adds: (B, N, C)."""
    return block.ls_1(block.attn.out_proj(_mix(query, key, value)))


def _mlp(block: Any, x: Tensor) -> Tensor:
    """What a block's MLP adds: (B, N, C)."""
    return block.ls_2(block.mlp(block.ln_2(x)))


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _mix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``softmax(d^-1/2 q k^T) v``, heads side by side again: (B, N, C)."""
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
