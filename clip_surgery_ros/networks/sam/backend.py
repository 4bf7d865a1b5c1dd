"""segment-anything networks behind ``core.interfaces.PromptableSegmenter``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn

from clip_surgery_ros.core.errors import ImageError, WeightsError
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.checkpoints import load_weights
from clip_surgery_ros.networks.sam.decoder import FastMaskDecoder, full_size_masks
from clip_surgery_ros.networks.sam.encoder import FastImageEncoder, encoder_dtype
from clip_surgery_ros.networks.sam.prompts import PromptDecoder
from clip_surgery_ros.networks.transfer import upload
from clip_surgery_ros.weights.state_dicts import load_state_dict

_LOG = logging.getLogger(__name__)
_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of RGB in [0, 255]


@dataclass(frozen=True)
class SamSpec:
    """Sizes of a SAM; the defaults are those that all published ones share.

    :param image_size: side of the square input in pixels.
    :param patch_size: side of a patch in pixels.
    :param encoder_dim: width of the image encoder.
    :param encoder_depth: its blocks.
    :param encoder_heads: its attention heads.
    :param global_attn_indexes: blocks that attend everywhere; the others in windows.
    :param window_size: side of a window in patches.
    :param prompt_dim: channels of embeddings, prompts and decoder.
    :param decoder_depth: blocks of the mask decoder.
    :param decoder_heads: its attention heads.
    :param mlp_dim: width of its MLPs.
    """

    image_size: int = 1024
    patch_size: int = 16
    encoder_dim: int = 768
    encoder_depth: int = 12
    encoder_heads: int = 12
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    prompt_dim: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    mlp_dim: int = 2048


SPECS: Mapping[str, SamSpec] = {
    "vit_b": SamSpec(),
    "vit_l": SamSpec(
        encoder_dim=1024,
        encoder_depth=24,
        encoder_heads=16,
        global_attn_indexes=(5, 11, 17, 23),
    ),
    "vit_h": SamSpec(
        encoder_dim=1280,
        encoder_depth=32,
        encoder_heads=16,
        global_attn_indexes=(7, 15, 23, 31),
    ),
}
"""Meta's published models (Kirillov et al. 2023)."""


def build_sam(spec: SamSpec) -> Sam:
    """An untrained SAM of these sizes, from segment-anything's own classes."""
    encoder = ImageEncoderViT(
        depth=spec.encoder_depth,
        embed_dim=spec.encoder_dim,
        img_size=spec.image_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=spec.encoder_heads,
        patch_size=spec.patch_size,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=spec.global_attn_indexes,
        window_size=spec.window_size,
        out_chans=spec.prompt_dim,
    )
    return with_decoder(encoder, spec)


def with_decoder(encoder: nn.Module, spec: SamSpec) -> Sam:
    """An untrained SAM of this image encoder and segment-anything's own decoder.

    :param spec: what concerns the encoder is not read.
    """
    grid = spec.image_size // spec.patch_size
    prompts = PromptEncoder(
        embed_dim=spec.prompt_dim,
        image_embedding_size=(grid, grid),
        input_image_size=(spec.image_size, spec.image_size),
        mask_in_chans=16,
    )
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(
            depth=spec.decoder_depth,
            embedding_dim=spec.prompt_dim,
            mlp_dim=spec.mlp_dim,
            num_heads=spec.decoder_heads,
        ),
        transformer_dim=spec.prompt_dim,
        iou_head_depth=3,
        iou_head_hidden_dim=spec.prompt_dim,
    )
    return Sam(encoder, prompts, decoder, pixel_mean=_MEAN, pixel_std=_STD)


class ImageEncoder(Protocol):
    """What computes a SAM's features of an image."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised and padded pixels to (B, c, h, w) features of any precision."""


EncoderMaker = Callable[[nn.Module, torch.device, torch.dtype], ImageEncoder]
"""A network's image encoder to what computes it on a device, in about that precision."""


