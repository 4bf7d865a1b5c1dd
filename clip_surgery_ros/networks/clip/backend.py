"""CLIP networks behind ``core.interfaces.ImageTextEncoder``."""

from __future__ import annotations

import copy
import json
import logging
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, convert_to_custom_text_state_dict
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clip_surgery_ros.arithmetic.attention import fastest_attention
from clip_surgery_ros.arithmetic.layers import ComputeTarget
from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.core.near_names import did_you_mean
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.templates import PLACEHOLDER, TEMPLATES
from clip_surgery_ros.core.text import (
    CAPACITY,
    TOO_LONG,
    UNREADABLE,
    PromptEnsemble,
    TextCounts,
    beyond_latin,
)
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.networks.clip.surgery import ATTENTIONS, SurgeryResNet, SurgeryVit
from clip_surgery_ros.networks.clip.text_features import TextStore, text_tower_digest
from clip_surgery_ros.networks.clip.text_towers import (
    create_model,
    get_tokenizer,
    is_multilingual,
    padding,
    strip_padding,
)
from clip_surgery_ros.networks.transfer import upload
from clip_surgery_ros.weights.files import checkpoint_file
from clip_surgery_ros.weights.layouts import (
    OPENAI_EXTRAS,
    clip_sizes,
    guess_network,
    load_tensors,
    open_clip_names,
)
from clip_surgery_ros.weights.provenance import Provenance, provenance
from clip_surgery_ros.weights.state_dicts import load_state_dict

