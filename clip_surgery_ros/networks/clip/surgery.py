"""Architecture surgery: CLIP image encoders whose every token can be compared with texts.

Li et al., "A Closer Look at the Explainability of CLIP" (arXiv 2304.05653), section 3.3. The
encoders here compute with the weights of an open_clip image tower, some of them scaled or in
another memory layout. The tower itself is not changed. Of past images only the position tables
of their grids are kept.
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
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.attention import (
    AttentionFunction,
    attend_heads,
    fused_attention,
    split_heads,
)
from clip_surgery_ros.arithmetic.graphs import reads
from clip_surgery_ros.arithmetic.layers import ComputeTarget
from clip_surgery_ros.arithmetic.transformer import TransformerBlock
from clip_surgery_ros.core.errors import ConfigError

SURGERY_BLOCKS = 6
"""The new path runs in parallel to the last six blocks; in encoders with fewer blocks, to all."""
NEIGHBOURHOOD = 5.0
"""Standard deviation in tokens of NACLIP's neighbourhood, from its paper."""


@dataclass(frozen=True)
class LayerInput:
    """The tensors that a layer's attention is computed from.

    :param z: (B, N, C), the layer's normalised input.
    :param query: (B, heads, N, d), projected from ``z``.
    :param key: (B, heads, N, d), projected from ``z``.
    :param value: (B, heads, N, d), projected from ``z``.
    :param grid_hw: rows and columns of the tokens without CLS.
    """

    z: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    grid_hw: tuple[int, int]


SurgeryAttention = Callable[[AttentionFunction, LayerInput], Tensor]
"""An attention of the new path: returns (B, N, C), heads concatenated.

The first argument computes plain attention."""


class SurgeryEncoder(ABC):
    """A CLIP image encoder that returns all its tokens, with or without surgery.

    ``patch`` and ``native_size`` are in pixels, ``heads`` and ``head_width`` are those of its
    attention. A new encoder uses CLIP Surgery's attention and torch's fused kernel;
    :meth:`with_attention` changes both.
    """

    patch: int
    native_size: int
    heads: int
    head_width: int

    def __init__(self) -> None:
        self._attention: SurgeryAttention = ATTENTIONS["v-v"]
        self._attend: AttentionFunction = fused_attention

    def with_attention(self, attention: str, attend: AttentionFunction) -> Self:
        """Return an encoder with another attention; it shares the weights.

        :param attention: of the new path, one of :data:`ATTENTIONS`.
        :param attend: how attention is computed on both paths.
        """
        encoder = copy.copy(self)
        encoder._attention, encoder._attend = ATTENTIONS[attention], attend
        return encoder

    @abstractmethod
    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """Return (B, 1 + N, C) tokens of the new path for (B, 3, h, w) pixels.

        Token 0, CLS, is CLIP's own image embedding.
        """

    @abstractmethod
    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """Return (B, 1 + N, C) tokens of the unchanged encoder for (B, 3, h, w) pixels."""


class PositionTable:
    """A learned position table, resized bilinearly to the grid of an image.

    :param table: (1 + gh * gw, C), CLS first; it is not changed.
    :param grid_hw: rows gh and columns gw of the table.
    """

    def __init__(self, table: Tensor, grid_hw: tuple[int, int]) -> None:
        self._table, self._grid_hw = table.detach(), grid_hw
        self._resized: dict[tuple[int, int], Tensor] = {grid_hw: self._table}

    def __call__(self, grid_hw: tuple[int, int]) -> Tensor:
        """Return the (1 + h * w, C) table for a grid of h rows and w columns."""
        if grid_hw not in self._resized:
            grid = self._table[1:].T.reshape(1, -1, *self._grid_hw).float()
            grid = F.interpolate(grid, grid_hw, mode="bilinear", align_corners=False)
            patches = grid.flatten(2)[0].T.to(self._table.dtype)
            self._resized[grid_hw] = torch.cat([self._table[:1], patches])
        return self._resized[grid_hw]


