"""Architecture surgery: CLIP image encoders whose every token can be compared with texts.

Li et al., "A Closer Look at the Explainability of CLIP" (arXiv 2304.05653), section 3.3. A
surgeon reads an encoder's weights and computes beside it: the encoder is not changed, and the
only state kept is the position table resized to each grid seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_surgery_ros.core.attention import Attend, fused

SURGERY_BLOCKS = 6
"""The new path runs beside the last six blocks; shallower encoders take it from the start."""
NEIGHBOURHOOD = 5.0
"""Standard deviation in tokens of NACLIP's neighbourhood, as published."""

SelfAttention = Callable[[Attend, Tensor, Tensor, Tensor, Tensor, tuple[int, int]], Tensor]
"""What the new path attends by: how attention is computed, the layer's input (B, N, C), its
queries, keys and values, each (B, heads, N, d), and the grid, to (B, N, C), heads side by side."""


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
    :param attention: one of :data:`ATTENTIONS`.
    :param attend: how attention is computed.
    """

    def __init__(self, visual: nn.Module, attention: str = "v-v", attend: Attend = fused) -> None:
        v: Any = visual
        self._v, self._attend = v, attend
        self._attention = partial(ATTENTIONS[attention], attend)
        self.patch = int(v.patch_size[0])
        self.native_size = int(v.image_size[0])
        self._positions = PositionTable(v.positional_embedding, tuple(v.grid_size))
        blocks = list(v.transformer.resblocks)
        self._early = blocks[:-SURGERY_BLOCKS]
        self._late = blocks[-SURGERY_BLOCKS:]

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`."""
        original = self._embed(pixels)
        grid_hw = (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch)
        for block in self._early:
            original = original + _attended(
                block, self._attend, *_project(block, block.ln_1(original))
            )
            original = original + _mlp(block, original)
        new = original
        for block in self._late:
            z = block.ln_1(original)
            query, key, value = _project(block, z)
            new = new + _leave(block, self._attention(z, query, key, value, grid_hw))
            if block is self._late[-1]:  # of the last block only CLS goes on
                original, query = original[:, :1], query[:, :, :1]
            original = original + _attended(block, self._attend, query, key, value)
            original = original + _mlp(block, original)
        return self._finish(torch.cat([original, new[:, 1:]], dim=1))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`."""
        x = self._embed(pixels)
        for block in (*self._early, *self._late):
            x = x + _attended(block, self._attend, *_project(block, block.ln_1(x)))
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
    """Surgery of OpenAI's ModifiedResNet: its attention pool, for every token.

    :param visual: ``open_clip.modified_resnet.ModifiedResNet``.
    :param attention: one of :data:`ATTENTIONS`.
    :param attend: how attention is computed.
    """

    patch = 32  # strides of the stem and the stages together

    def __init__(self, visual: nn.Module, attention: str = "v-v", attend: Attend = fused) -> None:
        v: Any = visual
        self._v, self._attend = v, attend
        self._attention = partial(ATTENTIONS[attention], attend)
        side = int(v.image_size[0] if isinstance(v.image_size, tuple | list) else v.image_size)
        self.native_size = side
        grid = side // self.patch
        self._positions = PositionTable(v.attnpool.positional_embedding, (grid, grid))

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`; here CLS, the mean token, goes the new way too."""
        pool, x = self._v.attnpool, self._embed(pixels)
        grid_hw = (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch)
        return pool.c_proj(self._attention(x, *_pool_heads(pool, x), grid_hw))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`Surgeon`."""
        pool, x = self._v.attnpool, self._embed(pixels)
        return pool.c_proj(_mix(self._attend, *_pool_heads(pool, x)))

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) at the entry of the pool, the mean token first."""
        v = self._v
        x = v.layer4(v.layer3(v.layer2(v.layer1(v.stem(pixels)))))
        positions = self._positions((x.shape[2], x.shape[3]))
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions


def _project(block: Any, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block's normalised input, each (B, heads, N, d)."""
    attention = block.attn
    qkv = F.linear(z, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = qkv.chunk(3, dim=-1)
    return (
        _heads(query, attention.num_heads),
        _heads(key, attention.num_heads),
        _heads(value, attention.num_heads),
    )


def _pool_heads(pool: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of an attention pool's input, each (B, heads, N, d)."""
    return (
        _heads(pool.q_proj(x), pool.num_heads),
        _heads(pool.k_proj(x), pool.num_heads),
        _heads(pool.v_proj(x), pool.num_heads),
    )


def _attended(block: Any, attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What a block's attention adds: (B, N, C)."""
    return _leave(block, _mix(attend, query, key, value))


def _leave(block: Any, mixed: Tensor) -> Tensor:
    """What a block adds of its (B, N, C) mixed values."""
    return block.ls_1(block.attn.out_proj(mixed))


def _mlp(block: Any, x: Tensor) -> Tensor:
    """What a block's MLP adds: (B, N, C)."""
    return block.ls_2(block.mlp(block.ln_2(x)))


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _mix(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention, heads side by side again: (B, N, C)."""
    return attend(query, key, value).transpose(1, 2).flatten(2)


def _value_value(
    attend: Attend,
    z: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid_hw: tuple[int, int],
) -> Tensor:
    """CLIP Surgery's own."""
    return _mix(attend, value, value, value)


def _key_key(
    attend: Attend,
    z: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid_hw: tuple[int, int],
) -> Tensor:
    """Keys against keys, as GenSAM (Hu et al., arXiv 2312.07374) takes them too."""
    return _mix(attend, key, key, value)


def _self_self(
    attend: Attend,
    z: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid_hw: tuple[int, int],
) -> Tensor:
    """GEM (Bousselham et al., arXiv 2312.00878): the mean over queries, keys and values, each
    against itself, unit rows, once among themselves and then over the values.

    Its temperature follows the input's mean norm: ``mean |z_i| d^-1/2`` multiplies the cosines.
    """
    sharpness = z.norm(dim=-1).mean(dim=1)[:, None, None, None] * query.shape[-1] ** -0.5
    mixed = torch.zeros_like(value)
    for own in (query, key, value):
        unit = F.normalize(own, dim=-1)
        grouped = F.scaled_dot_product_attention(unit * sharpness, unit, unit, scale=1.0)
        unit = F.normalize(grouped, dim=-1)
        mixed += F.scaled_dot_product_attention(unit * sharpness, unit, value, scale=1.0) / 3
    return mixed.transpose(1, 2).flatten(2)


def _near(
    attend: Attend,
    z: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid_hw: tuple[int, int],
) -> Tensor:
    """NACLIP (Hajimiri et al., arXiv 2404.08181): keys against keys, near ones preferred.

    ``exp(-|p_i - p_j|^2 / 2 sigma^2)`` of their places is added to the scores of patches.
    """
    bias = _nearness(grid_hw, key.dtype, key.device)
    mixed = F.scaled_dot_product_attention(key, key, value, attn_mask=bias)
    return mixed.transpose(1, 2).flatten(2)


@lru_cache(maxsize=4)
def _nearness(grid_hw: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """(1 + N, 1 + N), 0 for CLS."""
    rows, columns = torch.meshgrid(*map(torch.arange, grid_hw), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    near = torch.exp(-torch.cdist(places, places).square() / (2 * NEIGHBOURHOOD**2))
    return F.pad(near, (1, 0, 1, 0)).to(device, dtype)


ATTENTIONS: Mapping[str, SelfAttention] = {
    "v-v": _value_value,
    "k-k": _key_key,
    "gem": _self_self,
    "naclip": _near,
}
"""By the name that the parameter ``attention`` takes."""
