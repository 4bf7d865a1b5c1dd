"""SAM and MobileSAM behind ``core.interfaces.PromptableSegmenter``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.graphs import Graphs
from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates, RgbImage
from clip_surgery_ros.core.transfer import download, on_device
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.resizing import BILINEAR, resize_images, resize_on_host
from clip_surgery_ros.networks.sam.build import build_sam, load_weights, read_spec
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder, ProjectedImage
from clip_surgery_ros.networks.sam.encoder import FastImageEncoder, encoder_dtype
from clip_surgery_ros.networks.sam.full_size import full_size_masks
from clip_surgery_ros.networks.sam.prompts import PromptDecoder
from clip_surgery_ros.weights.state_dicts import load_state_dict

_LOG = logging.getLogger(__name__)


class ImageEncoder(Protocol):
    """An image encoder of a SAM, ready to compute."""

    def __call__(self, pixels: Tensor, height: int) -> Tensor:
        """Return (B, c, h, w) features in any precision.

        :param pixels: (B, 3, S, S), normalised and padded.
        :param height: rows of pixels that show the image.
        """


EncoderMaker = Callable[[nn.Module, torch.device, torch.dtype], ImageEncoder]
"""Returns the encoder of a network on a device, in a precision or in float32 if that is faster."""


def make_fast_encoder(
    net: nn.Module, device: torch.device, dtype: torch.dtype
) -> FastImageEncoder:
    """Return segment-anything's encoder in this precision, or in float32 if that is faster."""
    fastest = encoder_dtype(net, dtype, device)
    if fastest != dtype:
        _LOG.info("SAM's encoder runs in %s: %s is slower on this machine", fastest, dtype)
    return FastImageEncoder(net, device=device, dtype=fastest)


class SamBackend:
    """A SAM that encodes an image once and decodes all its prompts together.

    :param sam: the network; it is not changed.
    :param device: torch device.
    :param dtype: torch dtype of the image encoder, unless float32 is faster on this machine.
        Prompts and decoder use float32, which takes little time and keeps mask borders exact.
    :param chunk: prompts decoded in one call, see :class:`PromptDecoder`.
    :param graphs: whether encoder and decoder run as CUDA graphs, on a GPU.
    :param make_encoder: makes the image encoder; MobileSAM has its own.

    >>> from clip_surgery_ros.weights.files import demo_weights
    >>> sam = SamBackend.from_file(demo_weights("sam_demo"))
    >>> embedding = sam.encode(np.zeros((90, 120, 3), np.uint8))
    >>> point = PointPrompts(np.array([[60, 45]], np.int32), np.array([True]))
    >>> (candidates,) = sam.decode(embedding, [point])
    >>> sam.full_size(embedding, candidates.logits).shape
    (3, 90, 120)
    """

    def __init__(
        self,
        sam: Sam,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int | None = None,
        graphs: bool = False,
        make_encoder: EncoderMaker = make_fast_encoder,
    ) -> None:
        self._device = torch.device(device)
        self._encoder = make_encoder(sam.image_encoder, self._device, dtype)
        self._decoder = FastMaskDecoder(sam.prompt_encoder, sam.mask_decoder, self._device)
        self._prompts = PromptDecoder(self._decoder, self._device, chunk, graphs)
        self._graphs = Graphs("SAM's encoder", graphs and self._device.type == "cuda")
        self._mean, self._std = sam.pixel_mean.to(self._device), sam.pixel_std.to(self._device)

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> SamBackend:
        """Load a checkpoint with its sizes in its metadata, ``sam_spec``, as the demo's.

        :param options: keyword arguments of the constructor.
        :raises WeightsError: when the file is damaged or of another network.
        """
        tensors, metadata = load_state_dict(path)
        sam = build_sam(read_spec(path, metadata))
        load_weights(sam, tensors, path, "of its own sizes")
        return cls(sam, **options)

    def encode(self, image_rgb: RgbImage) -> ImageEmbedding:
        """Return the embedding of an image.

        :param image_rgb: (H, W, 3) uint8 RGB, an array or a tensor on the backend's device.
        :raises ImageError: when its short side has no pixel left at the network's input size.
        """
        height, width = image_rgb.shape[:2]
        side = self._decoder.input_size
        inner_hw = ResizeLongestSide.get_preprocess_shape(height, width, side)
        if min(inner_hw) < 1:
            raise ImageError(
                f"an image of {width} x {height} pixels is too narrow: SAM shrinks its long side "
                f"to {side}, which leaves nothing of the short one; crop it"
            )
        with torch.inference_mode():
            encode = partial(self._encode, inner_hw)
            image = ProjectedImage.of(
                self._graphs(inner_hw, encode, on_device(image_rgb, self._device))
            )
        return self._prompts.embedding(image, (height, width), inner_hw)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> Sequence[MaskCandidates]:
        """Return three candidates per prompt, in order, with their logits on the device."""
        return self._prompts.decode(embedding, prompts)

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        """Return (K, H, W) masks for (K, l, l) logits, enlarged as segment-anything does."""
        inner, side = embedding.features.input_hw, self._decoder.input_size
        with torch.inference_mode():
            return download(full_size_masks(logits, side, inner, embedding.size_hw))

    def _encode(self, inner_hw: tuple[int, int], image: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the projected image for an (H, W, 3) image."""
        features = self._encoder(self._preprocess(image, inner_hw), inner_hw[0])
        return self._decoder.project_image(features.float()).tensors

    def _preprocess(self, image: Tensor, inner_hw: tuple[int, int]) -> Tensor:
        """Return (1, 3, S, S) pixels of an (H, W, 3) image, resized, normalised and zero-padded.

        Pillow resizes on a CPU, where it is faster; a GPU computes the same.
        """
        if self._device.type == "cpu":
            resized = torch.from_numpy(resize_on_host(image.numpy(), inner_hw, BILINEAR))
            pixels = resized.permute(2, 0, 1)[None].float()
        else:
            pixels = resize_images([image], inner_hw, BILINEAR)
        side = self._decoder.input_size
        padding = (0, side - inner_hw[1], 0, side - inner_hw[0])
        return F.pad((pixels - self._mean) / self._std, padding)
