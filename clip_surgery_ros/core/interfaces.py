"""What the pipeline needs from networks, as small protocols.

``networks/clip/backend.py`` and ``networks/sam/`` implement them; tests use fakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.types import PointPrompts

RgbImage = NDArray[np.uint8] | torch.Tensor
"""(H, W, 3) uint8 RGB: an array, or a tensor on the networks' GPU."""


class ImageEncoder(Protocol):
    """The image encoder of a CLIP."""

    def preprocess(self, *images_rgb: RgbImage) -> torch.Tensor:
        """Resize and normalise: B (H, W, 3) uint8 RGB images to (B, 3, h, w) pixel values."""

    def grid_hw(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """Return the token grid (h, w) of pixel values, which give 1 + h * w tokens."""

    def surgery_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) tokens, not L2-normalised; token 0 is CLS."""

    def plain_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The same without surgery, for comparison."""


class ImageTextEncoder(ImageEncoder, Protocol):
    """A CLIP whose image tokens can be compared with texts."""

    def image_tokens(
        self, image_rgb: RgbImage, windows: bool, surgery: bool = True
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return what :func:`core.windows.encode_image` returns, with or without surgery."""

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (T, C) unit rows, each the mean of a text's prompts."""


@dataclass(frozen=True)
class ImageEmbedding:
    """An image as a segmenter has encoded it, once per frame.

    :param features: what the segmenter's decoder reads; nothing else uses it.
    :param size_hw: height and width of the source image.
    :param inner_hw: rows and columns of the decoder's logits that show the image; the others are
        padding.
    """

    features: Any
    size_hw: tuple[int, int]
    inner_hw: tuple[int, int]


@dataclass(frozen=True)
class MaskCandidates:
    """The masks that a segmenter offers for one prompt.

    :param quality: (M,) float32, the segmenter's own estimate of IoU.
    :param logits: (M, l, l) float32 low-resolution logits, on the segmenter's device. They are
        enough to choose by; only chosen masks need :meth:`PromptableSegmenter.full_size`.
    """

    quality: NDArray[np.float32]
    logits: torch.Tensor


class CandidateBatch(Sequence[MaskCandidates]):
    """The candidates of several prompts, whose logits lie in a few tensors.

    Work on all of them then is a few calls, whatever the number of prompts.

    :param quality: (K, M) float32, the segmenter's own estimates of IoU.
    :param parts: (k, M, l, l) logits, of K prompts altogether.
    :param prompts: index of each prompt in the order of ``parts``.
    """

    def __init__(
        self, quality: NDArray[np.float32], parts: Sequence[torch.Tensor], prompts: Sequence[int]
    ) -> None:
        self.quality, self.parts = quality, tuple(parts)
        place = np.argsort(np.asarray(prompts, np.intp))  # of each prompt in the parts
        count = quality.shape[1]
        self.rows = (place[:, None] * count + np.arange(count)).reshape(-1)
        """(K * M,) position in the parts of each candidate, in order of prompt."""
        self._logits = [logits for part in parts for logits in part]
        self._place = place

    def __len__(self) -> int:
        return len(self.quality)

    @overload
    def __getitem__(self, index: int) -> MaskCandidates: ...

    @overload
    def __getitem__(self, index: slice) -> list[MaskCandidates]: ...

    def __getitem__(self, index: int | slice) -> MaskCandidates | list[MaskCandidates]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return MaskCandidates(self.quality[index], self._logits[self._place[index]])


class PromptableSegmenter(Protocol):
    """A SAM: encode once per frame, decode once per prompt, enlarge the chosen masks."""

    def encode(self, image_rgb: RgbImage) -> ImageEmbedding:
        """Encode a (H, W, 3) uint8 RGB image."""

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> Sequence[MaskCandidates]:
        """Return the candidates of each prompt, in order; nothing for no prompts."""

    def full_size(self, embedding: ImageEmbedding, logits: torch.Tensor) -> NDArray[np.bool_]:
        """(K, l, l) logits of candidates to (K, H, W) masks in the source image's size."""
