"""What the pipeline needs from the networks, as small protocols.

The implementations live in ``backends``; tests pass fakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.types import PointPrompts


class ImageEncoder(Protocol):
    """The image side of a CLIP."""

    def preprocess(self, image_rgb: NDArray[np.uint8]) -> torch.Tensor:
        """Resize and normalise: (H, W, 3) uint8 RGB to (1, 3, h, w) pixel values."""

    def grid_hw(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """Token grid (h, w) of these pixel values; 1 + h * w tokens come back for them."""

    def surgery_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) to (B, 1 + N, C), before L2 normalisation; token 0 is CLS."""

    def plain_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The same without surgery, for comparison."""


class ImageTextEncoder(ImageEncoder, Protocol):
    """A CLIP whose image tokens can be compared with texts."""

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """(T, C) prompt ensemble, unit rows."""


@dataclass(frozen=True)
class ImageEmbedding:
    """A segmenter's view of one image, computed once per frame.

    :param features: whatever the segmenter's decoder reads; opaque to everyone else.
    :param size_hw: height and width of the source image.
    :param inner_hw: rows and columns of the decoder's logits that show the image; the others are
        padding.
    """

    features: Any
    size_hw: tuple[int, int]
    inner_hw: tuple[int, int]


@dataclass(frozen=True)
class MaskCandidates:
    """What a segmenter offers for one prompt.

    :param quality: (M,) float32, the segmenter's own estimate of IoU.
    :param logits: (M, l, l) float32 low-resolution logits, on the segmenter's device: enough to
        choose by; only what is chosen wants :meth:`PromptableSegmenter.full_size`.
    """

    quality: NDArray[np.float32]
    logits: torch.Tensor


class PromptableSegmenter(Protocol):
    """A SAM: encode once per frame, decode once per prompt, enlarge what was chosen."""

    def encode(self, image_rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """(H, W, 3) uint8 RGB to an embedding."""

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        """Candidates for each prompt, in order; an empty list for no prompts."""

    def full_size(self, embedding: ImageEmbedding, logits: torch.Tensor) -> NDArray[np.bool_]:
        """(K, l, l) logits of candidates to (K, H, W) masks at the source image's size."""