PRECISIONS: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
MAX_CUT = 256
"""Texts that are remembered as cut: as many as a query may have labels."""
VOCABULARY = 49408
"""Tokens of OpenAI's tokenizer."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipTraits:
    """What a CLIP says of itself beside its weights.

    :param mean: of RGB in [0, 1], subtracted.
    :param std: of RGB in [0, 1], divided by.
    :param presence: level for deciding presence by the whole image, whatever surgery's attention.
    :param presence_with_tokens: level that counts its tokens too, for CLIP Surgery's own
        attention; None where none was measured.
    :param presence_with_windows: the same where the tokens are those of windows too.
    :param labels: names it was trained on; empty when it knows language at large.
    :param multilingual: whether it reads other scripts than the Latin.
    """

    mean: tuple[float, float, float] = open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, float, float] = open_clip.OPENAI_DATASET_STD
    presence: PresenceLevel = field(default_factory=PresenceLevel)
    presence_with_tokens: PresenceLevel | None = None
    presence_with_windows: PresenceLevel | None = None
    labels: tuple[str, ...] = ()
    multilingual: bool = False


class ClipBackend:
    """A CLIP with surgery, built once; a forward changes nothing in it.

    :param model: an open_clip model in evaluation mode.
    :param tokenize: (P,) prompts to (P, L) token ids, truncated at the context length.
    :param device: torch device.
    :param precision: one of ``PRECISIONS``, for the image and text towers.
    :param input_size: side that images are squashed to, in pixels; None for the trained one. A
        multiple of the patch.
    :param attention: what surgery's new path attends by, one of
        ``surgery.ATTENTIONS``.
    :param templates: prompts with one ``{}``, over which a text's features are averaged.
    :raises ConfigError: when the image tower has no CLS token or cannot be opened up.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenize: Any,
        *,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        input_size: int | None = None,
        traits: ClipTraits = ClipTraits(),
        attention: str = "v-v",
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision '{precision}' is none of {', '.join(PRECISIONS)}")
        self.device, self.dtype = torch.device(device), PRECISIONS[precision]
        self.traits = traits
        self.vocabulary = Vocabulary(traits.labels)
        placed: Any = model.to(self.device, self.dtype).eval().requires_grad_(False)
        # The surgeon has what it needs of the image tower; the rest may be let go of.
        self._text: Any = _without_image_tower(placed)
        self._tokenize = tokenize
        self._attention = attention
        _check_attention(attention)
        surgeon = surgery_encoder_type(placed.visual)(placed.visual)
        self.input_size = input_size or surgeon.native_size
        if self.input_size % surgeon.patch:
            raise ConfigError(
                f"CLIP input size {self.input_size} is not a multiple of the patch, "
                f"{surgeon.patch}; take {_nearest(self.input_size, surgeon.patch)}"
            )
        tokens = 1 + (self.input_size // surgeon.patch) ** 2
        place = ComputeTarget.of_network(self.device, self.dtype, surgeon.heads * surgeon.width)
        self._attend = fastest_attention(place, (surgeon.heads, tokens, surgeon.width))
        self._encoder = surgeon.attending(attention, self._attend)
        self._mean = torch.tensor(traits.mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(traits.std, device=self.device).view(3, 1, 1)
        self._ensemble = PromptEnsemble(self._encode_prompts, templates)
        self._warned: set[str] = set()
        self._measured: set[str] = set()
        self._cut: tuple[str, ...] = ()
        self._context = int(tokenize([""]).shape[1])  # tokens that the network reads

    @classmethod
    def from_state_dict(
        cls,
        state_dict: Mapping[str, Tensor],
        *,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        head_width: int = 64,
        quick_gelu: bool = True,
        input_size: int | None = None,
        traits: ClipTraits = ClipTraits(),
        attention: str = "v-v",
        templates: Sequence[str] = TEMPLATES,
    ) -> ClipBackend:
        """Build from OpenAI's state-dict layout, all sizes read from the tensors.

        :param head_width: channels per attention head of both towers; 64 in OpenAI's models.
        :param quick_gelu: whether the activation is QuickGELU, as in OpenAI's models.
        :raises WeightsError: when tensors are missing or of the wrong shape.
        """
        model = build_openai(state_dict, head_width, quick_gelu)
        context = int(state_dict["positional_embedding"].shape[0])
        tokenize = open_clip.SimpleTokenizer(context_length=context)
        return cls(
            model,
            tokenize,
            device=device,
            precision=precision,
            input_size=input_size,
            traits=traits,
            attention=attention,
            templates=templates,
        )

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> ClipBackend:
        """Build from a file in OpenAI's layout; the demo's metadata is read where present.

        :param path: of the file, or of a folder as Hugging Face has them.
        :param options: those of :meth:`from_state_dict`.
        :raises WeightsError: naming the file.
        """
        path = checkpoint_file(path)
        tensors, metadata = load_state_dict(path)
        known = provenance(path, tensors)
        if "head_width" in metadata:
            options.setdefault("head_width", int(metadata["head_width"]))
        elif known.quick_gelu is None:
            _LOG.warning(
                "nothing tells the activation of weight file %s: QuickGELU is taken, as OpenAI's "
                "networks have it; if it was trained by open_clip, name its model instead",
                path,
            )
        if "input_size" in metadata and options.get("input_size") is None:
            options["input_size"] = int(metadata["input_size"])
        options.setdefault("quick_gelu", known.quick_gelu is not False)
        options.setdefault("traits", _traits(metadata, known))
        try:
            return cls.from_state_dict(tensors, **options)
        except WeightsError as error:
            raise WeightsError(f"weight file {path}: {error}") from error

    @classmethod
    def from_open_clip(cls, name: str, checkpoint: str | Path, **options: Any) -> ClipBackend:
        """Build any open_clip model of this name from a local checkpoint.

        :param checkpoint: file, or folder as Hugging Face has them.
        :param options: ``device``, ``precision``, ``input_size``, ``attention``, ``templates``.
        :raises ConfigError: when open_clip knows no such model, surgery cannot open it, or the
            checkpoint was trained with another activation.
        :raises WeightsError: when the checkpoint does not fit the model, or files of its text
            tower are not in place.
        """
        if name not in open_clip.list_models():
            raise ConfigError(
                f"open_clip knows no model '{name}'; `python -c 'import open_clip; "
                "print(open_clip.list_models())'` lists the names"
                f"{did_you_mean(name, open_clip.list_models())}"
            )
        path = checkpoint_file(checkpoint)
        tensors, _ = load_state_dict(path)
        known = provenance(path, tensors)
        _check_activation(name, path, known)
        model = _untrained(name)
        # Before tokenizers are sought.
        surgery_encoder_type(model.visual)
        _check_attention(options.get("attention", "v-v"))
        if hasattr(model, "text"):
            tensors = convert_to_custom_text_state_dict(tensors)
        _load(model, tensors, f"weight file {path}, as open_clip's {name}")
        traits = replace(_traits({}, known), multilingual=is_multilingual(name))
        return cls(model, get_tokenizer(name), traits=traits, **options)

    def with_attention(self, attention: str) -> ClipBackend:
        """The same networks, not loaded again, with another attention on surgery's new path.

        :raises ConfigError: when there is none of that name.
        """
        _check_attention(attention)
        other = copy.copy(self)
        other._attention = attention
        other._encoder = self._encoder.attending(attention, self._attend)
        return other

    def presence(self, windows: bool) -> PresenceLevel:
        """The level for deciding presence that suits the attention in use.

        :param windows: whether the tokens judged are those of windows too.
        """
        if self._attention != "v-v":
            return self.traits.presence
        with_tokens = self.traits.presence_with_tokens or self.traits.presence
        return (self.traits.presence_with_windows if windows else None) or with_tokens

    def preprocess(self, image_rgb: NDArray[np.uint8]) -> Tensor:
        """Squash to the input size (bicubic, antialiased) and normalise.

        :param image_rgb: (H, W, 3) uint8 RGB.
        :returns: (1, 3, S, S) in the backend's precision, on its device.
        """
        size = (self.input_size, self.input_size)
        squashed = Image.fromarray(image_rgb).resize(size, Image.Resampling.BICUBIC)
        pixels = upload(np.array(squashed), self.device)
        scaled = (pixels.permute(2, 0, 1).float() / 255 - self._mean) / self._std
        return scaled.unsqueeze(0).to(self.dtype)

    def grid_hw(self, pixel_values: Tensor) -> tuple[int, int]:
        """Token grid of (B, 3, h, w) pixel values."""
        height, width = pixel_values.shape[-2:]
        return height // self._encoder.patch, width // self._encoder.patch

    def surgery_tokens(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, h, w) to (B, 1 + N, C) float32, before L2 normalisation; token 0 is CLS.

        Any h and w in multiples of the patch.

        :raises ConfigError: for other sizes.
        """
        with torch.inference_mode():
            return self._encoder.surgery_tokens(self._checked(pixel_values)).float()

    def plain_tokens(self, pixel_values: Tensor) -> Tensor:
        """The same from the network as it was trained."""
        with torch.inference_mode():
            return self._encoder.plain_tokens(self._checked(pixel_values)).float()

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(T, C) float32 prompt-ensemble features, unit rows; each text is encoded once."""
        if not self.traits.multilingual:
            self._warn_of_scripts(texts)
        self._warn_of_length(texts)
        with torch.inference_mode():
            return self._ensemble(texts)

    def add_text_features(self, features: Mapping[str, Tensor]) -> None:
        """Take over features, each a unit (C,), that this very network gave for texts before."""
        self._ensemble.remember({text: row.to(self.device) for text, row in features.items()})

    def open_text_cache(self, folder: Path) -> None:
        """Keep text features in a file of this folder, and take over what is there already."""
        network = text_tower_digest(self._text, self._tokenize, self._ensemble.templates)
        store = TextStore(folder, network)
        self.add_text_features(store.load())
        self._ensemble.on_encoded = store.add
        weakref.finalize(self._ensemble, store.flush)  # when let go of, and as the process ends

    @property
    def text_counts(self) -> TextCounts:
        """How many texts went through the text tower so far, and how many came from the cache."""
        return replace(self._ensemble.counts, cut=self._cut)

    def _warn_of_scripts(self, texts: Sequence[str]) -> None:
        """Say once of each text that it is in letters that the network cannot read."""
        for text in texts:
            if beyond_latin(text) and text not in self._warned:
                self._warned.add(text)
                _LOG.warning("label %.60r %s", text, UNREADABLE)

    def _warn_of_length(self, texts: Sequence[str]) -> None:
        """Say once of each text that the network reads no further than its context.

        Texts whose features were kept are no exception: they were cut when they were encoded.
        """
        for text in texts:
            if text in self._measured:
                continue
            if len(self._measured) == CAPACITY:
                self._measured.clear()
            self._measured.add(text)
            if self._is_too_long(text):
                self._cut = (*self._cut, text)[-MAX_CUT:]
                _LOG.warning("label %.60r %s (%d tokens)", text, TOO_LONG, self._context)

    def _is_too_long(self, text: str) -> bool:
        """Whether one of a text's prompts fills the context, so that the rest is cut."""
        templates = self._ensemble.templates
        # A token takes a byte at least, and two more mark the ends.
        if len(text.encode()) + max(map(len, templates)) < self._context - 2:
            return False
        tokens: Tensor = self._tokenize([one.replace(PLACEHOLDER, text) for one in templates])
        return bool((tokens[:, -1] != padding(self._tokenize)).any())

    def _checked(self, pixels: Tensor) -> Tensor:
        patch = self._encoder.patch
        if (
            pixels.ndim != 4
            or pixels.shape[1] != 3
            or any(s % patch or not s for s in pixels.shape[2:])
        ):
            raise ConfigError(
                f"pixel values want (B, 3, h, w) with h and w multiples of {patch}, got "
                f"{tuple(pixels.shape)}"
            )
        return pixels.to(self.device, self.dtype)

    def _encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """(P, C) features; prompts over the context length are cut."""
        tokens: Tensor = self._tokenize(list(prompts))
        tokens = strip_padding(self._text, tokens, padding(self._tokenize)).to(self.device)
        if not isinstance(self._text, CLIP):
            return self._text.encode_text(tokens)
        return _encode_causal(self._text, tokens)


def _encode_causal(model: Any, tokens: Tensor) -> Tensor:
    """CLIP's text tower on as many positions as the longest prompt needs.

    The tower is causal and read at the end token, so what follows changes nothing: 85 prompts of
    a short name cost a fifth of what all 77 positions do.
    """
    if model.text_pool_type != "argmax" or model.attn_mask is None:
        return model.encode_text(tokens)
    end = tokens.argmax(dim=-1)
    length = int(end.max()) + 1
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens[:, :length]).to(dtype)
    x = x + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(x), device=x.device), end]
    projection = model.text_projection
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def _without_image_tower(model: nn.Module) -> nn.Module:
    """The model's text side; it shares the weights, and the model stays as it is."""
    text = copy.copy(model)
    text._modules = {name: part for name, part in model._modules.items() if name != "visual"}
    return text