def fast_encoder(net: nn.Module, device: torch.device, dtype: torch.dtype) -> FastImageEncoder:
    """segment-anything's encoder; in float32 where that is faster than the precision asked."""
    fastest = encoder_dtype(net, dtype, device)
    if fastest != dtype:
        _LOG.info("SAM's encoder runs in %s: %s is slower on this machine", fastest, dtype)
    return FastImageEncoder(net, device=device, dtype=fastest)


class SamBackend:
    """A SAM that encodes once per frame and decodes all prompts of the frame together.

    :param sam: the network; it is read and stays as it is.
    :param device: torch device.
    :param dtype: torch dtype of the image encoder, unless float32 is faster on this machine;
        prompts and decoder stay in float32, which costs little and keeps mask borders exact.
    :param chunk: prompts decoded in one call, see :class:`PromptDecoder`.
    :param make_encoder: for an image encoder that is not segment-anything's own.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int | None = None,
        make_encoder: EncoderMaker = fast_encoder,
    ) -> None:
        self._device = torch.device(device)
        self._encoder = make_encoder(sam.image_encoder, self._device, dtype)
        self._decoder = FastMaskDecoder(sam.prompt_encoder, sam.mask_decoder, self._device)
        self._prompts = PromptDecoder(self._decoder, self._device, chunk)
        self._mean, self._std = sam.pixel_mean.to(self._device), sam.pixel_std.to(self._device)
        self._resize = ResizeLongestSide(self._decoder.input_size)

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> SamBackend:
        """Load a checkpoint that tells its sizes in its metadata (``sam_spec``), as the demo's.

        :param options: those of the constructor.
        :raises WeightsError: when the file is damaged or of another network.
        """
        tensors, metadata = load_state_dict(path)
        sam = build_sam(_spec(path, metadata))
        load_weights(sam, tensors, path, "of its own sizes")
        return cls(sam, **options)

    def encode(self, image_rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """(H, W, 3) uint8 RGB to an embedding of the frame.

        :raises ImageError: when nothing is left of its short side at the network's size.
        """
        height, width = image_rgb.shape[:2]
        side = self._resize.target_length
        if min(self._resize.get_preprocess_shape(height, width, side)) < 1:
            raise ImageError(
                f"an image of {width} x {height} pixels is too narrow: SAM shrinks its long side "
                f"to {side}, which leaves nothing of the short one; crop it"
            )
        with torch.inference_mode():
            resized = self._resize.apply_image(image_rgb)
            pixels = self._preprocess(upload(resized, self._device))
            image = self._decoder.image_side(self._encoder(pixels).float())
        return self._prompts.embedding(image, (height, width), resized.shape[:2])

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        """Three candidates for each prompt, in order, their logits on this device."""
        return self._prompts.decode(embedding, prompts)

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        """(K, l, l) logits to (K, H, W) masks, as segment-anything enlarges them."""
        inner, side = embedding.features.input_hw, self._decoder.input_size
        with torch.inference_mode():
            return full_size_masks(logits, side, inner, embedding.size_hw).cpu().numpy()

    def _preprocess(self, resized: Tensor) -> Tensor:
        """(h, w, 3) uint8 to (1, 3, S, S), normalised, with zeros to the right and below."""
        pixels = resized.permute(2, 0, 1).float()
        height, width = resized.shape[:2]
        side = self._decoder.input_size
        padding = (0, side - width, 0, side - height)
        return F.pad((pixels - self._mean) / self._std, padding).unsqueeze(0)


def _spec(path: str | Path, metadata: Mapping[str, str]) -> SamSpec:
    if "sam_spec" not in metadata:
        raise WeightsError(
            f"weight file {path} does not tell its sizes; name its model, one of "
            f"{', '.join(SPECS)}"
        )
    try:
        sizes = json.loads(metadata["sam_spec"])
        return SamSpec(**{**sizes, "global_attn_indexes": tuple(sizes["global_attn_indexes"])})
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"weight file {path} describes its sizes in sam_spec in a way this version does not "
            f"read ({error}); export it again"
        ) from error
