"""Decodes all point prompts of an image together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder, ProjectedImage
from clip_surgery_ros.networks.transfer import upload


@dataclass(frozen=True)
class Features:
    """The features of an image, and its height and width in the network's square input."""

    image: ProjectedImage
    input_hw: tuple[int, int]


class PromptDecoder:
    """Decodes the prompts of an image to mask candidates, a few prompts in each call.

    :param decoder: the network.
    :param device: of the network.
    :param chunk: prompts decoded in one call; by default 2 on CPUs, which fit into their caches,
        and 16 on GPUs (not measured).
    """

    def __init__(
        self, decoder: FastMaskDecoder, device: torch.device, chunk: int | None = None
    ) -> None:
        self._decoder, self._device = decoder, device
        self._chunk = chunk or (2 if device.type == "cpu" else 16)

    def embedding(
        self, image: ProjectedImage, size_hw: tuple[int, int], input_hw: tuple[int, int]
    ) -> ImageEmbedding:
        """Return the embedding that :meth:`decode` needs.

        :param size_hw: height and width of the source image.
        :param input_hw: its height and width in the network's input.
        """
        pixels = self._decoder.logit_pixels
        inner_hw = (-(-input_hw[0] // pixels), -(-input_hw[1] // pixels))
        return ImageEmbedding(Features(image, input_hw), size_hw, inner_hw)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        """Return three candidates per prompt, in order, with their logits on the device."""
        if not prompts:
            return []
        logits: dict[int, Tensor] = {}
        ious: dict[int, Tensor] = {}
        with torch.inference_mode():
            for chunk in self._chunks(prompts):
                points = self._points([prompts[i] for i in chunk], embedding)
                chunk_logits, chunk_ious = self._decoder(embedding.features.image, *points)
                logits.update(zip(chunk, chunk_logits, strict=True))
                ious.update(zip(chunk, chunk_ious, strict=True))
            order = range(len(prompts))
            # Here the host waits for a GPU, once for all chunks.
            host_ious = torch.stack([ious[i] for i in order]).cpu().numpy()
        return [MaskCandidates(host_ious[i], logits[i]) for i in order]

    def _chunks(self, prompts: Sequence[PointPrompts]) -> Iterator[list[int]]:
        """Yield the indices of prompts to decode in one call.

        All prompts of a call have the same number of points: without a mask, the network would
        attend to a point that is padding.
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
        """Return (K, P, 2) input pixels and (K, P) labels of K prompts with P points each."""
        (height, width), (rows, columns) = embedding.size_hw, embedding.features.input_hw
        xy = np.stack([prompt.xy for prompt in prompts]) * (columns / width, rows / height)
        labels = np.stack([prompt.positive for prompt in prompts])
        return (
            upload(xy.astype(np.float32), self._device),
            upload(labels.astype(np.int64), self._device),
        )
