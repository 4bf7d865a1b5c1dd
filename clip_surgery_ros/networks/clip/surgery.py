"""Architecture surgery: CLIP image encoders whose every token can be compared with texts.

Li et al., "A Closer Look at the Explainability of CLIP" (arXiv 2304.05653), section 3.3. A
surgeon takes an encoder's weights, some of them scaled or laid out anew, and computes beside it:
the encoder is not changed, and of what it saw only the position tables of each grid are kept.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.attention import (
    Attend,
    attend_heads,
    fused_attention,
    split_heads,
)
from clip_surgery_ros.arithmetic.layers import ComputeTarget
from clip_surgery_ros.arithmetic.transformer import TransformerBlock

SURGERY_BLOCKS = 6
"""The new path runs beside the last six blocks; shallower encoders take it from the start."""
NEIGHBOURHOOD = 5.0
"""Standard deviation in tokens of NACLIP's neighbourhood, as published."""


@dataclass(frozen=True)
class LayerInput:
    """What a layer's attention starts from.

    :param z: (B, N, C), the layer's normalised input.
    :param query, key, value: its projections, each (B, heads, N, d).
    :param grid_hw: of the tokens but CLS.
    """

    z: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    grid_hw: tuple[int, int]


SelfAttention = Callable[[Attend, LayerInput], Tensor]
"""What the new path attends by, computed as ``Attend`` does: (B, N, C), heads side by side."""


class SurgeryEncoder(ABC):
    """An image encoder seen token by token; shapes are those of ``interfaces``.

    ``patch`` and ``native_size`` in pixels; ``heads`` and ``width``, a head's, of its attention.
    It attends as CLIP Surgery does, by torch's fused kernel, until :meth:`attending` changes that.
    """

    patch: int
    native_size: int
    heads: int
    width: int

    def __init__(self) -> None:
        self._attention: SelfAttention = ATTENTIONS["v-v"]
        self._attend: Attend = fused_attention

    def attending(self, attention: str, attend: Attend) -> Self:
        """The same encoder with another attention.

        :param attention: on the new path, one of :data:`ATTENTIONS`.
        :param attend: how attention is computed on both paths.
        """
        other = copy.copy(self)
        other._attention, other._attend = ATTENTIONS[attention], attend
        return other

    @abstractmethod
    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) by the new path; CLS is CLIP's own image embedding."""

    @abstractmethod
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


class SurgeryVit(SurgeryEncoder):
    """Surgery of a vision transformer with a CLS token, as open_clip builds it.

    :param visual: ``open_clip.transformer.VisionTransformer`` with the plain block type. Of its
        blocks only the weights are kept, and not those that are scaled or laid out anew.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        v: Any = visual
        self.patch = int(v.patch_size[0])
        self.native_size = int(v.image_size[0])
        width = int(v.class_embedding.shape[0])
        target = ComputeTarget.of_network(v.conv1.weight.device, v.conv1.weight.dtype, width)
        self._conv, self._cls, self._entry = v.conv1, v.class_embedding, v.ln_pre
        self._exit, self._projection = v.ln_post, v.proj
        self._positions = PositionTable(v.positional_embedding, tuple(v.grid_size))
        self._blocks = [TransformerBlock.of(block, target) for block in v.transformer.resblocks]
        self.heads = self._blocks[0].heads
        self.width = width // self.heads

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`SurgeryEncoder`."""
        original, attend = self._embed(pixels), self._attend
        grid_hw = (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch)
        for block in self._blocks[:-SURGERY_BLOCKS]:
            original = block(attend, original)
        new, late = original, self._blocks[-SURGERY_BLOCKS:]
        for block in late:
            z = block.norm(original)
            query, key, value = block.project(z)
            layer = LayerInput(z, query, key, value, grid_hw)
            new = new + block.out(self._attention(attend, layer))
            if block is late[-1]:  # of the last block only CLS goes on
                original, query = original[:, :1], query[:, :, :1]
            original = block.after(original, attend_heads(attend, query, key, value))
        return self._finish(torch.cat([original, new[:, 1:]], dim=1))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`SurgeryEncoder`."""
        x = self._embed(pixels)
        for block in self._blocks:
            x = block(self._attend, x)
        return self._finish(x)

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) at the entry of the first block."""
        patches = self._conv(pixels)  # (B, C, h, w)
        positions = self._positions((patches.shape[2], patches.shape[3]))
        patches = patches.flatten(2).transpose(1, 2)
        cls = self._cls.expand(len(patches), 1, -1)
        return self._entry(torch.cat([cls, patches], dim=1) + positions)

    def _finish(self, x: Tensor) -> Tensor:
        return self._exit(x) @ self._projection


