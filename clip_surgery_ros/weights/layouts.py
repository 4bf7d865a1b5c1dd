"""What network the tensors of a state dict belong to, told by their names and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import open_clip
from torch import Tensor, nn

OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's own archives carry beside the weights."""
RESNET_PATCH = 32
"""Pixels per token each way of every ResNet of OpenAI's: its strides, multiplied."""

SAM_SIGNS: Sequence[tuple[str, str, int]] = (
    ("vit_t", "image_encoder.layers.3.blocks.1.mlp.fc2.bias", 320),
    ("vit_b", "image_encoder.pos_embed", 768),
    ("vit_l", "image_encoder.pos_embed", 1024),
    ("vit_h", "image_encoder.pos_embed", 1280),
    ("sam2.1_hiera_large", "image_encoder.trunk.blocks.47.mlp.layers.1.bias", 1152),
    ("sam2.1_hiera_base_plus", "image_encoder.trunk.blocks.23.mlp.layers.1.bias", 896),
    ("sam2.1_hiera_small", "image_encoder.trunk.blocks.15.mlp.layers.1.bias", 768),
    ("sam2.1_hiera_tiny", "image_encoder.trunk.blocks.11.mlp.layers.1.bias", 768),
)
"""A tensor by whose name and last dimension a published SAM is known; the first that fits."""
# Other networks by names of tensors that only they have, the more special ones first.
_OTHERS = (
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


_NAMED = 3
"""Tensors that a message names of each way not to fit."""


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Put tensors into a network by their names; if one has another size, none.

    Counters of batch norm may be missing and positions' numbers be there: some publishers leave
    the ones out and some keep the others, and neither changes what a network answers.

    :returns: how the tensors differ from the network's own, naming some; empty when they fit.
    """
    own = network.state_dict()
    wrong = [k for k, v in tensors.items() if k in own and v.shape != own[k].shape]
    if wrong:
        missing, unknown = [k for k in own if k not in tensors], []
    else:
        # The network says what is unknown: SAM 2's passes over its memory of videos.
        missing, unknown = network.load_state_dict(tensors, strict=False)
    differences = (
        ("lacks", [k for k in missing if not k.endswith("num_batches_tracked")]),
        ("has another size of", [_sizes(k, tensors, own) for k in wrong]),
        ("has an unknown", [k for k in unknown if not k.endswith("position_ids")]),
    )
    return " and ".join(f"{verb} {_named(names)}" for verb, names in differences if names)


def _sizes(name: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return f"{name} ({list(given[name].shape)} instead of {list(own[name].shape)})"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" (and {more} more)" if more > 0 else "")


def guess_network(tensors: Mapping[str, Tensor]) -> str:
    """The network in words, such as ``the SAM 'vit_b'``; at least one tensor."""
    sam = guess_sam(tensors)
    if sam is not None:
        return f"the SAM '{sam}'"
    for start, kind in _OTHERS:
        if any(name.startswith(start) for name in tensors):
            return kind
    sizes = clip_sizes(tensors)
    if sizes is not None:
        return _clip_in_words(sizes)
    if any(name.startswith("visual.") for name in tensors):
        return "the image tower of a CLIP, without a text tower of its layout"
    if any(name.removeprefix("text.").startswith("token_embedding.") for name in tensors):
        return "the text tower of a CLIP, without an image tower"
    within = _within(tensors)
    if within is not None:
        prefix, network = within
        return f"{guess_network(network)}, with '{prefix}' before its names; save it without that"
    name, tensor = next(iter(tensors.items()))
    return f"no network known here, with {name} of shape {tuple(tensor.shape)}"


def _within(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]] | None:
    """What stands before the names of a network known here, and its tensors by their own names."""
    signs = ["visual.conv1.weight", *(name for _, name, _ in SAM_SIGNS)]
    for sign in signs:
        for name in tensors:
            prefix = name.removesuffix(sign)
            if prefix not in ("", name):
                inside = {k: v for k, v in tensors.items() if k.startswith(prefix)}
                return prefix, {k.removeprefix(prefix): v for k, v in inside.items()}
    return None


def guess_sam(tensors: Mapping[str, Tensor]) -> str | None:
    """What ``sam_model`` calls this network, if it is a published one."""
    for model, name, width in SAM_SIGNS:
        if name in tensors and tensors[name].shape[-1:] == (width,):
            return model
    return None


def clip_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Sizes of a CLIP in OpenAI's or open_clip's layout as open_clip's configurations name them.

    None when it is no such CLIP. Heads and activation leave no trace in tensors.
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
    except (KeyError, ValueError, IndexError, TypeError):  # what odd shapes raise
        return None


def open_clip_names(sizes: Mapping[str, Any]) -> list[str]:
    """Models of open_clip that have these sizes; ``-quickgelu`` ones too, which differ in that."""
    return [name for name in open_clip.list_models() if _configured(name) == sizes]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are under a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _vit(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    width, _, patch, _ = tensors["visual.conv1.weight"].shape
    side = math.isqrt(len(tensors["visual.positional_embedding"]) - 1)
    return {
        "image_size": side * patch,
        "layers": _count(tensors, "visual.transformer.resblocks."),
        "width": width,
        "patch_size": patch,
    }


def _resnet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    side = math.isqrt(len(tensors["visual.attnpool.positional_embedding"]) - 1)
    return {
        "image_size": side * RESNET_PATCH,
        "layers": [_count(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": len(tensors["visual.layer1.0.conv1.weight"]),
    }


@cache
def _configured(name: str) -> dict[str, Any]:
    """What :func:`clip_sizes` would read from this model's weights."""
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


def _clip_in_words(sizes: Mapping[str, Any]) -> str:
    vision = sizes["vision_cfg"]
    tower = (
        f"a ViT of width {vision['width']}, {vision['layers']} layers, patch "
        f"{vision['patch_size']}"
        if "patch_size" in vision
        else f"a ResNet of width {vision['width']}, stages {vision['layers']}"
    )
    known = " or ".join(open_clip_names(sizes))
    told = f"open_clip's {known}: " if known else ""
    return f"{told}CLIP with {tower}, for {vision['image_size']} pixels"