class SurgeryVit(SurgeryEncoder):
    """Surgery of open_clip's vision transformer with a CLS token.

    :param visual: an ``open_clip.transformer.VisionTransformer`` with plain blocks. Its weights
        are shared, except those that are scaled or get another memory layout.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        v: Any = visual
        self.patch = int(v.patch_size[0])
        self.native_size = int(v.image_size[0])
        width = int(v.class_embedding.shape[0])
        target = ComputeTarget.of_network(v.conv1.weight.device, v.conv1.weight.dtype, width)
        self._conv, self._cls, self._entry_norm = v.conv1, v.class_embedding, v.ln_pre
        self._exit_norm, self._projection = v.ln_post, v.proj
        self._positions = PositionTable(v.positional_embedding, tuple(v.grid_size))
        self._blocks = [TransformerBlock.of(block, target) for block in v.transformer.resblocks]
        self.heads = self._blocks[0].heads
        self.head_width = width // self.heads

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """Implement :meth:`SurgeryEncoder.surgery_tokens`."""
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
            if block is late[-1]:  # only CLS of the last block is used
                original, query = original[:, :1], query[:, :, :1]
            original = block.after(original, attend_heads(attend, query, key, value))
        return self._project(torch.cat([original, new[:, 1:]], dim=1))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """Implement :meth:`SurgeryEncoder.plain_tokens`."""
        x = self._embed(pixels)
        for block in self._blocks:
            x = block(self._attend, x)
        return self._project(x)

    def _embed(self, pixels: Tensor) -> Tensor:
        """Return the (B, 1 + N, C) input of the first block."""
        patches = self._conv(pixels)  # (B, C, h, w)
        positions = self._positions((patches.shape[2], patches.shape[3]))
        patches = patches.flatten(2).transpose(1, 2)
        cls = self._cls.expand(len(patches), 1, -1)
        return self._entry_norm(torch.cat([cls, patches], dim=1) + positions)

    def _project(self, x: Tensor) -> Tensor:
        """Map (B, N, width) tokens to CLIP's (B, N, C) embedding space."""
        return self._exit_norm(x) @ self._projection


class SurgeryResNet(SurgeryEncoder):
    """Surgery of OpenAI's ModifiedResNet: its attention pool is computed for every token.

    :param visual: ``open_clip.modified_resnet.ModifiedResNet``.
    """

    patch = 32  # product of all strides

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        v: Any = visual
        self._v = v
        self.heads = v.attnpool.num_heads
        self.head_width = v.attnpool.q_proj.out_features // self.heads
        side = int(v.image_size[0] if isinstance(v.image_size, tuple | list) else v.image_size)
        self.native_size = side
        grid = side // self.patch
        self._positions = PositionTable(v.attnpool.positional_embedding, (grid, grid))

    def surgery_tokens(self, pixels: Tensor) -> Tensor:
        """Implement :meth:`SurgeryEncoder.surgery_tokens`; CLS takes the new path too."""
        pool, x = self._v.attnpool, self._embed(pixels)
        grid_hw = (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch)
        layer = LayerInput(x, *_pool_heads(pool, x), grid_hw)
        return pool.c_proj(self._attention(self._attend, layer))

    def plain_tokens(self, pixels: Tensor) -> Tensor:
        """Implement :meth:`SurgeryEncoder.plain_tokens`."""
        pool, x = self._v.attnpool, self._embed(pixels)
        return pool.c_proj(attend_heads(self._attend, *_pool_heads(pool, x)))

    def _embed(self, pixels: Tensor) -> Tensor:
        """Return the (B, 1 + N, C) input of the attention pool; CLS is the mean token."""
        v = self._v
        x = v.layer4(v.layer3(v.layer2(v.layer1(v.stem(pixels)))))
        positions = self._positions((x.shape[2], x.shape[3]))
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions


