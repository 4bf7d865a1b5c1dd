"""open_clip models with the weights of a file, ready for :class:`ClipBackend`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, convert_to_custom_text_state_dict
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.core.near_names import did_you_mean
from clip_surgery_ros.networks.clip.hugging_face_text import create_model
from clip_surgery_ros.networks.clip.vocabulary_table import VOCABULARY_SIZE, with_all_tokens
from clip_surgery_ros.weights.layouts import (
    OPENAI_EXTRAS,
    clip_sizes,
    guess_network,
    load_tensors,
    open_clip_names,
)
from clip_surgery_ros.weights.provenance import Provenance


def load_openai_model(
    tensors: Mapping[str, Tensor], head_width: int = 64, quick_gelu: bool = True
) -> CLIP:
    """Return an open_clip model in float32, with all sizes taken from the tensors.

    (open_clip's own reader of this layout rounds the weights to float16.)

    :param tensors: a state dict in OpenAI's layout.
    :param head_width: channels per attention head of both towers; 64 in OpenAI's models.
    :param quick_gelu: whether the activation is QuickGELU, as in OpenAI's models.
    :raises WeightsError: when tensors are missing or have the wrong shape.
    """
    tensors = with_all_tokens(tensors)
    sizes = clip_sizes(tensors)
    if sizes is None:
        raise WeightsError(
            f"these are not CLIP weights in OpenAI's layout but look like {guess_network(tensors)}"
        )
    vocabulary_size = sizes["text_cfg"]["vocab_size"]
    if vocabulary_size != VOCABULARY_SIZE:
        raise WeightsError(
            f"the text tower knows {vocabulary_size} tokens, but OpenAI's tokenizer has "
            f"{VOCABULARY_SIZE}; it looks like {guess_network(tensors)}"
        )
    names = open_clip_names(sizes)
    if names and not any(map(_is_defined_by_sizes, names)):
        raise WeightsError(
            f"this looks like {guess_network(tensors)}, which OpenAI's layout does not describe "
            f"completely; set clip_model to '{names[0]}'"
        )
    vision, text = dict(sizes["vision_cfg"]), dict(sizes["text_cfg"])
    if "visual.proj" in tensors:
        vision["head_width"] = head_width
    text["heads"] = text["width"] // head_width
    model = _build_clip(sizes["embed_dim"], vision, text, quick_gelu)
    load_clip_weights(model, tensors, "OpenAI's layout")
    return model


def build_open_clip_model(name: str) -> Any:
    """Return the open_clip model of this name, without its weights.

    :raises ConfigError: when its text tower needs a package that is not installed.
    :raises WeightsError: when the configuration of its text tower is not installed.
    """
    config = open_clip.get_model_config(name)
    has_plain_config = config.keys() <= {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    if (
        has_plain_config
        and "timm_model_name" not in config["vision_cfg"]
        and "hf_model_name" not in config["text_cfg"]
    ):
        return _build_clip(**config)
    return create_model(name)


def load_clip_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy the tensors of a checkpoint into a model.

    :param source: what the message of an error begins with.
    :raises WeightsError: naming tensors that do not fit.
    """
    if hasattr(model, "text"):
        tensors = convert_to_custom_text_state_dict(dict(tensors))
    expected = model.state_dict()
    weights = {name: x for name, x in tensors.items() if name not in OPENAI_EXTRAS}
    scale = weights.get("logit_scale")
    if scale is not None and scale.numel() == 1 and "logit_scale" in expected:
        # Some files have a list with this one number.
        weights["logit_scale"] = scale.reshape(expected["logit_scale"].shape)
    difference = load_tensors(model, weights)
    if difference:
        raise WeightsError(
            f"{source}: the checkpoint {difference}; it looks like {guess_network(tensors)}"
        )


def check_model_name(name: str) -> None:
    """Check that open_clip has a model of this name.

    :raises ConfigError: when it has none.
    """
    if name not in open_clip.list_models():
        raise ConfigError(
            f"open_clip knows no model '{name}'; `python -c 'import open_clip; "
            "print(open_clip.list_models())'` lists the names"
            f"{did_you_mean(name, open_clip.list_models())}"
        )


def check_activation(name: str, path: Path, provenance: Provenance) -> None:
    """Check that an open_clip model computes the activation that a checkpoint was trained with.

    :raises ConfigError: when the checkpoint is known to have the other one.
    """
    has_quick_gelu = bool(open_clip.get_model_config(name).get("quick_gelu", False))
    if provenance.quick_gelu in (None, has_quick_gelu):
        return
    if provenance.quick_gelu:
        trained, computed, fitting_name = "QuickGELU", "GELU", f"{name}-quickgelu"
    else:
        trained, computed, fitting_name = "GELU", "QuickGELU", name.removesuffix("-quickgelu")
    if fitting_name not in open_clip.list_models():
        fitting_name = "openai"
    raise ConfigError(
        f"weight file {path} was trained with {trained} ({provenance.source}), but open_clip's "
        f"'{name}' computes {computed}; set clip_model to '{fitting_name}'"
    )


def _is_defined_by_sizes(name: str) -> bool:
    """Whether the configuration of an open_clip model has nothing but sizes."""
    config = open_clip.get_model_config(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    return vision.keys() <= {"image_size", "layers", "width", "patch_size"} and text.keys() <= {
        *("context_length", "vocab_size", "width", "heads", "layers")
    }


def _build_clip(embed_dim: int, vision_cfg: Any, text_cfg: Any, quick_gelu: bool = False) -> CLIP:
    """Return a CLIP of these sizes with uninitialised weights.

    open_clip fills the weights with random numbers first, which takes longer than reading a file.
    """
    vision, text = CLIPVisionCfg(**vision_cfg), CLIPTextCfg(**text_cfg)
    with _SkipRandomInit():
        return CLIP(embed_dim, vision, text, quick_gelu=quick_gelu)


class _SkipRandomInit(TorchFunctionMode):
    """Leaves tensors uninitialised that would be filled with random numbers.

    (torch's meta device does the same, but imports torch's compiler, which takes over a second.)
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))
