"""Decodes all point prompts of an image together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from clip_surgery_ros.arithmetic.graphs import Graphs
from clip_surgery_ros.core.interfaces import CandidateBatch, ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.transfer import download, upload
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder, ProjectedImage


@dataclass(frozen=True)
class Features:
    """The features of an image, and its height and width in the network's square input."""

    image: ProjectedImage
    input_hw: tuple[int, int]


CPU_CHUNK, GPU_CHUNK = 2, 64
"""Prompts decoded in one call: on CPUs as many as fit into their caches. On GPUs a call costs some
140 launches whatever its prompts, and memory of 17 MB per prompt for SAM (not measured there)."""
ROUNDED = (1, 4, 16, 64)
"""Numbers of prompts in a call, and of points in a prompt, that graphs are captured for. A number
between them takes as long as the next one."""
PADDING = -1
"""Label of a point that is none."""


class PromptDecoder:
    """Decodes the prompts of an image to mask candidates, a few prompts in each call.

    :param decoder: the network.
    :param device: of the network.
    :param chunk: prompts decoded in one call; by default :data:`CPU_CHUNK` or :data:`GPU_CHUNK`.
    :param graphs: whether the decoder runs as a CUDA graph, on a GPU.
    """

    def __init__(
        self,
        decoder: FastMaskDecoder,
        device: torch.device,
        chunk: int | None = None,
        graphs: bool = False,
    ) -> None:
        self._decoder, self._device = decoder, device
        self._pads = device.type != "cpu"
        self._chunk = chunk or (GPU_CHUNK if self._pads else CPU_CHUNK)
        self._graphs = Graphs("SAM's decoder", graphs and device.type == "cuda")

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
    ) -> Sequence[MaskCandidates]:
        """Return three candidates per prompt, in order, with their logits on the device."""
        if not prompts:
            return []
        order: list[int] = []
        parts: list[Tensor] = []
        ious: list[Tensor] = []
        with torch.inference_mode():
            for chunk in self._chunks(prompts):
                points, is_padded = self._points([prompts[i] for i in chunk], embedding)
                logits, chunk_ious = self._graphs(
                    is_padded,
                    partial(self._decode, is_padded),
                    *(points, *embedding.features.image.tensors),
                )
                order += chunk
                parts.append(logits[: len(chunk)])
                ious.append(chunk_ious[: len(chunk)])
            # Here the host waits for a GPU, once for all chunks.
            host_ious = download(torch.cat(ious))
        return CandidateBatch(host_ious[np.argsort(order)], parts, order)

    def _decode(self, is_padded: bool, points: Tensor, *image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and estimates of IoU for the tensors of an image.

        :param points: see :meth:`_points`.
        """
        xy, labels = points[..., :2], points[..., 2].long()
        return self._decoder(ProjectedImage.of(image), xy, labels, is_padded)

    def _chunks(self, prompts: Sequence[PointPrompts]) -> Iterator[list[int]]:
        """Yield the indices of prompts to decode in one call.

        On GPUs, prompts with fewer points than others of their call are padded. CPUs would have to
        compute the padding, so prompts of a call have the same number of points there.
        """
        by_size: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_size.setdefault(0 if self._pads else len(prompt.xy), []).append(index)
        for group in by_size.values():
            for start in range(0, len(group), self._chunk):
                yield group[start : start + self._chunk]

    def _points(
        self, prompts: Sequence[PointPrompts], embedding: ImageEmbedding
    ) -> tuple[Tensor, bool]:
        """Return the points of K prompts, with at most P points each, in one upload.

        For graphs, K and P are rounded up to :data:`ROUNDED` numbers.

        :returns: (K, P, 3) x, y in input pixels and label; and whether points of a prompt are
            :data:`PADDING`.
        """
        (height, width), (rows, columns) = embedding.size_hw, embedding.features.input_hw
        counts = [len(prompt.xy) for prompt in prompts]
        most = max(counts)
        if self._graphs.enabled:
            size, most = _rounded(len(prompts)), _rounded(most)
        else:
            size = len(prompts)
        table = np.full((size, most, 3), PADDING, np.float32)
        for row, prompt, count in zip(table, prompts, counts, strict=False):
            row[:count, :2] = prompt.xy * (columns / width, rows / height)
            row[:count, 2] = prompt.positive
        return upload(table, self._device), min(counts) < most


def _rounded(count: int) -> int:
    """Return the next of :data:`ROUNDED`; beyond them, the count itself."""
    return next((size for size in ROUNDED if size >= count), count)
