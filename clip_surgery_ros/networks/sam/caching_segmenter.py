"""A segmenter that several pipelines share, so that each image is encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.interfaces import (
    ImageEmbedding,
    MaskCandidates,
    PromptableSegmenter,
    RgbImage,
)
from clip_surgery_ros.core.types import PointPrompts


class CachingSegmenter:
    """Keeps the embedding of the last image.

    :param segmenter: encodes and decodes.
    """

    def __init__(self, segmenter: PromptableSegmenter) -> None:
        self._segmenter = segmenter
        self._last: tuple[Tensor, ImageEmbedding] | None = None

    def encode(self, image_rgb: RgbImage) -> ImageEmbedding:
        """Return the embedding of an image; the last image is not encoded again."""
        # A copy of an array, which callers may fill with the next image.
        copied = image_rgb.copy() if isinstance(image_rgb, np.ndarray) else image_rgb
        image = torch.as_tensor(copied)
        if self._last is None or not torch.equal(self._last[0], image):
            self._last = (image, self._segmenter.encode(image_rgb))
        return self._last[1]

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> Sequence[MaskCandidates]:
        """Return the segmenter's candidates."""
        return self._segmenter.decode(embedding, prompts)

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        """Return the segmenter's masks."""
        return self._segmenter.full_size(embedding, logits)
