"""Maps of classes by the rules of a paper: size, windows, softmax, synonyms, background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.evaluation.class_names import Names
from clip_surgery_ros.evaluation.published.protocols import PLAIN, SURGERY, Rules
from clip_surgery_ros.networks.clip.backend import ClipBackend

LONG_SIDE = 2048
"""Largest side of a resized picture in pixels, in the configurations of all these papers."""
_AT_ONCE = 8
"""Windows encoded at once: a batch of 8 x 224 x 224 pixels takes little memory."""


@dataclass(frozen=True)
class Words:
    """The text features of all classes.

    :param features: (Q, C) unit rows, of all names, class by class.
    :param parts: start and end of each class's rows.
    """

    features: Tensor
    parts: tuple[tuple[int, int], ...]

    @classmethod
    def of_classes(cls, clip: ClipBackend, classes: Sequence[Names]) -> Words:
        """Encode the names of classes."""
        ends = [0, *accumulate(len(names) for names in classes)]
        features = clip.text_features([name for names in classes for name in names])
        return cls(features, tuple(pairwise(ends)))


def image_tokens(clip: ClipBackend, method: str) -> Callable[[Tensor], Tensor]:
    """Return how a method turns (B, 3, h, w) pixel values into (B, 1 + N, C) unit tokens.

    :param method: one of ``PLAIN`` and ``SURGERY``.
    """
    tokens = {PLAIN: clip.plain_tokens, SURGERY: clip.surgery_tokens}[method]
    return lambda pixels: F.normalize(tokens(pixels), dim=-1)


def class_map(
    clip: ClipBackend,
    tokens: Callable[[Tensor], Tensor],
    words: Words,
    rules: Rules,
    image_rgb: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Return the class of every pixel of a picture.

    Token cosines are resized to the size that the network saw (of each window, whose overlaps are
    averaged), then to the picture's. A squashed picture's are resized once. Where a picture is
    narrower than a window, the part that is no whole patch is left out.

    :param tokens: of :func:`image_tokens`.
    :param image_rgb: (H, W, 3) uint8 RGB.
    :returns: (H, W), numbers of classes.
    """
    if rules.short_side is None:
        pixels = clip.preprocess(image_rgb)
        cosines = _token_cosines(clip, tokens, words, pixels)
    else:
        pixels = _normalized(clip, resized(image_rgb, rules.short_side))
        cosines = _window_cosines(clip, tokens, words, rules, pixels)
    size_hw = (image_rgb.shape[0], image_rgb.shape[1])
    cosines = F.interpolate(cosines, size_hw, mode="bilinear", align_corners=False)
    classes: NDArray[np.int64] = decide(cosines[0], words.parts, rules).cpu().numpy()
    return classes


def decide(cosines: Tensor, parts: Sequence[tuple[int, int]], rules: Rules) -> Tensor:
    """Return the (H, W) class of the highest probability, or the background where it is low.

    :param cosines: (Q, H, W) of all names.
    :param parts: start and end of each class's names; the highest of them counts.
    """
    probabilities = (cosines * rules.scale).softmax(dim=0)
    if len(parts) != len(cosines):
        probabilities = torch.stack([probabilities[a:b].amax(dim=0) for a, b in parts])
    if rules.least_share:
        areas = probabilities.argmax(dim=0).flatten().bincount(minlength=len(parts))[1:]
        small = areas <= rules.least_share * areas.sum()
        probabilities[1:][small] = 0
    highest, classes = probabilities.max(dim=0)
    return torch.where(highest < rules.least_probability, 0, classes)


def resized(image_rgb: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """Resize a picture with kept aspect, as mmcv's ``imrescale`` does (bilinear, not antialiased).

    >>> resized(np.zeros((375, 500, 3), np.uint8), 336).shape
    (336, 448, 3)
    """
    height, width = image_rgb.shape[:2]
    factor = min(LONG_SIDE / max(height, width), short_side / min(height, width))
    size = (int(width * factor + 0.5), int(height * factor + 0.5))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def window_corners(size_hw: tuple[int, int], window: int, stride: int) -> list[tuple[int, int]]:
    """Return top and left of the windows that cover a picture; the last ones end at its border.

    >>> window_corners((336, 448), 224, 112)
    [(0, 0), (0, 112), (0, 224), (112, 0), (112, 112), (112, 224)]
    """
    tops, lefts = (
        [
            max(min(k * stride, side - window), 0)
            for k in range(max(side - window + stride - 1, 0) // stride + 1)
        ]
        for side in size_hw
    )
    return [(top, left) for top in tops for left in lefts]


def _window_cosines(
    clip: ClipBackend,
    tokens: Callable[[Tensor], Tensor],
    words: Words,
    rules: Rules,
    pixels: Tensor,
) -> Tensor:
    """Return (1, Q, h, w) cosines of a resized picture, averaged over windows if there are any."""
    if not rules.window:
        return _pixel_cosines(clip, tokens, words, pixels)
    size_hw = (pixels.shape[2], pixels.shape[3])
    height, width = (min(rules.window, side) for side in size_hw)
    corners = window_corners(size_hw, rules.window, rules.stride)
    total = torch.zeros((1, len(words.features), *size_hw), device=pixels.device)
    count = torch.zeros(size_hw, device=pixels.device)
    for some in _batches(corners):
        windows = torch.cat([pixels[:, :, y : y + height, x : x + width] for y, x in some])
        cosines = _pixel_cosines(clip, tokens, words, windows)
        for (y, x), window in zip(some, cosines, strict=True):
            total[0, :, y : y + height, x : x + width] += window
            count[y : y + height, x : x + width] += 1
    return total / count


def _batches(corners: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    return (corners[start : start + _AT_ONCE] for start in range(0, len(corners), _AT_ONCE))


def _pixel_cosines(
    clip: ClipBackend, tokens: Callable[[Tensor], Tensor], words: Words, pixels: Tensor
) -> Tensor:
    """Return (B, Q, h, w) cosines of (B, 3, h, w) pixels.

    Only whole patches are seen, as by a convolution; their cosines are stretched to all pixels.
    """
    height, width = (side // clip.patch * clip.patch for side in pixels.shape[2:])
    cosines = _token_cosines(clip, tokens, words, pixels[:, :, :height, :width])
    size_hw = (pixels.shape[2], pixels.shape[3])
    return F.interpolate(cosines, size_hw, mode="bilinear", align_corners=False)


def _token_cosines(
    clip: ClipBackend, tokens: Callable[[Tensor], Tensor], words: Words, pixels: Tensor
) -> Tensor:
    """Return the (B, Q, gh, gw) cosines of all tokens but CLS."""
    cosines = tokens(pixels)[:, 1:] @ words.features.T  # (B, N, Q)
    return cosines.transpose(1, 2).unflatten(-1, clip.grid_hw(pixels))


def _normalized(clip: ClipBackend, image_rgb: NDArray[np.uint8]) -> Tensor:
    """Return the (1, 3, h, w) pixel values of a picture, in its size."""
    pixels = torch.from_numpy(image_rgb).to(clip.device).permute(2, 0, 1).float()
    mean = torch.tensor(clip.traits.mean, device=clip.device).view(3, 1, 1)
    std = torch.tensor(clip.traits.std, device=clip.device).view(3, 1, 1)
    return ((pixels / 255 - mean) / std)[None]
