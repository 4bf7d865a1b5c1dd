"""segment-anything's mask decoder, faster for many point prompts on one image.

It computes the same numbers. The network is that of Kirillov et al. 2023. It has two blocks. In
each, output tokens and points attend to the image, then the image attends to them.
segment-anything copies the image for every prompt at the start. But without mask prompts, the
image is the same for all prompts until it first attends to them. So here its projections before
that are computed once per image. Channels are the last dimension here: convolutions of kernel 1
are then matrix products, and so are transposed convolutions of stride and kernel 2.

MobileSAM has the same decoder. That of SAM 2 (Ravi et al. 2024) has one more output token and adds
finer features of the image to the masks.

Shapes: K prompts, P points, T tokens of a prompt, h w the image's grid, N = h * w, C channels,
D channels of a projection.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.layers import ComputeTarget, Layer, fast_linear


@dataclass(frozen=True)
class ProjectedImage:
    """An image as the decoder's first block needs it; the same for all prompts.

    :param tokens: (1, N, C), the features plus the embedding of "no mask prompt".
    :param projections: (1, N, 3 D): keys for the prompts' attention to the image, queries for the
        image's attention to the prompts, and values for the prompts'.
    :param fine: SAM 2's features at two and four times the grid's size, (1, N, 2 * 2, C / 4) and
        (1, N, 2 * 2, 2 * 2 * C / 8); empty for other networks.
    """

    tokens: Tensor
    projections: Tensor
    fine: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, as :meth:`of` takes them."""
        return self.tokens, self.projections, *self.fine

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> ProjectedImage:
        """Make it from its :attr:`tensors`."""
        tokens, projections, *fine = tensors
        return cls(tokens, projections, tuple(fine))


