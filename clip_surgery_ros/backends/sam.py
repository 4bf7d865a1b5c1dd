"""segment-anything networks behind ``core.interfaces.PromptableSegmenter``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
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

from clip_surgery_ros.backends.weights import load_state_dict
from clip_surgery_ros.core.errors import ConfigError, ImageError, WeightsError
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.types import PointPrompts

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
    """An image's features (1, C, g, g) and the size of the resized image inside the square."""

    features: Tensor
    input_hw: tuple[int, int]


class SamBackend:
    """A SAM that encodes once per frame and decodes all prompts of the frame together.

    :param sam: the network, in evaluation mode.
    :param device: torch device.
    :param dtype: torch dtype of the image encoder; prompts and decoder stay in float32,
        which costs little and keeps mask borders exact.
    :param chunk: prompts decoded in one call: decoding grows faster than their number.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        chunk: int = 8,
    ) -> None:
        self._sam: Any = sam.to(torch.device(device)).eval().requires_grad_(False)
        self._sam.image_encoder.to(dtype)
        self._dtype, self._chunk = dtype, chunk
        self._resize = ResizeLongestSide(sam.image_encoder.img_size)

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
                f"weight file {path} does not fit SAM {model or 'of its own sizes'}; it belongs "
                f"to another network ({str(error).splitlines()[-1].strip()[:120]})"
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
            resized = torch.from_numpy(self._resize.apply_image(image_rgb))
            pixels = resized.to(self._sam.device).permute(2, 0, 1).unsqueeze(0).float()
            features = self._sam.image_encoder(self._sam.preprocess(pixels).to(self._dtype))
        inner = (resized.shape[0], resized.shape[1])
        return ImageEmbedding(_Features(features.float(), inner), image_rgb.shape[:2])

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        """Three candidates for each prompt, in order."""
        # Only prompts of as many points share a call: a padded point would be attended to.
        by_size: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_size.setdefault(len(prompt.xy), []).append(index)
        found: dict[int, MaskCandidates] = {}
        with torch.inference_mode():
            for group in by_size.values():
                for start in range(0, len(group), self._chunk):
                    part = group[start : start + self._chunk]
                    chunk = self._decode_chunk(embedding, [prompts[i] for i in part])
                    found.update(zip(part, chunk, strict=True))
        return [found[index] for index in range(len(prompts))]

    def _decode_chunk(
        self, embedding: ImageEmbedding, prompts: Sequence[PointPrompts]
    ) -> list[MaskCandidates]:
        sam, inner = self._sam, embedding.features
        sparse, dense = sam.prompt_encoder(
            points=self._points(prompts, embedding.size_hw), boxes=None, masks=None
        )
        logits, scores = sam.mask_decoder(
            image_embeddings=inner.features,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        masks = sam.postprocess_masks(logits, inner.input_hw, embedding.size_hw) > 0
        return [
            MaskCandidates(m, s, low)
            for m, s, low in zip(
                masks.cpu().numpy(), scores.cpu().numpy(), logits.cpu().numpy(), strict=True
            )
        ]

    def _points(
        self, prompts: Sequence[PointPrompts], size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """(B, P, 2) input pixels and (B, P) labels of prompts with P points each."""
        xy = np.stack([self._resize.apply_coords(prompt.xy, size_hw) for prompt in prompts])
        labels = np.stack([prompt.positive for prompt in prompts])
        device = self._sam.device
        points = torch.as_tensor(xy, dtype=torch.float32, device=device)
        return points, torch.as_tensor(labels, dtype=torch.int32, device=device)


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
