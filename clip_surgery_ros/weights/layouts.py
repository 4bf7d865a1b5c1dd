"""Which network a state dict belongs to, recognised by names and sizes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import open_clip
from torch import Tensor, nn

OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers in OpenAI's own archives that are no weights."""
RESNET_PATCH = 32
"""Side in pixels of a token of OpenAI's ResNets: the product of their strides."""

SAM_MARKERS: Sequence[tuple[str, str, int]] = (
    ("vit_t", "image_encoder.layers.3.blocks.1.mlp.fc2.bias", 320),
    ("vit_b", "image_encoder.pos_embed", 768),
    ("vit_l", "image_encoder.pos_embed", 1024),
    ("vit_h", "image_encoder.pos_embed", 1280),
    ("sam2.1_hiera_large", "image_encoder.trunk.blocks.47.mlp.layers.1.bias", 1152),
    ("sam2.1_hiera_base_plus", "image_encoder.trunk.blocks.23.mlp.layers.1.bias", 896),
    ("sam2.1_hiera_small", "image_encoder.trunk.blocks.15.mlp.layers.1.bias", 768),
    ("sam2.1_hiera_tiny", "image_encoder.trunk.blocks.11.mlp.layers.1.bias", 768),
)
"""Name of a SAM, and a tensor that identifies it by its name and last dimension.

The first match counts."""
# Prefixes of tensor names that identify networks that are not supported, specific ones first.
_UNSUPPORTED = (
    ("shared_image_embedding.", "a SAM in Transformers' layout, not in Meta's"),
    ("vision_encoder.", "a SAM in Transformers' layout, not in Meta's"),
    ("memory_encoder.", "SAM 2"),
    ("sam_mask_decoder.", "SAM 2"),
    ("mask_decoder.", "a Segment Anything model"),
    ("text_decoder.", "CoCa"),
    ("visual.trunk.", "SigLIP or another CLIP whose image tower is timm's"),
    ("vision_model.head.", "SigLIP in Transformers' layout"),
    ("text_model.head.", "SigLIP in Transformers' layout"),
    ("visual_projection.", "CLIP in Transformers' layout, not in open_clip's"),
    ("vision_model.", "an image tower in Transformers' layout"),
    ("text_model.", "a text tower in Transformers' layout"),
    ("bert.", "a language model"),
    ("lm_head.", "a language model"),
    ("embed_tokens.", "a language model"),
    ("model.embed_tokens.", "a language model"),
    ("embeddings.word_embeddings.", "a language model"),
    ("blocks.0.attn.", "a vision transformer in timm's layout, without a text tower"),
    ("layer1.0.conv1.", "a ResNet without a text tower"),
)

_MAX_NAMES = 3
"""Most tensors that a message names for each kind of difference."""


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Copy tensors into a network by their names; copy none if one has another size.

    Batch norm's ``num_batches_tracked`` may be missing and ``position_ids`` may be present: files
    differ in them, and neither changes what a network computes.

    :returns: how the tensors differ from those of the network, naming some; empty when they fit.
    """
    expected = network.state_dict()
    resized = [k for k, v in tensors.items() if k in expected and v.shape != expected[k].shape]
    if resized:
        missing, unknown = [k for k in expected if k not in tensors], []
    else:
        # The network reports unknown tensors, because Sam2Image skips those for videos.
        missing, unknown = network.load_state_dict(tensors, strict=False)
    differences = (
        ("lacks", [k for k in missing if not k.endswith("num_batches_tracked")]),
        ("has another size of", [_sizes(k, tensors, expected) for k in resized]),
        ("has an unknown", [k for k in unknown if not k.endswith("position_ids")]),
    )
    return " and ".join(f"{verb} {_join_names(names)}" for verb, names in differences if names)


def _sizes(name: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return a tensor's name with its size and the expected size."""
    return f"{name} ({list(tensors[name].shape)} instead of {list(expected[name].shape)})"


def _join_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" (and {more} more)" if more > 0 else "")


def guess_network(tensors: Mapping[str, Tensor]) -> str:
    """Return which network tensors look like, such as ``the SAM 'vit_b'``; for messages.

    :param tensors: at least one, by name.
    """
    sam = guess_sam(tensors)
    if sam is not None:
        return f"the SAM '{sam}'"
    for prefix, description in _UNSUPPORTED:
        if any(name.startswith(prefix) for name in tensors):
            return description
    sizes = clip_sizes(tensors)
    if sizes is not None:
        return _describe_clip(sizes)
    if any(name.startswith("visual.") for name in tensors):
        return "the image tower of a CLIP, without a text tower of its layout"
    if any(name.removeprefix("text.").startswith("token_embedding.") for name in tensors):
        return "the text tower of a CLIP, without an image tower"
    prefixed = _remove_unknown_prefix(tensors)
    if prefixed is not None:
        prefix, network = prefixed
        return f"{guess_network(network)}, with '{prefix}' before its names; save it without that"
    name, tensor = next(iter(tensors.items()))
    return f"an unknown network, with {name} of shape {tuple(tensor.shape)}"


def _remove_unknown_prefix(
    tensors: Mapping[str, Tensor],
) -> tuple[str, dict[str, Tensor]] | None:
    """Return the prefix of a known network's names, and its tensors by names without it."""
    markers = ["visual.conv1.weight", *(name for _, name, _ in SAM_MARKERS)]
    for marker in markers:
        for name in tensors:
            prefix = name.removesuffix(marker)
            if prefix not in ("", name):
                inside = {k: v for k, v in tensors.items() if k.startswith(prefix)}
                return prefix, {k.removeprefix(prefix): v for k, v in inside.items()}
    return None


def guess_sam(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of a pretrained SAM that these tensors belong to, or None."""
    for model, name, width in SAM_MARKERS:
        if name in tensors and tensors[name].shape[-1:] == (width,):
            return model
    return None


def clip_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Return the sizes of a CLIP in OpenAI's or open_clip's layout, or None for another network.

    The keys are those of open_clip's configurations. The number of attention heads and the
    activation are not among them, because they cannot be read from tensors.
    """
    text = "" if "token_embedding.weight" in tensors else "text."
    try:
        vocabulary = tensors[f"{text}token_embedding.weight"]
        return {
            "embed_dim": tensors[f"{text}text_projection"].shape[1],
            "vision_cfg": _vit(tensors) if "visual.proj" in tensors else _resnet(tensors),
            "text_cfg": {
                "context_length": len(tensors[f"{text}positional_embedding"]),
                "vocab_size": len(vocabulary),
                "width": vocabulary.shape[1],
                "layers": _count(tensors, f"{text}transformer.resblocks."),
            },
        }
    except (KeyError, ValueError, IndexError, TypeError):  # of tensors with unexpected shapes
        return None


def open_clip_names(sizes: Mapping[str, Any]) -> list[str]:
    """Return the names of open_clip's models with these sizes, with and without QuickGELU."""
    return [name for name in open_clip.list_models() if _configured_sizes(name) == sizes]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of modules whose names begin with a prefix and a number."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _vit(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the sizes of a vision transformer."""
    width, _, patch, _ = tensors["visual.conv1.weight"].shape
    side = math.isqrt(len(tensors["visual.positional_embedding"]) - 1)
    return {
        "image_size": side * patch,
        "layers": _count(tensors, "visual.transformer.resblocks."),
        "width": width,
        "patch_size": patch,
    }


def _resnet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the sizes of a ModifiedResNet."""
    side = math.isqrt(len(tensors["visual.attnpool.positional_embedding"]) - 1)
    return {
        "image_size": side * RESNET_PATCH,
        "layers": [_count(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": len(tensors["visual.layer1.0.conv1.weight"]),
    }


@cache
def _configured_sizes(name: str) -> dict[str, Any]:
    """Return what :func:`clip_sizes` would return for the weights of an open_clip model."""
    config = open_clip.get_model_config(name)
    vision = config["vision_cfg"]
    keys = ["image_size", "layers", "width"]
    if not isinstance(vision.get("layers"), list):
        keys.append("patch_size")
    text = {"context_length": 77, "vocab_size": 49408} | config["text_cfg"]
    return {
        "embed_dim": config["embed_dim"],
        "vision_cfg": {key: vision.get(key) for key in keys},
        "text_cfg": {
            key: text.get(key) for key in ("context_length", "vocab_size", "width", "layers")
        },
    }


def _describe_clip(sizes: Mapping[str, Any]) -> str:
    """Return a CLIP's sizes in words, after the names of open_clip's models that have them."""
    vision = sizes["vision_cfg"]
    tower = (
        f"a ViT of width {vision['width']}, {vision['layers']} layers, patch "
        f"{vision['patch_size']}"
        if "patch_size" in vision
        else f"a ResNet of width {vision['width']}, stages {vision['layers']}"
    )
    names = " or ".join(open_clip_names(sizes))
    introduction = f"open_clip's {names}: " if names else ""
    return f"{introduction}CLIP with {tower}, for {vision['image_size']} pixels"
