"""segment-anything's image encoder, computed faster and to the same numbers.

The network is that of Kirillov et al. 2023. ``encoder_blocks.py`` has its blocks,
``encoder_attention.py`` the forms of their attention.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

from clip_surgery_ros.arithmetic.layers import ComputeTarget, Norm, fast_linear, noise
from clip_surgery_ros.arithmetic.timing import fastest
from clip_surgery_ros.networks.sam.encoder_attention import AttentionForm, candidate_forms
from clip_surgery_ros.networks.sam.encoder_blocks import fast_blocks, fast_mlp, run_blocks


class FastImageEncoder:
    """Computes an ``ImageEncoderViT`` of segment-anything with faster attention, for inference.

    It does not change the encoder's weights, and shares those that need no conversion.

    :param encoder: has relative positions and biases, as all of Meta's SAMs.
    :param device: torch device.
    :param dtype: of weights and arithmetic.
    :param forms: attention forms to choose from; by default :func:`candidate_forms`.
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
        self.dtype, self._is_gpu = dtype, target.device.type != "cpu"
        self._patch = net.patch_embed.proj.kernel_size[0]
        weight, bias = net.patch_embed.proj.weight, net.patch_embed.proj.bias
        self._embed = fast_linear(weight.flatten(1), bias, target)
        self._positions = target.move(net.pos_embed)  # (1, h, w, C)
        grid_hw = (self._positions.shape[1], self._positions.shape[2])
        blocks = fast_blocks(net.blocks, grid_hw, target, forms or candidate_forms(target))
        self._leading = tuple(itertools.takewhile(lambda block: block[0].windows, blocks))
        self._later = blocks[len(self._leading) :]
        self._blank: dict[int, Tensor] = {}
        project, norm1, convolve, norm2 = net.neck
        self._project = fast_linear(project.weight.flatten(1), None, target)
        self._convolve = target.move(convolve.weight).contiguous(memory_format=torch.channels_last)
        self._norm1, self._norm2 = (Norm.of(norm, target) for norm in (norm1, norm2))

    def __call__(self, pixels: Tensor, height: int | None = None) -> Tensor:
        """Compute the features of normalised and padded pixels.

        :param pixels: (B, 3, S, S).
        :param height: rows of pixels that show the image; those below are zero. By default all.
        :returns: (B, c, h, w), channels last in memory.
        """
        x = self._embed(self._patches(pixels.to(self.dtype))) + self._positions
        used = self._used_rows(len(pixels), height)
        run_blocks(self._leading, x[:, :used])
        if used < x.shape[1]:
            x[:, used:] = self._blank_rows(used)
        run_blocks(self._later, x)
        x = self._norm1(self._project(x)).permute(0, 3, 1, 2)  # (B, c, h, w)
        x = F.conv2d(x, self._convolve, padding=1)
        return self._norm2(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _used_rows(self, batch: int, height: int | None) -> int:
        """Return how many rows of the grid belong to strips of windows that show the image.

        The other rows are padding. Up to the first global block they are the same for all images.
        """
        rows = self._positions.shape[1]
        # On GPUs a batch is computed at once, which needs all of its rows in one piece of memory.
        if not self._leading or height is None or (batch > 1 and self._is_gpu):
            return rows
        size = next(iter(self._leading[0][0].windows.values())).size
        last = max(0, height - 1) // self._patch
        return min((last // size + 1) * size, rows)

    def _blank_rows(self, first: int) -> Tensor:
        """Return (1, h - first, w, C): what the leading blocks compute for zeros, cached."""
        if first not in self._blank:
            nothing = self._positions.new_zeros(1, 3 * self._patch**2)
            x = self._embed(nothing) + self._positions[:, first:]
            run_blocks(self._leading, x)
            self._blank[first] = x
        return self._blank[first]

    def _patches(self, pixels: Tensor) -> Tensor:
        """Rearrange (B, 3, S, S) to (B, h, w, 3 * p * p), as the patches' convolution does."""
        rows = pixels.unflatten(2, (-1, self._patch)).unflatten(4, (-1, self._patch))
        return rows.permute(0, 2, 4, 1, 3, 5).flatten(3)  # from (B, 3, h, p, w, p)


def encoder_dtype(
    encoder: ImageEncoderViT, dtype: torch.dtype, device: str | torch.device
) -> torch.dtype:
    """Return the precision for this encoder, see :func:`faster_dtype`."""
    cpu = torch.device(device)
    block: Any = encoder.blocks[0]
    width = block.norm2.weight.shape[0]
    x = noise(1, 1, 512, width)

    def run_in(candidate: torch.dtype) -> Callable[[], object]:
        target = ComputeTarget.of_network(cpu, candidate, width)
        return partial(fast_mlp(block, target).add_to, x.to(candidate))

    return faster_dtype(f"SAM's encoder of width {width}", dtype, cpu, run_in)


def faster_dtype(
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    run_in: Callable[[torch.dtype], Callable[[], object]],
) -> torch.dtype:
    """Return the requested precision, or float32 where that is faster.

    Processors without matrix instructions for bfloat16 compute in it at half the speed of float32.

    :param name: of the network.
    :param run_in: returns typical work in a precision, to be timed.
    """
    if dtype == torch.float32 or device.type != "cpu":
        return dtype
    with torch.inference_mode():
        runs = {candidate: run_in(candidate) for candidate in (dtype, torch.float32)}
        return fastest(f"precision of {name} on {device}", runs, device)
