"""CLIP networks behind ``core.interfaces.ImageTextEncoder``."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from clip_surgery_ros.arithmetic.attention import fastest_attention
from clip_surgery_ros.arithmetic.graphs import Graphs
from clip_surgery_ros.arithmetic.layers import ComputeTarget
from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.core.interfaces import RgbImage
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.core.transfer import on_device
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.core.windows import encode_image, fine_grid
from clip_surgery_ros.networks.clip.hugging_face_text import get_tokenizer, is_multilingual
from clip_surgery_ros.networks.clip.loading import (
    build_open_clip_model,
    check_activation,
    check_model_name,
    load_clip_weights,
    load_openai_model,
)
from clip_surgery_ros.networks.clip.surgery import check_attention, surgery_encoder_type
from clip_surgery_ros.networks.clip.text_tower import TextTower
from clip_surgery_ros.networks.clip.traits import ClipTraits, read_traits
from clip_surgery_ros.networks.devices import PRECISIONS
from clip_surgery_ros.networks.resizing import BICUBIC, resize_images, resize_on_host
from clip_surgery_ros.weights.files import checkpoint_file
from clip_surgery_ros.weights.provenance import find_provenance
from clip_surgery_ros.weights.state_dicts import load_state_dict

_LOG = logging.getLogger(__name__)


class ClipBackend:
    """A CLIP with CLIP Surgery: images to tokens, texts to features.

    Computing changes nothing in the network, so several pipelines may share one.

    :param model: an open_clip model.
    :param tokenize: (P,) prompts to (P, L) token ids, cut at the context length.
    :param device: torch device.
    :param precision: of both towers, one of ``PRECISIONS``.
    :param input_size: side in pixels that images are squashed to, a multiple of the patch; None
        for the size that the network was trained with.
    :param traits: facts about the network that its weights do not contain.
    :param attention: the attention of surgery's new path, one of ``surgery.ATTENTIONS``.
    :param templates: prompts with one ``{}``, over which a text's features are averaged.
    :param graphs: whether images are encoded by CUDA graphs, on a GPU.
    :raises ConfigError: when an argument has no such value, or surgery does not support the
        model's image tower.

    >>> from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    >>> vision = CLIPVisionCfg(layers=2, width=64, patch_size=16, image_size=64)
    >>> model = CLIP(32, vision, CLIPTextCfg(width=64, heads=1, layers=1))
    >>> clip = ClipBackend.from_state_dict(model.state_dict())
    >>> pixels = clip.preprocess(np.zeros((90, 120, 3), np.uint8))
    >>> clip.surgery_tokens(pixels).shape
    torch.Size([1, 17, 32])
    >>> clip.text_features(["red mug", "hammer"]).shape
    torch.Size([2, 32])
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
        graphs: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision '{precision}' is none of {', '.join(PRECISIONS)}")
        self.device, self.dtype = torch.device(device), PRECISIONS[precision]
        self.traits = traits
        self.vocabulary = Vocabulary(traits.labels, traits.attributes, traits.other_words)
        network: Any = model.to(self.device, self.dtype).eval().requires_grad_(False)
        self.text = TextTower(network, tokenize, self.device, templates, traits.multilingual)
        check_attention(attention)
        # The encoder keeps what it needs of the image tower; the rest is freed with the model.
        encoder = surgery_encoder_type(network.visual)(network.visual)
        self.input_size = input_size or encoder.native_size
        if self.input_size % encoder.patch:
            raise ConfigError(
                f"CLIP input size {self.input_size} is not a multiple of the patch, "
                f"{encoder.patch}; use {_nearest_multiple(self.input_size, encoder.patch)}"
            )
        tokens = 1 + (self.input_size // encoder.patch) ** 2
        width = encoder.heads * encoder.head_width
        target = ComputeTarget.of_network(self.device, self.dtype, width)
        self._attend = fastest_attention(target, (encoder.heads, tokens, encoder.head_width))
        self._attention = attention
        self._encoder = encoder.with_attention(attention, self._attend)
        self._mean = torch.tensor(traits.mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(traits.std, device=self.device).view(3, 1, 1)
        self._graphs = Graphs("CLIP", graphs and self.device.type == "cuda")

    @classmethod
    def from_state_dict(
        cls,
        state_dict: Mapping[str, Tensor],
        *,
        head_width: int = 64,
        quick_gelu: bool = True,
        **options: Any,
    ) -> ClipBackend:
        """Build a CLIP from a state dict in OpenAI's layout, with all sizes from the tensors.

        :param head_width: channels per attention head of both towers; 64 in OpenAI's models.
        :param quick_gelu: whether the activation is QuickGELU, as in OpenAI's models.
        :param options: keyword arguments of the constructor.
        :raises WeightsError: when tensors are missing or have the wrong shape.
        :raises ConfigError: as the constructor.
        """
        model = load_openai_model(state_dict, head_width, quick_gelu)
        context_length = int(state_dict["positional_embedding"].shape[0])
        return cls(model, open_clip.SimpleTokenizer(context_length=context_length), **options)

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> ClipBackend:
        """Build a CLIP from a file in OpenAI's layout.

        Sizes and calibration in the file's metadata are used; the demo's file has them.

        :param path: of the file, or of a folder in Hugging Face's layout.
        :param options: keyword arguments of :meth:`from_state_dict`.
        :raises WeightsError: naming the file, when it cannot be used.
        :raises ConfigError: as the constructor.
        """
        path = checkpoint_file(path)
        tensors, metadata = load_state_dict(path)
        provenance = find_provenance(path, tensors)
        if "head_width" in metadata:
            options.setdefault("head_width", int(metadata["head_width"]))
        elif provenance.quick_gelu is None:
            _LOG.warning(
                "the activation of weight file %s is unknown: QuickGELU is used, as in OpenAI's "
                "networks; if open_clip trained it, set clip_model to its open_clip name instead",
                path,
            )
        if "input_size" in metadata and options.get("input_size") is None:
            options["input_size"] = int(metadata["input_size"])
        options.setdefault("quick_gelu", provenance.quick_gelu is not False)
        options.setdefault("traits", read_traits(metadata, provenance))
        try:
            return cls.from_state_dict(tensors, **options)
        except WeightsError as error:
            raise WeightsError(f"weight file {path}: {error}") from error

    @classmethod
    def from_open_clip(cls, name: str, checkpoint: str | Path, **options: Any) -> ClipBackend:
        """Build an open_clip model from a local checkpoint.

        :param name: of the model in open_clip.
        :param checkpoint: a file, or a folder in Hugging Face's layout.
        :param options: ``device``, ``precision``, ``input_size``, ``attention``, ``templates``.
        :raises ConfigError: when open_clip has no such model, surgery does not support it, or the
            checkpoint was trained with another activation.
        :raises WeightsError: when the checkpoint does not fit the model, or files of its text
            tower are not installed.
        """
        check_model_name(name)
        path = checkpoint_file(checkpoint)
        tensors, _ = load_state_dict(path)
        provenance = find_provenance(path, tensors)
        check_activation(name, path, provenance)
        model = build_open_clip_model(name)
        # These errors come before those of a missing tokenizer.
        surgery_encoder_type(model.visual)
        check_attention(options.get("attention", "v-v"))
        load_clip_weights(model, tensors, f"weight file {path}, as open_clip's {name}")
        traits = replace(read_traits({}, provenance), multilingual=is_multilingual(name))
        return cls(model, get_tokenizer(name), traits=traits, **options)

    def with_attention(self, attention: str) -> ClipBackend:
        """Return a backend with another attention on surgery's new path; it shares the weights.

        :raises ConfigError: when ``surgery.ATTENTIONS`` has no such attention.
        """
        check_attention(attention)
        clip = copy.copy(self)
        clip._attention = attention
        clip._encoder = self._encoder.with_attention(attention, self._attend)
        clip._graphs = Graphs(self._graphs.name, self._graphs.enabled)
        return clip

    def presence_level(self, windows: bool) -> PresenceLevel:
        """Return the calibration of presence for the attention in use.

        :param windows: whether the image's tokens include those of windows.
        """
        if self._attention != "v-v":
            return self.traits.presence
        with_tokens = self.traits.presence_with_tokens or self.traits.presence
        return (self.traits.presence_with_windows if windows else None) or with_tokens

    def preprocess(self, *images_rgb: RgbImage) -> Tensor:
        """Squash images to the input size (bicubic, antialiased) and normalise them.

        Pillow resizes on a CPU, where it is faster; a GPU computes the same.

        :param images_rgb: B of them, (H, W, 3) uint8 RGB each, of any size; arrays, or tensors on
            the backend's device.
        :returns: (B, 3, S, S) in the backend's precision, on its device.
        """
        pixels = _squash(images_rgb, self.input_size, self.device)
        return ((pixels / 255 - self._mean) / self._std).to(self.dtype)

    def image_tokens(
        self, image_rgb: RgbImage, windows: bool, surgery: bool = True
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens of an image, see :func:`~clip_surgery_ros.core.windows.encode_image`.

        :param surgery: with surgery, or of the unchanged network.
        """
        encode = self.surgery_tokens if surgery else self.plain_tokens
        cells = self.input_size // self._encoder.patch
        (tokens,) = self._graphs(
            (windows, surgery),
            lambda image: encode_image(self, encode, image, windows)[:1],
            on_device(image_rgb, self.device),
        )
        return tokens, fine_grid((cells, cells)) if windows else (cells, cells)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self._encoder.patch

    def grid_hw(self, pixel_values: Tensor) -> tuple[int, int]:
        """Return rows and columns of the token grid of (B, 3, h, w) pixel values."""
        height, width = pixel_values.shape[-2:]
        return height // self._encoder.patch, width // self._encoder.patch

    def surgery_tokens(self, pixel_values: Tensor) -> Tensor:
        """Return (B, 1 + N, C) float32 tokens after surgery, before L2 normalisation.

        Token 0 is CLS, the others are the patches row by row.

        :param pixel_values: (B, 3, h, w), h and w any multiples of the patch.
        :raises ConfigError: for other shapes.
        """
        with torch.inference_mode():
            return self._encoder.surgery_tokens(self._checked(pixel_values)).float()

    def plain_tokens(self, pixel_values: Tensor) -> Tensor:
        """Return the tokens of the unchanged network; otherwise as :meth:`surgery_tokens`."""
        with torch.inference_mode():
            return self._encoder.plain_tokens(self._checked(pixel_values)).float()

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return (T, C) float32 prompt-ensemble features, unit rows.

        Each text is encoded once. Texts that the network cannot read or that are too long for it
        are warned of once.
        """
        return self.text(texts)

    def add_text_features(self, features: Mapping[str, Tensor]) -> None:
        """Add features that this network computed before, unit (C,) by their texts."""
        self.text.add_features(features)

    def open_text_cache(self, folder: Path) -> None:
        """Load the text features that a file in this folder has, and write new ones to it."""
        self.text.open_cache(folder)

    @property
    def text_counts(self) -> TextCounts:
        """How many texts were encoded, and how many came from the cache."""
        return self.text.counts

    def _checked(self, pixel_values: Tensor) -> Tensor:
        """Return pixel values on the device, after a check of their shape."""
        _check_shape(pixel_values, self._encoder.patch)
        return pixel_values.to(self.device, self.dtype)


def _nearest_multiple(size: int, patch: int) -> int:
    return max(1, round(size / patch)) * patch


def _squash(images_rgb: Sequence[RgbImage], side: int, device: torch.device) -> Tensor:
    """Return (B, 3, S, S) whole numbers of 0 to 255, in float32: images as squares of one size."""
    size = (side, side)
    if device.type == "cpu":
        squashed = [resize_on_host(np.asarray(image), size, BICUBIC) for image in images_rgb]
        return torch.from_numpy(np.stack(squashed)).permute(0, 3, 1, 2).float()
    return resize_images([on_device(image, device) for image in images_rgb], size, BICUBIC)


def _check_shape(pixel_values: Tensor, patch: int) -> None:
    if (
        pixel_values.ndim != 4
        or pixel_values.shape[1] != 3
        or any(side % patch or not side for side in pixel_values.shape[2:])
    ):
        raise ConfigError(
            f"pixel values want (B, 3, h, w) with h and w multiples of {patch}, got "
            f"{tuple(pixel_values.shape)}"
        )
