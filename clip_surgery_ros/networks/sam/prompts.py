"""A frame's point prompts to candidates, decoded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder, ImageSide
from clip_surgery_ros.networks.transfer import upload


@dataclass(frozen=True)
class Features:
    """What prompts share of an image, and its size inside the network's square input."""

    image: ImageSide
    input_hw: tuple[int, int]


class PromptDecoder:
    """All prompts of a frame to candidates, a few in each call of the network.

    :param decoder: the network.
    :param device: where it is.
    :param chunk: prompts decoded in one call; None takes few on CPUs, whose caches more would
        leave, and many on GPUs (not measured there).
    """

    def __init__(
        self, decoder: FastMaskDecoder, device: torch.device, chunk: int | None = None
    ) -> None:
        self._decoder, self._device = decoder, device
        self._chunk = chunk or (2 if device.type == "cpu" else 16)

    def embedding(
        self, image: ImageSide, size_hw: tuple[int, int], input_hw: tuple[int, int]
    ) -> ImageEmbedding:
        """What :meth:`decode` reads.

        :param size_hw: of the source image.
        :param input_hw: of what is shown of it in the network's input.
        """
        pixels = self._decoder.logit_pixels
        inner_hw = (-(-input_hw[0] // pixels), -(-input_hw[1] // pixels))
        return ImageEmbedding(Features(image, input_hw), size_hw, inner_hw)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        """Three candidates for each prompt, in order, their logits on this device."""
        if not prompts:
            return []
        logits: dict[int, Tensor] = {}
        scores: dict[int, Tensor] = {}
        with torch.inference_mode():
            for part in self._chunks(prompts):
                points = self._points([prompts[i] for i in part], embedding)
                some_logits, some_scores = self._decoder(embedding.features.image, *points)
                logits.update(zip(part, some_logits, strict=True))
                scores.update(zip(part, some_scores, strict=True))
            order = range(len(prompts))
            values = torch.stack([scores[i] for i in order]).cpu().numpy()  # GPUs end here
        return [MaskCandidates(values[i], logits[i]) for i in order]

    def _chunks(self, prompts: Sequence[PointPrompts]) -> Iterator[list[int]]:
        """Indices of prompts to decode in one call.

        Only those of as many points share one: a point for padding would be attended to.
        """
        by_size: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_size.setdefault(len(prompt.xy), []).append(index)
        for group in by_size.values():
            for start in range(0, len(group), self._chunk):
                yield group[start : start + self._chunk]

    def _points(
        self, prompts: Sequence[PointPrompts], embedding: ImageEmbedding
    ) -> tuple[Tensor, Tensor]:
        """(B, P, 2) input pixels and (B, P) labels of prompts with P points each."""
        (height, width), (rows, columns) = embedding.size_hw, embedding.features.input_hw
        xy = np.stack([prompt.xy for prompt in prompts]) * (columns / width, rows / height)
        labels = np.stack([prompt.positive for prompt in prompts])
        return (
            upload(xy.astype(np.float32), self._device),
            upload(labels.astype(np.int64), self._device),
        )