def _check_attention(attention: str) -> None:
    """:raises ConfigError: when surgery knows no attention of that name."""
    if attention not in ATTENTIONS:
        raise ConfigError(f"attention '{attention}' is none of {', '.join(ATTENTIONS)}")


def surgery_encoder_type(visual: Any) -> type[SurgeryVit] | type[SurgeryResNet]:
    """What can open this image tower.

    :raises ConfigError: naming the tower, when nothing can.
    """
    if isinstance(visual, ModifiedResNet):
        return SurgeryResNet
    plain = isinstance(visual, VisionTransformer) and not (
        visual.attn_pool is not None or visual.pool_type != "tok" or visual.final_ln_after_pool
    )
    if plain and all(isinstance(b, ResidualAttentionBlock) for b in visual.transformer.resblocks):
        return SurgeryVit
    raise ConfigError(
        f"CLIP Surgery needs a vision transformer read at its CLS token, or OpenAI's ResNet; this "
        f"model's image tower is a {type(visual).__name__} of another kind. ViT-B-16 is a good "
        "choice"
    )


def build_openai(
    tensors: Mapping[str, Tensor], head_width: int = 64, quick_gelu: bool = True
) -> CLIP:
    """An open_clip model of the sizes that the tensors have, in float32 throughout.

    (open_clip's own reader of this layout rounds to float16 on the way in.)

    :param tensors: in OpenAI's layout.
    :param head_width: see :meth:`ClipBackend.from_state_dict`, and ``quick_gelu``.
    :raises WeightsError: when tensors are missing or of the wrong shape.
    """
    sizes = clip_sizes(tensors)
    if sizes is None:
        raise WeightsError(
            f"these are not CLIP weights in OpenAI's layout but look like {guess_network(tensors)}"
        )
    words = sizes["text_cfg"]["vocab_size"]
    if words != VOCABULARY:
        raise WeightsError(
            f"the text tower knows {words} tokens, but OpenAI's tokenizer has {VOCABULARY}; it "
            f"looks like {guess_network(tensors)}"
        )
    names = open_clip_names(sizes)
    if names and not any(map(_is_as_openai, names)):
        raise WeightsError(
            f"this looks like {guess_network(tensors)}, which has more than OpenAI's layout "
            f"tells; set clip_model to '{names[0]}'"
        )
    vision, text = dict(sizes["vision_cfg"]), dict(sizes["text_cfg"])
    if "visual.proj" in tensors:
        vision["head_width"] = head_width
    text["heads"] = text["width"] // head_width
    model = _empty_clip(sizes["embed_dim"], vision, text, quick_gelu)
    _load(model, tensors, "OpenAI's layout")
    return model


