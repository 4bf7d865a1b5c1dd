"""The text tower of a CLIP: from texts to features, with a cache and warnings about texts."""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from clip_surgery_ros.core.templates import PLACEHOLDER, TEMPLATES
from clip_surgery_ros.core.text import (
    CAPACITY,
    TOO_LONG,
    UNREADABLE,
    PromptEnsemble,
    TextCounts,
    beyond_latin,
)
from clip_surgery_ros.core.transfer import upload
from clip_surgery_ros.networks.clip.hugging_face_text import padding_id, strip_padding
from clip_surgery_ros.networks.clip.text_features import TextStore, text_tower_digest

MAX_CUT_TEXTS = 256
"""Most texts reported as cut: as many as a query may have labels."""
CPU_BATCH, GPU_BATCH = len(TEMPLATES), 16 * len(TEMPLATES)
"""Prompts that are encoded together: on CPUs those of one text, as more take as much time each. On
GPUs (not measured) those of 16 texts, whose activations take some 200 MB."""
_LOG = logging.getLogger(__name__)


class TextTower:
    """Texts to prompt-ensemble features. Each text is encoded once.

    :param model: an open_clip model on its device; its image tower is not kept.
    :param tokenize: (P,) prompts to (P, L) token ids, cut at the context length.
    :param device: the model's device.
    :param templates: prompts with one ``{}``, over which a text's features are averaged.
    :param multilingual: whether the model reads other scripts than Latin.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenize: Callable[[list[str]], Tensor],
        device: torch.device,
        templates: Sequence[str],
        multilingual: bool,
    ) -> None:
        self.model: Any = _without_image_tower(model)
        batch = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        self.ensemble = PromptEnsemble(self.encode_prompts, templates, batch)
        self._tokenize, self._device, self._multilingual = tokenize, device, multilingual
        self._context_length = int(tokenize([""]).shape[1])
        self._warned_texts: set[str] = set()
        self._measured_texts: set[str] = set()
        self._cut_texts: tuple[str, ...] = ()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (T, C) float32 features, unit rows, one per text."""
        if not self._multilingual:
            self._warn_of_scripts(texts)
        self._warn_of_length(texts)
        with torch.inference_mode():
            return self.ensemble(texts)

    def add_features(self, features: Mapping[str, Tensor]) -> None:
        """Add unit (C,) features of this network to the cache, by their texts."""
        self.ensemble.remember({text: row.to(self._device) for text, row in features.items()})

    def open_cache(self, folder: Path) -> None:
        """Load the features that a file in this folder has, and write new ones to it."""
        network = text_tower_digest(self.model, self._tokenize, self.ensemble.templates)
        store = TextStore(folder, network)
        self.add_features(store.load())
        self.ensemble.on_encoded = store.add
        # Write what is left when this tower is deleted, and when the process ends.
        weakref.finalize(self.ensemble, store.flush)

    @property
    def counts(self) -> TextCounts:
        """How many texts were encoded, and how many came from the cache."""
        return replace(self.ensemble.counts, cut=self._cut_texts)

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Return (P, C) features; prompts longer than the context are cut."""
        tokens: Tensor = self._tokenize(list(prompts))
        tokens = strip_padding(self.model, tokens, padding_id(self._tokenize))
        if not isinstance(self.model, CLIP):
            return self.model.encode_text(upload(tokens.numpy(), self._device))
        return _encode_causal(self.model, tokens, self._device)

    def _warn_of_scripts(self, texts: Sequence[str]) -> None:
        """Warn once of each text in a script that the network cannot read."""
        for text in texts:
            if beyond_latin(text) and text not in self._warned_texts:
                self._warned_texts.add(text)
                _LOG.warning("label %.60r %s", text, UNREADABLE)

    def _warn_of_length(self, texts: Sequence[str]) -> None:
        """Warn once of each text that is longer than the network's context.

        This includes texts whose features come from a file: they were cut when they were encoded.
        """
        for text in texts:
            if text in self._measured_texts:
                continue
            if len(self._measured_texts) == CAPACITY:
                self._measured_texts.clear()
            self._measured_texts.add(text)
            if self._is_too_long(text):
                self._cut_texts = (*self._cut_texts, text)[-MAX_CUT_TEXTS:]
                _LOG.warning("label %.60r %s (%d tokens)", text, TOO_LONG, self._context_length)

    def _is_too_long(self, text: str) -> bool:
        """Whether one of a text's prompts fills the context, so that its end was cut."""
        templates = self.ensemble.templates
        # Each token stands for at least one byte; two more tokens mark start and end.
        if len(text.encode()) + max(map(len, templates)) < self._context_length - 2:
            return False
        prompts = [template.replace(PLACEHOLDER, text) for template in templates]
        tokens: Tensor = self._tokenize(prompts)
        return bool((tokens[:, -1] != padding_id(self._tokenize)).any())


def _without_image_tower(model: nn.Module) -> nn.Module:
    """Return the text side of a model, which shares the weights; the model stays as it is."""
    text = copy.copy(model)
    text._modules = {name: part for name, part in model._modules.items() if name != "visual"}
    return text


def _encode_causal(model: Any, tokens: Tensor, device: torch.device) -> Tensor:
    """Encode the host's (P, L) token ids with CLIP's text tower, up to the longest prompt's end.

    The tower's attention is causal and its output is read at the end token, so later positions
    change nothing. 85 prompts of a short name take a fifth of the time of all 77 positions.
    """
    if model.text_pool_type != "argmax" or model.attn_mask is None:
        return model.encode_text(upload(tokens.numpy(), device))
    end = tokens.argmax(dim=-1)  # on the host, which would have to wait for a GPU's
    length = int(end.max()) + 1
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(upload(tokens[:, :length].numpy(), device)).to(dtype)
    x = x + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(x), device=x.device), upload(end.numpy(), device)]
    projection = model.text_projection
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection
