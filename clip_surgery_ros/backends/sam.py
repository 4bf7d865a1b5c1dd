"""segment-anything networks behind ``core.interfaces.PromptableSegmenter``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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

from clip_surgery_ros.backends.layouts import looks_like
from clip_surgery_ros.backends.sam_decoder import FastMaskDecoder, ImageSide, full_size_masks
from clip_surgery_ros.backends.sam_encoder import FastImageEncoder, working_dtype
from clip_surgery_ros.backends.transfer import upload
from clip_surgery_ros.backends.weights import load_state_dict
from clip_surgery_ros.core.errors import ConfigError, ImageError, WeightsError
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.types import PointPrompts

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
    grid = spec.image_size // spec.patch_size
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


@dataclass(frozen=True)
class _Features:
    """What prompts share of an image, and the size of the resized image inside the square."""

    image: ImageSide
    input_hw: tuple[int, int]


class SamBackend:
    """A SAM that encodes once per frame and decodes all prompts of the frame together.

    :param sam: the network; it is read and stays as it is.
    :param device: torch device.
    :param dtype: torch dtype of the image encoder, unless float32 is faster on this machine;
        prompts and decoder stay in float32, which costs little and keeps mask borders exact.
    :param chunk: prompts decoded in one call; None takes few on CPUs, whose caches more would
        leave, and many on GPUs (not measured there).
    """

    def __init__(
        self,
        sam: Sam,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._chunk = chunk or (2 if self._device.type == "cpu" else 16)
        fastest = working_dtype(sam.image_encoder, dtype, self._device)
        if fastest != dtype:
            _LOG.info("SAM's encoder runs in %s: %s is slower on this machine", fastest, dtype)
        self._encoder = FastImageEncoder(sam.image_encoder, device=self._device, dtype=fastest)
        self._decoder = FastMaskDecoder(sam.prompt_encoder, sam.mask_decoder, self._device)
        self._mean, self._std = sam.pixel_mean.to(self._device), sam.pixel_std.to(self._device)
        self._resize = ResizeLongestSide(self._encoder.image_size)
        # The decoder upscales each token to 4 x 4 logits.
        self._logit_pixels = sam.image_encoder.patch_embed.proj.kernel_size[0] // 4

    @classmethod
    def from_file(cls, path: str | Path, model: str | None = None, **options: Any) -> SamBackend:
        """Load a checkpoint.

        :param model: ``vit_b``, ``vit_l`` or ``vit_h``; None reads the sizes from the file's
            metadata (``sam_spec``, as the demo's has).
        :param options: those of the constructor.
        :raises WeightsError: when the file is damaged or of another network.
        """
        tensors, metadata = load_state_dict(path)
        sam = build_sam(_spec(path, model, metadata))
        try:
            sam.load_state_dict({k: v.float() for k, v in tensors.items()})
        except RuntimeError as error:
            raise WeightsError(
                f"weight file {path} does not fit SAM {model or 'of its own sizes'}; it looks "
                f"like {looks_like(tensors)} ({str(error).splitlines()[-1].strip()[:120]})"
            ) from error
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
        inner = (resized.shape[0], resized.shape[1])
        shown = (-(-inner[0] // self._logit_pixels), -(-inner[1] // self._logit_pixels))
        return ImageEmbedding(_Features(image, inner), (height, width), shown)

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
                points = self._points([prompts[i] for i in part], embedding.size_hw)
                some_logits, some_scores = self._decoder(embedding.features.image, *points)
                logits.update(zip(part, some_logits, strict=True))
                scores.update(zip(part, some_scores, strict=True))
            order = range(len(prompts))
            values = torch.stack([scores[i] for i in order]).cpu().numpy()  # GPUs end here
        return [MaskCandidates(values[i], logits[i]) for i in order]

    def full_size(self, embedding: ImageEmbedding, logits: Tensor) -> NDArray[np.bool_]:
        """(K, l, l) logits to (K, H, W) masks, as segment-anything enlarges them."""
        inner, side = embedding.features.input_hw, self._resize.target_length
        with torch.inference_mode():
            return full_size_masks(logits, side, inner, embedding.size_hw).cpu().numpy()

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

    def _preprocess(self, resized: Tensor) -> Tensor:
        """(h, w, 3) uint8 to (1, 3, S, S), normalised, with zeros to the right and below."""
        pixels = resized.permute(2, 0, 1).float()
        height, width = resized.shape[:2]
        side = self._resize.target_length
        padding = (0, side - width, 0, side - height)
        return F.pad((pixels - self._mean) / self._std, padding).unsqueeze(0)

    def _points(
        self, prompts: Sequence[PointPrompts], size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """(B, P, 2) input pixels and (B, P) labels of prompts with P points each."""
        xy = np.stack([self._resize.apply_coords(prompt.xy, size_hw) for prompt in prompts])
        labels = np.stack([prompt.positive for prompt in prompts])
        return (
            upload(xy.astype(np.float32), self._device),
            upload(labels.astype(np.int64), self._device),
        )


def _spec(path: str | Path, model: str | None, metadata: Mapping[str, str]) -> SamSpec:
    if model is not None:
        if model not in SPECS:
            raise ConfigError(f"SAM model '{model}' is none of {', '.join(SPECS)}")
        return SPECS[model]
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
