"""Resizes images on a GPU, to the same bytes as Pillow does on the host.

Pillow resizes along one axis, rounds to bytes, and resizes along the other. A pixel is a sum of
bytes times whole numbers, shifted by :data:`POINT` bits. Here a product of matrices computes the
sums. Floats of 32 bits hold whole numbers up to 2^24 only, so each weight is split into digits,
whose sums stay below that in any order. Bytes and digits fit into TF32 as well.

Which axis is first depends on sizes and on Pillow's version. So Pillow is asked once for each
size, and resizes on the host if it computes in another way, as forks of it do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version
from torch import Tensor

from clip_surgery_ros.arithmetic.graphs import reads

_LOG = logging.getLogger(__name__)

POINT = 22
"""Bits after the point of Pillow's weights, ``PRECISION_BITS`` in its ``Resample.c``."""
DIGIT_BITS = (12, 8, 5)
"""Bits of a digit to choose from: two digits of 12 bits are enough unless an image shrinks to
about a sixteenth; those of 5 bits are enough for a side of 200,000 pixels. With signs they are
within 2^11, which TF32 holds too."""
TABLES = 16
"""Tables that are kept: those of two networks, with windows, for the images of a few cameras.
Each takes some 5 MB."""

PROBES = 8
"""Rows and columns of a probe. A wrong order of axes changes about a fifth of all pixels."""

Values = NDArray[np.float64]
Sizes = tuple[int, int]


@dataclass(frozen=True)
class Kernel:
    """A filter of Pillow.

    :param pillow: its name there.
    :param support: distance in pixels at which it becomes 0.
    :param weight: of pixels at distances of 0 or more, in pixels.
    """

    pillow: Image.Resampling
    support: float
    weight: Callable[[Values], Values]


def _triangle(x: Values) -> Values:
    return np.maximum(1 - x, 0)


def _cubic(x: Values) -> Values:
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


BILINEAR = Kernel(Image.Resampling.BILINEAR, 1.0, _triangle)
BICUBIC = Kernel(Image.Resampling.BICUBIC, 2.0, _cubic)


@dataclass(frozen=True)
class AxisWeights:
    """The weights of all pixels along an axis.

    :param digits: (I, D * O) float32, the digits of (O, I) weights, the lowest first.
    :param bits: of a digit.
    :param size: O, pixels of the result.
    """

    digits: Tensor
    bits: int
    size: int

    def __call__(self, x: Tensor) -> Tensor:
        """Resize (..., I) bytes to (..., O) bytes, both as float32."""
        lowest, *higher = (x @ self.digits).int().split(self.size, dim=-1)
        for place, sums in enumerate(higher, 1):
            lowest = torch.add(lowest, sums, alpha=1 << self.bits * place)
        return ((lowest + (1 << POINT - 1)) >> POINT).clamp_(0, 255).float()


def resize_images(images: Sequence[Tensor], size_hw: Sizes, kernel: Kernel) -> Tensor:
    """Resize images on their device.

    :param images: B of them, (H, W, 3) uint8 each. Those of the same size that follow each other
        are resized together.
    :returns: (B, 3, h, w) float32, whole numbers from 0 to 255, channels last in memory.
    """
    groups = [torch.stack(list(group)) for _, group in groupby(images, lambda x: x.shape)]
    return torch.cat([_resize(group, size_hw, kernel) for group in groups])


def resize_on_host(image: NDArray[np.uint8], size_hw: Sizes, kernel: Kernel) -> NDArray[np.uint8]:
    """Resize an (H, W, 3) image with Pillow."""
    return np.array(Image.fromarray(image).resize(size_hw[::-1], kernel.pillow))