class SurgeryResNet(SurgeryEncoder):
    """Surgery of OpenAI's ModifiedResNet: its attention pool, for every token.

    :param visual: ``open_clip.modified_resnet.ModifiedResNet``.
    """

    patch = 32  # strides of the stem and the stages together

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        v: Any = visual
        self._v = v
        self.heads = v.attnpool.num_heads
        self.width = v.attnpool.q_proj.out_features // self.heads
        side = int(v.image_size[0] if isinstance(v.image_size, tuple | list) else v.image_size)
        self.native_size = side
        grid = side // self.patch
        self._positions = PositionTable(v.attnpool.positional_embedding, (grid, grid))

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`SurgeryEncoder`; here CLS, the mean token, goes the new way too."""
        pool, x = self._v.attnpool, self._embed(pixels)
        grid_hw = (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch)
        layer = LayerInput(x, *_pool_heads(pool, x), grid_hw)
        return pool.c_proj(self._attention(self._attend, layer))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """See :class:`SurgeryEncoder`."""
        pool, x = self._v.attnpool, self._embed(pixels)
        return pool.c_proj(attend_heads(self._attend, *_pool_heads(pool, x)))

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) at the entry of the pool, the mean token first."""
        v = self._v
        x = v.layer4(v.layer3(v.layer2(v.layer1(v.stem(pixels)))))
        positions = self._positions((x.shape[2], x.shape[3]))
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions


def _pool_heads(pool: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of an attention pool's input, each (B, heads, N, d)."""
    return (
        split_heads(pool.q_proj(x), pool.num_heads),
        split_heads(pool.k_proj(x), pool.num_heads),
        split_heads(pool.v_proj(x), pool.num_heads),
    )


def _value_value(attend: Attend, layer: LayerInput) -> Tensor:
    """CLIP Surgery's own."""
    return attend_heads(attend, layer.value, layer.value, layer.value)


def _key_key(attend: Attend, layer: LayerInput) -> Tensor:
    """Keys against keys, as GenSAM (Hu et al., arXiv 2312.07374) takes them too."""
    return attend_heads(attend, layer.key, layer.key, layer.value)


def _self_self(attend: Attend, layer: LayerInput) -> Tensor:
    """GEM (Bousselham et al., arXiv 2312.00878): the mean over queries, keys and values, each
    against itself, unit rows, once among themselves and then over the values.

    Its temperature follows the input's mean norm: ``mean |z_i| d^-1/2`` multiplies the cosines.
    """
    norm = layer.z.norm(dim=-1).mean(dim=1)[:, None, None, None]
    value, sharpness = layer.value, norm * layer.value.shape[-1] ** -0.5
    mixed = torch.zeros_like(value)
    for own in (layer.query, layer.key, value):
        unit = F.normalize(own, dim=-1)
        grouped = F.scaled_dot_product_attention(unit * sharpness, unit, unit, scale=1.0)
        unit = F.normalize(grouped, dim=-1)
        mixed += F.scaled_dot_product_attention(unit * sharpness, unit, value, scale=1.0) / 3
    return mixed.transpose(1, 2).flatten(2)


def _near(attend: Attend, layer: LayerInput) -> Tensor:
    """NACLIP (Hajimiri et al., arXiv 2404.08181): keys against keys, near ones preferred.

    ``exp(-|p_i - p_j|^2 / 2 sigma^2)`` of their places is added to the scores of patches.
    """
    key = layer.key
    bias = _nearness(layer.grid_hw, key.dtype, key.device)
    mixed = F.scaled_dot_product_attention(key, key, layer.value, attn_mask=bias)
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
