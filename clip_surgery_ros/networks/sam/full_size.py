"""Enlarges a decoder's low-resolution logits to masks in the image's size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GPU_MASKS = 16
"""Masks that a GPU enlarges together. Each takes 8 MB meanwhile at 1280 x 720."""


def full_size_masks(
    logits: Tensor, input_size: int, inner_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Tensor:
    """Enlarge logits to the image and threshold them, as ``Sam.postprocess_masks``.

    :param logits: (K, l, l).
    :param input_size: side of the network's square input.
    :param inner_hw: height and width of the resized image in that input.
    :param size_hw: height and width of the image.
    :returns: (K, H, W) bool.
    """
    scale = input_size // logits.shape[-1]
    # Padding is cut off first, except one row and column: the interpolation at the border uses it.
    rows, columns = (min(logits.shape[-1], -(-side // scale) + 1) for side in inner_hw)
    masks = logits.new_empty((len(logits), *size_hw), dtype=torch.bool)
    step = masks_per_step(logits)
    parts = zip(masks.split(step), logits[:, None, :rows, :columns].split(step), strict=True)
    for part, small in parts:
        large = F.interpolate(small, (rows * scale, columns * scale), mode="bilinear")
        inner = large[..., : inner_hw[0], : inner_hw[1]]
        torch.gt(F.interpolate(inner, size_hw, mode="bilinear")[:, 0], 0, out=part)
    return masks


def masks_per_step(logits: Tensor) -> int:
    """Return how many masks are enlarged together: on CPUs one, which fits into a cache."""
    return 1 if logits.device.type == "cpu" else GPU_MASKS