def _pool_heads(pool: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of an attention pool, each (B, heads, N, d)."""
    return (
        split_heads(pool.q_proj(x), pool.num_heads),
        split_heads(pool.k_proj(x), pool.num_heads),
        split_heads(pool.v_proj(x), pool.num_heads),
    )


def check_attention(name: str) -> None:
    """Check that :data:`ATTENTIONS` has an attention of this name.

    :raises ConfigError: when it has none.
    """
    if name not in ATTENTIONS:
        raise ConfigError(f"attention '{name}' is none of {', '.join(ATTENTIONS)}")


def surgery_encoder_type(visual: Any) -> type[SurgeryVit] | type[SurgeryResNet]:
    """Return the class that supports an open_clip image tower.

    :raises ConfigError: naming the tower's class, when surgery does not support it.
    """
    if isinstance(visual, ModifiedResNet):
        return SurgeryResNet
    reads_cls = isinstance(visual, VisionTransformer) and not (
        visual.attn_pool is not None or visual.pool_type != "tok" or visual.final_ln_after_pool
    )
    if reads_cls and all(
        isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks
    ):
        return SurgeryVit
    raise ConfigError(
        f"CLIP Surgery needs a vision transformer read at its CLS token, or OpenAI's ResNet; this "
        f"model's image tower is a {type(visual).__name__} of another kind. ViT-B-16 is a good "
        "choice"
    )


def _value_value(attend: AttentionFunction, layer: LayerInput) -> Tensor:
    """Attention from values to values, as in CLIP Surgery."""
    return attend_heads(attend, layer.value, layer.value, layer.value)


def _key_key(attend: AttentionFunction, layer: LayerInput) -> Tensor:
    """Attention from keys to keys, as in GenSAM (Hu et al., arXiv 2312.07374)."""
    return attend_heads(attend, layer.key, layer.key, layer.value)


def _gem(attend: AttentionFunction, layer: LayerInput) -> Tensor:
    """Attention as in GEM (Bousselham et al., arXiv 2312.00878).

    The result is the mean over queries, keys and values. Each attends to itself with unit rows:
    first to average its own rows, then to average the values. The mean norm of the layer's input
    sets the temperature: the cosines are multiplied by ``mean |z_i| d^-1/2``.
    """
    norm = layer.z.norm(dim=-1).mean(dim=1)[:, None, None, None]
    value, sharpness = layer.value, norm * layer.value.shape[-1] ** -0.5
    attended = torch.zeros_like(value)
    for projection in (layer.query, layer.key, value):
        unit = F.normalize(projection, dim=-1)
        averaged = F.scaled_dot_product_attention(unit * sharpness, unit, unit, scale=1.0)
        unit = F.normalize(averaged, dim=-1)
        attended += F.scaled_dot_product_attention(unit * sharpness, unit, value, scale=1.0) / 3
    return attended.transpose(1, 2).flatten(2)


def _naclip(attend: AttentionFunction, layer: LayerInput) -> Tensor:
    """Attention from keys to near keys, as in NACLIP (Hajimiri et al., arXiv 2404.08181).

    ``exp(-|p_i - p_j|^2 / 2 sigma^2)`` of the grid positions of two patches is added to their
    attention logit.
    """
    key = layer.key
    bias = reads(_neighbourhood_bias(layer.grid_hw, key.dtype, key.device))
    attended = F.scaled_dot_product_attention(key, key, layer.value, attn_mask=bias)
    return attended.transpose(1, 2).flatten(2)


@lru_cache(maxsize=4)
def _neighbourhood_bias(
    grid_hw: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the (1 + N, 1 + N) bias of attention logits; it is 0 for CLS."""
    rows, columns = torch.meshgrid(*map(torch.arange, grid_hw), indexing="ij")
    positions = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    bias = torch.exp(-torch.cdist(positions, positions).square() / (2 * NEIGHBOURHOOD**2))
    return F.pad(bias, (1, 0, 1, 0)).to(device, dtype)


ATTENTIONS: Mapping[str, SurgeryAttention] = {
    "v-v": _value_value,
    "k-k": _key_key,
    "gem": _gem,
    "naclip": _naclip,
}
"""The attentions of the new path, by the values of the parameter ``attention``."""