class FastMaskDecoder:
    """Decodes point prompts to low-resolution masks, in float32.

    :param prompt_encoder: of segment-anything or SAM 2; it is copied.
    :param mask_decoder: of the same network; it is copied.
    :param device: torch device.
    """

    def __init__(
        self,
        prompt_encoder: nn.Module,
        mask_decoder: nn.Module,
        device: str | torch.device = "cpu",
    ) -> None:
        prompts, net = _float32_copy(prompt_encoder, device), _float32_copy(mask_decoder, device)
        self._points = PointEncoder(prompts)
        self._no_mask = prompts.no_mask_embed.weight  # (1, C)
        self._grid_hw: tuple[int, int] = prompts.image_embedding_size
        self.input_size: int = prompts.input_image_size[0]
        """Side of the network's square input in pixels."""
        self.logit_pixels = self.input_size // (4 * self._grid_hw[0])
        """Pixels of the network's input per logit, along a side."""
        names = ("obj_score_token", "iou_token", "mask_tokens")  # only SAM 2 has the first
        outputs = [getattr(net, name).weight for name in names if hasattr(net, name)]
        self._outputs = torch.cat(outputs)  # (5 or 6, C)
        self._iou_index = len(self._outputs) - net.num_mask_tokens - 1
        self._mask_mlps, self._iou_head = net.output_hypernetworks_mlps, net.iou_prediction_head
        self._upscale = Upscaling(net.output_upscaling)
        self._fine_layers = [net.conv_s1, net.conv_s0] if hasattr(net, "conv_s1") else []
        self._blocks, self._final = net.transformer.layers, net.transformer
        positions = prompts.get_dense_pe().flatten(2).mT  # (1, N, C)
        self._projections = [_block_projections(block, positions) for block in self._blocks]
        attention = self._final.final_attn_token_to_image
        self._final_projections = ImageProjections(
            [attention.k_proj], [attention.v_proj], positions
        )

    def project_image(self, features: Tensor, *fine_features: Tensor) -> ProjectedImage:
        """Compute everything that does not depend on prompts.

        :param features: (1, C, h, w), float32.
        :param fine_features: SAM 2's (1, C, 2 h, 2 w) and (1, C, 4 h, 4 w).
        """
        tokens = features.flatten(2).mT + self._no_mask
        levels = zip(self._fine_layers, fine_features, strict=True)
        fine = tuple(_group_by_token(layer(level), self._grid_hw) for layer, level in levels)
        return ProjectedImage(tokens, self._projections[0].project(tokens), fine)

    def __call__(
        self, image: ProjectedImage, points: Tensor, labels: Tensor, is_padded: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Compute three masks for each prompt.

        :param points: (K, P, 2) float32 (x, y), pixels of the network's input.
        :param labels: (K, P) int64, 1 inside the object, 0 outside, -1 for padding.
        :param is_padded: whether there is padding. Nothing attends to it, so it changes nothing.
        :returns: (K, 3, 4 h, 4 w) logits and (K, 3) estimates of their IoU.
        """
        prompts = self._points(points, labels)  # (K, P + 1, C)
        outputs = self._outputs.expand(len(prompts), -1, -1)
        tokens = torch.cat([outputs, prompts], dim=1)
        # Output tokens come before the points, "no point" after them.
        used = F.pad(labels >= 0, (len(self._outputs), 1), value=True) if is_padded else None
        out, image_tokens = self._transform(image, tokens, used)
        iou_token, mask_tokens = out[:, self._iou_index], out[:, self._iou_index + 1 :]
        kernels = [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self._mask_mlps)]
        # The first mask, for unambiguous prompts, is not used.
        used_kernels = torch.stack(kernels[1:], dim=1)
        logits = self._upscale(image_tokens, used_kernels, self._grid_hw, image.fine)
        return logits, self._iou_head(iou_token)[:, 1:]

    def _transform(
        self, image: ProjectedImage, tokens: Tensor, used: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run all blocks; return (K, T, C) prompt tokens and (K, N, C) image tokens.

        :param tokens: (K, T, C), of the prompts.
        :param used: (K, T), false for padding; None without padding.
        """
        first, *later = self._blocks
        key, query, value = image.projections.chunk(3, dim=-1)
        queries = _update_prompts(first, tokens, tokens, key, value, used)
        image_tokens = _update_image(first, queries, tokens, image.tokens, query, used)
        for block, project in zip(later, self._projections[1:], strict=True):
            key, query, value = project(image_tokens)
            queries = _update_prompts(block, queries, tokens, key, value, used)
            image_tokens = _update_image(block, queries, tokens, image_tokens, query, used)
        key, value = self._final_projections(image_tokens)
        attention = self._final.final_attn_token_to_image
        queries = queries + _attend(attention, attention.q_proj(queries + tokens), key, value)
        return self._final.norm_final_attn(queries), image_tokens


class PointEncoder:
    """Encodes points as prompt tokens, as ``PromptEncoder`` does when there are no boxes.

    It does not select points by their labels, because a GPU would have to wait for the selection.
    """

    def __init__(self, prompt_encoder: Any) -> None:
        self._positions, self._size = prompt_encoder.pe_layer, prompt_encoder.input_image_size
        outside, inside = prompt_encoder.point_embeddings[:2]
        self._labels = torch.cat([outside.weight, inside.weight])  # (2, C)
        self._no_point = prompt_encoder.not_a_point_embed.weight  # (1, C)

    def __call__(self, points: Tensor, labels: Tensor) -> Tensor:
        """Return (K, P + 1, C) tokens; the last one is "no point".

        :param points: (K, P, 2) float32 (x, y), pixels of the network's input.
        :param labels: (K, P) int64, 1 inside the object, 0 outside; any token for -1, padding.
        """
        centres = points + 0.5
        encoded = self._positions.forward_with_coords(centres, self._size) + self._labels[labels]
        return torch.cat([encoded, self._no_point.expand(len(points), 1, -1)], dim=1)


class ImageProjections:
    """Several projections of the image in one product.

    ``W (x + p) + b = W x + (W p + b)``: the second term, of the positions p, is a constant table.

    :param positioned: layers whose input is the image plus its positions.
    :param plain: layers whose input is the image alone.
    :param positions: (1, N, C).
    """

    def __init__(
        self, positioned: Sequence[nn.Linear], plain: Sequence[nn.Linear], positions: Tensor
    ) -> None:
        tables = [layer(positions) for layer in positioned]
        tables += [layer.bias.expand(*positions.shape[:2], -1) for layer in plain]
        weight = torch.cat([layer.weight for layer in (*positioned, *plain)])
        self._product = fast_linear(weight, None, _target(weight, positions.shape[-1]))
        self._table, self._layer_count = torch.cat(tables, dim=-1), len(tables)

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Project (K, N, C) to (K, N, D) for each layer, the positioned ones first."""
        return self.project(image).chunk(self._layer_count, dim=-1)

    def project(self, image: Tensor) -> Tensor:
        """Project (K, N, C) to (K, N, layers * D)."""
        return self._product(image).add_(self._table)


class Upscaling:
    """Computes masks of four times the grid's size from the image's tokens.

    :param layers: transposed convolution, LayerNorm, GELU, transposed convolution, GELU.
    """

    def __init__(self, layers: Any) -> None:
        first, self._norm, _, second, _ = layers
        target = _target(first.weight, first.in_channels)
        self._first, self._second = _as_linear(first, target), _as_linear(second, target)

    def __call__(
        self,
        image: Tensor,
        kernels: Tensor,
        grid_hw: tuple[int, int],
        fine: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """Upscale the image, and sum its channels with the weights of each mask.

        :param image: (K, N, C).
        :param kernels: (K, M, C / 8), the weights of M masks.
        :param fine: features to add at each size, see :class:`ProjectedImage`.
        :returns: (K, M, 4 h, 4 w).
        """
        x = self._first(image).unflatten(-1, (4, -1))  # (K, N, 2 * 2, C / 4)
        if fine:
            x += fine[0]
        x = F.layer_norm(x, x.shape[-1:], self._norm.weight, self._norm.bias, self._norm.eps)
        x = self._second(torch.ops.aten.gelu_(x))  # (K, N, 2 * 2, 2 * 2 * C / 8)
        if fine:
            x += fine[1]
        x = torch.ops.aten.gelu_(x).view(len(x), -1, kernels.shape[-1])
        masks = (kernels @ x.mT).unflatten(-1, (*grid_hw, 2, 2, 2, 2))
        masks = masks.permute(
            0, 1, 2, 4, 6, 3, 5, 7
        )  # rows of the grid and of both upscalings, then columns
        return masks.flatten(5).flatten(2, 4)


def _float32_copy(module: nn.Module, device: str | torch.device) -> Any:
    return copy.deepcopy(module).to(device, torch.float32).eval().requires_grad_(False)


def _block_projections(block: Any, positions: Tensor) -> ImageProjections:
    """Return the projections of the image in a block: key, query and value, in this order."""
    to_image, to_prompts = block.cross_attn_token_to_image, block.cross_attn_image_to_token
    return ImageProjections([to_image.k_proj, to_prompts.q_proj], [to_image.v_proj], positions)


def _update_prompts(
    block: Any,
    queries: Tensor,
    tokens: Tensor,
    key: Tensor,
    value: Tensor,
    used: Tensor | None,
) -> Tensor:
    """Run the first three steps of ``TwoWayAttentionBlock``, which change the prompts.

    They are self-attention, attention to the image, and an MLP.

    :param queries: (K, T, C), state of the prompts.
    :param tokens: (K, T, C), prompts before the first block, which serve as their positions.
    :param key: (1 or K, N, D), of the image; 1 when all prompts share it.
    :param value: of the same shape.
    :param used: (K, T), false for padding; None without padding.
    """
    if block.skip_first_layer_pe:
        queries = _attend_to_prompts(block.self_attn, queries, queries, used)
    else:
        positioned = queries + tokens
        queries = queries + _attend_to_prompts(block.self_attn, positioned, queries, used)
    queries = block.norm1(queries)
    attention = block.cross_attn_token_to_image
    query = attention.q_proj(queries + tokens)
    if len(key) == 1:  # all prompts as one long list of queries
        attended = _attend(attention, query.flatten(0, 1)[None], key, value).view_as(queries)
    else:
        attended = _attend(attention, query, key, value)
    queries = block.norm2(queries + attended)
    return block.norm3(queries + block.mlp(queries))


def _attend_to_prompts(
    attention: Any, positioned: Tensor, queries: Tensor, used: Tensor | None
) -> Tensor:
    """Compute the self-attention of (K, T, C) prompts."""
    if used is None:
        out: Tensor = attention(q=positioned, k=positioned, v=queries)
        return out
    query, key = attention.q_proj(positioned), attention.k_proj(positioned)
    return _attend(attention, query, key, attention.v_proj(queries), used)


def _update_image(
    block: Any,
    queries: Tensor,
    tokens: Tensor,
    image: Tensor,
    query: Tensor,
    used: Tensor | None,
) -> Tensor:
    """Run the last step of ``TwoWayAttentionBlock``: the image attends to the prompts.

    :param queries: (K, T, C), state of the prompts.
    :param tokens: (K, T, C), prompts before the first block.
    :param image: (1 or K, N, C).
    :param query: (1 or K, N, D), of the image.
    :param used: (K, T), false for padding; None without padding.
    :returns: (K, N, C).
    """
    attention = block.cross_attn_image_to_token
    key, value = attention.k_proj(queries + tokens), attention.v_proj(queries)
    query = query.expand(len(key), -1, -1)
    if attention.num_heads * key.shape[1] <= attention.internal_dim:
        return block.norm4(_add_attended(attention, image, query, key, value, used))
    return block.norm4(_attend(attention, query, key, value, used).add_(image))


def _attend(
    attention: Any, query: Tensor, key: Tensor, value: Tensor, used: Tensor | None = None
) -> Tensor:
    """Compute attention of projected (K, T, D) queries to (K, N, D) keys: (K, T, C).

    :param used: (K, N), false for keys that are padding; None without padding.
    """
    heads = (attention.num_heads, -1)
    q, k, v = (x.unflatten(-1, heads).transpose(1, 2) for x in (query, key, value))
    mask = None if used is None else used[:, None, None]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    return attention.out_proj(out)


def _add_attended(
    attention: Any,
    image: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    used: Tensor | None,
) -> Tensor:
    """Compute ``image + _attend(...)``; for few keys it is less work to project values first.

    ``out(concat_h A_h V_h) = sum_h A_h (V_h O_h) + o``, one product over all heads' keys.
    """
    n = attention.num_heads
    q, k, v = (x.unflatten(-1, (n, -1)).transpose(1, 2) for x in (query, key, value))
    scores = (k * k.shape[-1] ** -0.5) @ q.mT  # (K, n, T, N)
    if used is not None:
        scores = scores.masked_fill(~used[:, None, :, None], float("-inf"))
    weights = scores.softmax(dim=2).flatten(1, 2)  # (K, n * T, N)
    out = attention.out_proj
    projected = v @ out.weight.mT.unflatten(0, (n, -1))  # (K, n, T, C)
    projected += out.bias / n  # each head adds it once, as its weights sum to 1
    return torch.baddbmm(image.expand(len(key), -1, -1), weights.mT, projected.flatten(1, 2))


def _group_by_token(features: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Rearrange features that are finer than the grid, in the order of :class:`Upscaling`.

    :param features: (1, c, 2 h, 2 w) or (1, c, 4 h, 4 w).
    :returns: (1, N, 2 * 2, c) or (1, N, 2 * 2, 2 * 2 * c).
    """
    levels = (features.shape[2] // grid_hw[0]).bit_length() - 1
    halves = (-1, *[2] * levels)
    x = features.unflatten(3, halves).unflatten(2, halves)  # (1, c, h, 2, [2,] w, 2, [2])
    rows = range(2, 3 + levels)
    x = x.permute(0, *(axis for row in rows for axis in (row, row + len(rows))), 1)
    return x.flatten(1, 2).flatten(2, 3).flatten(3)  # from (1, h, w, 2, 2, [2, 2,] c)


def _target(weight: Tensor, width: int) -> ComputeTarget:
    """Return where and how products with a weight are computed.

    :param width: channels of the decoder.
    """
    return ComputeTarget.of_network(weight.device, weight.dtype, width)


def _as_linear(layer: Any, target: ComputeTarget) -> Layer:
    """Return a linear layer that equals a transposed convolution of stride and kernel 2.

    The (in, out, 2, 2) weight becomes (2 * 2 * out, in).
    """
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return fast_linear(weight, layer.bias.repeat(4), target)
