"""segment-anything's networks: their sizes, building them, and loading weights into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.layouts import guess_network, guess_sam, load_tensors

_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of RGB in [0, 255]


@dataclass(frozen=True)
class SamSpec:
    """The sizes of a SAM. The defaults are those of ``vit_b``.

    :param image_size: side of the square input in pixels.
    :param patch_size: side of a patch in pixels.
    :param encoder_dim: channels of the image encoder.
    :param encoder_depth: blocks of the image encoder.
    :param encoder_heads: attention heads of the image encoder.
    :param global_attn_indexes: blocks with global attention; the others attend within windows.
    :param window_size: side of a window in patches.
    :param prompt_dim: channels of embeddings, prompts and decoder.
    :param decoder_depth: blocks of the mask decoder.
    :param decoder_heads: attention heads of the mask decoder.
    :param mlp_dim: channels of the mask decoder's MLPs.
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
"""Sizes of Meta's pretrained models (Kirillov et al. 2023)."""


def build_sam(spec: SamSpec) -> Sam:
    """Return an untrained SAM of segment-anything's classes."""
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
    return build_with_encoder(encoder, spec)


def build_with_encoder(encoder: nn.Module, spec: SamSpec) -> Sam:
    """Return a SAM of an image encoder and segment-anything's untrained decoder.

    :param spec: sizes of the decoder; those of the encoder are ignored.
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


def read_spec(path: str | Path, metadata: Mapping[str, str]) -> SamSpec:
    """Return the sizes from a file's metadata, ``sam_spec``, as the demo's file has them.

    :param path: of the file, for messages.
    :raises WeightsError: when the metadata has no sizes, or not in this form.
    """
    if "sam_spec" not in metadata:
        raise WeightsError(
            f"weight file {path} does not contain its sizes; name its model, one of "
            f"{', '.join(SPECS)}"
        )
    try:
        sizes = json.loads(metadata["sam_spec"])
        return SamSpec(**{**sizes, "global_attn_indexes": tuple(sizes["global_attn_indexes"])})
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"weight file {path} has sizes in sam_spec that this version cannot read ({error}); "
            "export it again"
        ) from error


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, model: str
) -> None:
    """Copy weights into a network and set it to evaluation mode.

    :param path: of their file, for messages.
    :param model: name of the network, for messages.
    :raises WeightsError: when the tensors are not exactly those of the network.
    """
    difference = load_tensors(network, tensors)
    if difference:
        raise WeightsError(f"weight file {path} {_difference_message(tensors, model, difference)}")
    # Not before loading: TinyViT computes its position biases from its weights here.
    network.eval()


def _difference_message(tensors: Mapping[str, Tensor], model: str, difference: str) -> str:
    """Return what is wrong with tensors that do not fit a network."""
    guess = guess_sam(tensors)
    if guess == model:
        return (
            f"is of SAM {model}, but it {difference}; save all tensors of the network and no other"
        )
    description = guess_network(tensors)
    if guess is not None:
        description = f"{guess}: set sam_model to that, or name the right file"
    return f"does not fit SAM {model}; it looks like {description} (it {difference})"