def _resize(images: Tensor, size_hw: Sizes, kernel: Kernel) -> Tensor:
    """Resize (B, H, W, 3) images of one size."""
    (rows, columns), (height, width) = size_hw, images.shape[1:3]
    rows_first = are_rows_first((height, width), (rows, columns), kernel)
    if rows_first is None:
        resized = [resize_on_host(image, size_hw, kernel) for image in images.cpu().numpy()]
        return torch.from_numpy(np.stack(resized)).to(images.device).permute(0, 3, 1, 2).float()
    x = images.permute(0, 3, 1, 2).float()
    along_rows = reads(axis_weights(width, columns, kernel, images.device))
    along_columns = reads(axis_weights(height, rows, kernel, images.device))
    # Channels are the last in memory, as in images of the host.
    x = along_columns(along_rows(x).mT).mT if rows_first else along_rows(along_columns(x.mT).mT)
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=TABLES)
def are_rows_first(from_hw: Sizes, to_hw: Sizes, kernel: Kernel) -> bool | None:
    """Return whether Pillow resizes along rows first; None when it computes in another way."""
    image = np.random.default_rng(0).integers(0, 256, (*from_hw, 3), np.uint8)
    probes = [np.linspace(0, size - 1, PROBES).astype(np.intp) for size in to_hw]
    down, across = (
        pillow_weights(size, target, kernel)[probe]
        for size, target, probe in zip(from_hw, to_hw, probes, strict=True)
    )
    expected = resize_on_host(image, to_hw, kernel)[np.ix_(*probes)]
    channels = image.transpose(2, 0, 1).astype(np.int64)
    for rows_first in (True, False):
        if rows_first:
            found = _rounded(down @ _rounded(channels @ across.T))
        else:
            found = _rounded(_rounded(down @ channels) @ across.T)
        if np.array_equal(found.transpose(1, 2, 0), expected):
            return rows_first
    _LOG.warning(
        "Pillow %s resizes images in a way that is unknown here; it does so on the host, and the "
        "GPU waits for it",
        pillow_version,
    )
    return None


def _rounded(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip((sums + (1 << POINT - 1)) >> POINT, 0, 255)


@lru_cache(maxsize=TABLES)
def axis_weights(size: int, target: int, kernel: Kernel, device: torch.device) -> AxisWeights:
    """Return the weights that resize an axis from one number of pixels to another."""
    weights = pillow_weights(size, target, kernel)
    for bits in DIGIT_BITS:
        digits = _split(weights, bits)
        if 255 * max(int(np.abs(digit).sum(axis=1).max()) for digit in digits) < 2**24:
            break
    table = np.concatenate(digits).T.astype(np.float32)
    return AxisWeights(torch.from_numpy(table).to(device), bits, target)


def pillow_weights(size: int, target: int, kernel: Kernel) -> NDArray[np.int64]:
    """Return the (target, size) weights that Pillow computes, times 2^22 and rounded.

    The sums are in Pillow's order, because another order rounds differently.
    """
    scale = size / target
    stretch = max(scale, 1.0)
    support = kernel.support * stretch
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), size)
    pixels = first[:, None] + np.arange((last - first).max())  # (target, taps)
    values = kernel.weight(np.abs((pixels - centre[:, None] + 0.5) * (1.0 / stretch)))
    inside = pixels < last[:, None]
    values[~inside] = 0
    values /= np.cumsum(values, axis=1)[:, -1:]
    fixed = np.trunc(values * 2**POINT + np.copysign(0.5, values)).astype(np.int64)
    weights = np.zeros((target, size), np.int64)
    weights[np.nonzero(inside)[0], pixels[inside]] = fixed[inside]
    return weights


def _split(weights: NDArray[np.int64], bits: int) -> list[NDArray[np.int64]]:
    """Split whole numbers into digits, the lowest first: the last one takes what is left."""
    digits: list[NDArray[np.int64]] = []
    half = 1 << bits - 1
    for _ in range(-(-POINT // bits) - 1):
        higher = (weights + half) >> bits
        digits.append(weights - (higher << bits))
        weights = higher
    return [*digits, weights]
