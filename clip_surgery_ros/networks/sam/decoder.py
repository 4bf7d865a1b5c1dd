"""segment-anything's mask decoder for many point prompts on one image, to the same numbers.

The network is that of Kirillov et al. 2023: output tokens and points attend to the image and the
image to them, in two blocks. segment-anything repeats the image for every prompt at the start.
Without mask prompts it is the same for all until it first attends to a prompt, so its projections
up to there are computed once per image. The rest keeps channels last, where convolutions of
kernel 1 and transposed convolutions of stride and kernel 2 are plain products.

MobileSAM's decoder is the same; that of SAM 2 (Ravi et al. 2024) has one more output token and
adds finer features of the image to the masks.

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
class ImageSide:
    """What all prompts of an image share.

    :param tokens: (1, N, C), the features with "no mask prompt" added.
    :param key, value: (1, N, D), what the first block's prompts read.
    :param query: (1, N, D), what the image asks the prompts in the first block.
    :param fine: SAM 2's features of two and four times the grid, (1, N, 2 * 2, C / 4) and
        (1, N, 2 * 2, 2 * 2 * C / 8).
    """

    tokens: Tensor
    key: Tensor
    value: Tensor
    query: Tensor
    fine: tuple[Tensor, ...] = ()


class FastMaskDecoder:
    """Point prompts to low-resolution masks, in float32.

    :param prompt_encoder: of segment-anything or SAM 2; it and the decoder are copied.
    :param mask_decoder: of the same network.
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
        """Its pixels that a logit stands for along a side."""
        names = ("obj_score_token", "iou_token", "mask_tokens")  # the first in SAM 2 alone
        outputs = [getattr(net, name).weight for name in names if hasattr(net, name)]
        self._outputs = torch.cat(outputs)  # (5 or 6, C)
        self._score_token = len(self._outputs) - net.num_mask_tokens - 1
        self._mask_mlps, self._score = net.output_hypernetworks_mlps, net.iou_prediction_head
        self._upscale = Upscaling(net.output_upscaling)
        self._finer = [net.conv_s1, net.conv_s0] if hasattr(net, "conv_s1") else []
        self._layers, self._final = net.transformer.layers, net.transformer
        positions = prompts.get_dense_pe().flatten(2).mT  # (1, N, C)
        self._projections = [_block_projections(layer, positions) for layer in self._layers]
        last = self._final.final_attn_token_to_image
        self._final_projections = ImageProjections([last.k_proj], [last.v_proj], positions)

    def image_side(self, features: Tensor, *finer: Tensor) -> ImageSide:
        """What all prompts of an image share.

        :param features: (1, C, h, w), float32.
        :param finer: SAM 2's (1, C, 2 h, 2 w) and (1, C, 4 h, 4 w).
        """
        tokens = features.flatten(2).mT + self._no_mask
        key, query, value = self._projections[0](tokens)
        projected = (layer(one) for layer, one in zip(self._finer, finer, strict=True))
        fine = tuple(_by_token(one, self._grid_hw) for one in projected)
        return ImageSide(tokens, key, value, query, fine)

    def __call__(self, image: ImageSide, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Three masks for each prompt.

        :param points: (K, P, 2) float32 (x, y), pixels of the network's input.
        :param labels: (K, P) int64, 1 inside the object, 0 outside.
        :returns: (K, 3, 4 h, 4 w) logits and (K, 3) estimates of their IoU.
        """
        prompts = self._points(points, labels)  # (K, P + 1, C)
        outputs = self._outputs.expand(len(prompts), -1, -1)
        out, seen = self._transform(image, torch.cat([outputs, prompts], dim=1))
        # The score's token is followed by that of the mask for unambiguous prompts, unused here.
        told, masks = out[:, self._score_token], out[:, self._score_token + 1 :].unbind(dim=1)
        kernels = [mlp(masks[i]) for i, mlp in enumerate(self._mask_mlps)][1:]
        logits = self._upscale(seen, torch.stack(kernels, dim=1), self._grid_hw, image.fine)
        return logits, self._score(told)[:, 1:]

    def _transform(self, image: ImageSide, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides after all blocks: (K, T, C) tokens and (K, N, C) image."""
        first, *others = self._layers
        queries = _read_image(first, tokens, tokens, image.key, image.value)
        seen = _show_image(first, queries, tokens, image.tokens, image.query)
        for layer, project in zip(others, self._projections[1:], strict=True):
            key, query, value = project(seen)
            queries = _read_image(layer, queries, tokens, key, value)
            seen = _show_image(layer, queries, tokens, seen, query)
        key, value = self._final_projections(seen)
        attention = self._final.final_attn_token_to_image
        queries = queries + _attend(attention, attention.q_proj(queries + tokens), key, value)
        return self._final.norm_final_attn(queries), seen


class PointEncoder:
    """Points with labels to prompt tokens, as ``PromptEncoder`` does when there are no boxes.

    Unlike it, without picking by label, for which a GPU would have to wait.
    """

    def __init__(self, prompt_encoder: Any) -> None:
        self._positions, self._size = prompt_encoder.pe_layer, prompt_encoder.input_image_size
        outside, inside = prompt_encoder.point_embeddings[:2]
        self._labels = torch.cat([outside.weight, inside.weight])  # (2, C)
        self._no_point = prompt_encoder.not_a_point_embed.weight  # (1, C)

    def __call__(self, points: Tensor, labels: Tensor) -> Tensor:
        """(K, P, 2) pixels and (K, P) labels to (K, P + 1, C); "no point" closes the list."""
        centres = points + 0.5
        encoded = self._positions.forward_with_coords(centres, self._size) + self._labels[labels]
        return torch.cat([encoded, self._no_point.expand(len(points), 1, -1)], dim=1)


class ImageProjections:
    """Several projections of the image in one product.

    ``W (x + p) + b = W x + (W p + b)``: the part of the positions p is a constant table.

    :param placed: layers that see the image with its positions.
    :param plain: layers that see it without.
    :param positions: (1, N, C).
    """

    def __init__(
        self, placed: Sequence[nn.Linear], plain: Sequence[nn.Linear], positions: Tensor
    ) -> None:
        tables = [layer(positions) for layer in placed]
        tables += [layer.bias.expand(*positions.shape[:2], -1) for layer in plain]
        weight = torch.cat([layer.weight for layer in (*placed, *plain)])
        self._product = fast_linear(weight, None, _target(weight, positions.shape[-1]))
        self._table, self._parts = torch.cat(tables, dim=-1), len(tables)

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """(K, N, C) to (K, N, D) for each layer."""
        return self._product(image).add_(self._table).chunk(self._parts, dim=-1)


class Upscaling:
    """The image's tokens to masks of four times the grid's size.

    :param layers: transposed convolution, norm, GELU, transposed convolution, GELU.
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
        """Upscale, and take each mask's mixture of channels.

        :param image: (K, N, C).
        :param kernels: (K, M, C / 8).
        :param fine: what to add at either size, as :class:`ImageSide` has it.
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
        masks = masks.permute(0, 1, 2, 4, 6, 3, 5, 7)  # rows of all three levels, then columns
        return masks.flatten(5).flatten(2, 4)


def full_size_masks(
    logits: Tensor, input_size: int, inner_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Tensor:
    """Low-resolution logits to masks of the image, as ``Sam.postprocess_masks`` and a threshold.

    :param logits: (K, l, l).
    :param input_size: side of the network's square input.
    :param inner_hw: the resized image inside it.
    :param size_hw: height and width of the image.
    :returns: (K, H, W) bool.
    """
    scale = input_size // logits.shape[-1]
    # Rows and columns of padding are left out beforehand, but for the one that the border needs.
    rows, columns = (min(logits.shape[-1], -(-side // scale) + 1) for side in inner_hw)
    masks = logits.new_empty((len(logits), *size_hw), dtype=torch.bool)
    for mask, one in zip(masks, logits[:, None, None, :rows, :columns], strict=True):
        large = F.interpolate(one, (rows * scale, columns * scale), mode="bilinear")
        inner = large[..., : inner_hw[0], : inner_hw[1]]
        torch.gt(F.interpolate(inner, size_hw, mode="bilinear")[0, 0], 0, out=mask)
    return masks


def _float32_copy(module: nn.Module, device: str | torch.device) -> Any:
    return copy.deepcopy(module).to(device, torch.float32).eval().requires_grad_(False)


def _block_projections(layer: Any, positions: Tensor) -> ImageProjections:
    """Key, query and value that a block takes from the image, in this order."""
    read, show = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
    return ImageProjections([read.k_proj, show.q_proj], [read.v_proj], positions)


def _read_image(layer: Any, queries: Tensor, tokens: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The first three steps of ``TwoWayAttentionBlock``: the prompts' side.

    :param queries: (K, T, C).
    :param tokens: (K, T, C), added wherever positions matter.
    :param key: (1 or K, N, D), and ``value``; 1 when all prompts share them.
    """
    if layer.skip_first_layer_pe:
        queries = layer.self_attn(q=queries, k=queries, v=queries)
    else:
        placed = queries + tokens
        queries = queries + layer.self_attn(q=placed, k=placed, v=queries)
    queries = layer.norm1(queries)
    attention = layer.cross_attn_token_to_image
    asked = attention.q_proj(queries + tokens)
    if len(key) == 1:  # all prompts as one long list of queries
        read = _attend(attention, asked.flatten(0, 1)[None], key, value).view_as(queries)
    else:
        read = _attend(attention, asked, key, value)
    queries = layer.norm2(queries + read)
    return layer.norm3(queries + layer.mlp(queries))


def _show_image(
    layer: Any, queries: Tensor, tokens: Tensor, image: Tensor, query: Tensor
) -> Tensor:
    """The last step of ``TwoWayAttentionBlock``: the image attends to the prompts.

    :param image: (1 or K, N, C), and its ``query`` (1 or K, N, D).
    :returns: (K, N, C).
    """
    attention = layer.cross_attn_image_to_token
    key, value = attention.k_proj(queries + tokens), attention.v_proj(queries)
    query = query.expand(len(key), -1, -1)
    if attention.num_heads * key.shape[1] <= attention.internal_dim:
        return layer.norm4(_add_attended(attention, image, query, key, value))
    return layer.norm4(_attend(attention, query, key, value).add_(image))


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of projected (K, T, D) queries to (K, N, D) keys, back at C channels."""
    heads = (attention.num_heads, -1)
    q, k, v = (x.unflatten(-1, heads).transpose(1, 2) for x in (query, key, value))
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return attention.out_proj(out)


def _add_attended(
    attention: Any, image: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """``image + _attend(...)`` for few keys: projecting the values first is then less work.

    ``out(concat_h A_h V_h) = sum_h A_h (V_h O_h) + o``, one product over all heads' keys.
    """
    n = attention.num_heads
    q, k, v = (x.unflatten(-1, (n, -1)).transpose(1, 2) for x in (query, key, value))
    weights = ((k * k.shape[-1] ** -0.5) @ q.mT).softmax(dim=2).flatten(1, 2)  # (K, n * T, N)
    out = attention.out_proj
    projected = v @ out.weight.mT.unflatten(0, (n, -1))  # (K, n, T, C)
    projected += out.bias / n  # the weights of each head sum to 1, and so to n
    return torch.baddbmm(image.expand(len(key), -1, -1), weights.mT, projected.flatten(1, 2))


def _by_token(features: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Features finer than the grid in the order of :class:`Upscaling`'s products.

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
    """Of a weight of a decoder of so many channels."""
    return ComputeTarget.of_network(weight.device, weight.dtype, width)


def _as_linear(layer: Any, target: ComputeTarget) -> Layer:
    """A product that equals a transposed convolution of stride and kernel 2.

    Its (in, out, 2, 2) weight becomes (2 * 2 * out, in).
    """
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return fast_linear(weight, layer.bias.repeat(4), target)