def _is_as_openai(name: str) -> bool:
    """Whether the sizes of this model of open_clip are all there is to tell of it."""
    config = open_clip.get_model_config(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    return vision.keys() <= {"image_size", "layers", "width", "patch_size"} and text.keys() <= {
        *("context_length", "vocab_size", "width", "heads", "layers")
    }


def _untrained(name: str) -> Any:
    """The open_clip model of this name, its weights to be loaded yet."""
    config = open_clip.get_model_config(name)
    plain = config.keys() <= {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    if (
        plain
        and "timm_model_name" not in config["vision_cfg"]
        and "hf_model_name" not in config["text_cfg"]
    ):
        return _empty_clip(**config)
    return create_model(name)


def _empty_clip(embed_dim: int, vision_cfg: Any, text_cfg: Any, quick_gelu: bool = False) -> CLIP:
    """A CLIP of these sizes whose every weight is to be loaded.

    Drawing weights at random first, as open_clip does, would take longer than reading them.
    """
    vision, text = CLIPVisionCfg(**vision_cfg), CLIPTextCfg(**text_cfg)
    with _Undrawn():
        return CLIP(embed_dim, vision, text, quick_gelu=quick_gelu)


class _Undrawn(TorchFunctionMode):
    """Tensors that would be drawn at random are left as the memory is.

    (torch's meta device does the same, but imports torch's compiler for it, for over a second.)
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def _check_activation(name: str, path: Path, known: Provenance) -> None:
    """Refuse a model of open_clip that would run a checkpoint with the wrong activation."""
    quick = bool(open_clip.get_model_config(name).get("quick_gelu", False))
    if known.quick_gelu in (None, quick):
        return
    right = f"{name}-quickgelu" if known.quick_gelu else name.removesuffix("-quickgelu")
    trained, computes = ("QuickGELU", "GELU") if known.quick_gelu else ("GELU", "QuickGELU")
    raise ConfigError(
        f"weight file {path} was trained with {trained} ({known.source}), but open_clip's "
        f"'{name}' computes {computes}; set clip_model to "
        f"'{right if right in open_clip.list_models() else 'openai'}'"
    )


def _load(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load every tensor, or say which does not fit."""
    own = model.state_dict()
    given = {k: v for k, v in tensors.items() if k not in OPENAI_EXTRAS}
    scale = given.get("logit_scale")
    if scale is not None and scale.numel() == 1 and "logit_scale" in own:  # may be a list of one
        given["logit_scale"] = scale.reshape(own["logit_scale"].shape)
    difference = load_tensors(model, given)
    if difference:
        raise WeightsError(
            f"{what}: the checkpoint {difference}; it looks like {guess_network(tensors)}"
        )


def _traits(metadata: Mapping[str, str], known: Provenance) -> ClipTraits:
    """What a weight file's own metadata and its origin tell; defaults where nothing is told."""
    traits = ClipTraits(mean=known.mean, std=known.std)
    if "presence_scale" not in metadata:
        return traits
    return replace(
        traits,
        presence=PresenceLevel(
            float(metadata["presence_scale"]), float(metadata["presence_offset"])
        ),
        presence_with_tokens=_level(metadata.get("presence_with_tokens")),
        presence_with_windows=_level(metadata.get("presence_with_windows")),
        labels=tuple(json.loads(metadata.get("labels", "[]"))),
    )


def _level(told: str | None) -> PresenceLevel | None:
    """A level written as JSON, or None where none was measured."""
    return PresenceLevel(**json.loads(told)) if told else None


def _nearest(size: int, patch: int) -> int:
    return max(1, round(size / patch)) * patch
