"""The three objectives that the demo's CLIP is trained with.

1. Contrastive: the CLIP paper's symmetric loss between scenes and captions.
2. Presence: a sigmoid cross-entropy between the CLS token and every object's name.
3. Token: a cross-entropy between each surgery token and the name of the object that it lies on,
   with a learned offset for the background. It uses the scenes' masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.training.clip_data import Batch
from clip_surgery_ros.training.clip_model import ObjectiveHeads, Vocabulary, encode_texts
from clip_surgery_ros.world.scenes import article
from clip_surgery_ros.world.sprites import NAMES

UNKNOWN_TEXTS = 8
"""Texts of unknown words in every step; they are absent from every scene."""

ImageEncoder = Callable[[Any, Tensor], tuple[Tensor, Tensor]]
""":func:`~clip_surgery_ros.training.clip_model.encode_images`, or its compiled form."""


def losses(
    model: CLIP,
    heads: ObjectiveHeads,
    batch: Batch,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    encode_images: ImageEncoder,
) -> dict[str, Tensor]:
    """Return the losses of the three objectives by name.

    :param rng: draws the templates around the names and the unknown texts.
    """
    cls, tokens = encode_images(model.visual, batch.pixels)
    cls, tokens = F.normalize(cls, dim=-1), F.normalize(tokens, dim=-1)
    captions = encode_texts(model, *vocabulary.tokens(batch.captions))
    texts = name_texts(rng)
    texts += [f"a photo of a {text}" for text in vocabulary.unknown_texts(rng, UNKNOWN_TEXTS)]
    names = encode_texts(model, *vocabulary.tokens(texts))  # (K + U, C)
    return {
        "contrastive": _contrastive_loss(model, cls, captions),
        "presence": _presence_loss(heads, cls, names, batch.present),
        "token": _token_loss(heads, tokens, names, batch.targets),
    }


def name_texts(rng: np.random.Generator) -> list[str]:
    """Return every object's name as captions write it, or in a random template."""
    texts = []
    for name in NAMES:
        is_plain = rng.integers(4) == 0
        plain = f"a photo of {article(name)} {name}"
        texts.append(plain if is_plain else TEMPLATES[rng.integers(len(TEMPLATES))].format(name))
    return texts


def _contrastive_loss(model: CLIP, cls: Tensor, captions: Tensor) -> Tensor:
    logits = model.logit_scale.exp().clamp(max=100) * cls @ captions.T  # (B, B)
    pairs = torch.arange(len(cls))
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def _presence_loss(heads: ObjectiveHeads, cls: Tensor, names: Tensor, present: Tensor) -> Tensor:
    logits = heads.presence_scale.exp() * (cls @ names.T - heads.presence_offset)  # (B, K + U)
    present = F.pad(present, (0, UNKNOWN_TEXTS))
    return F.binary_cross_entropy_with_logits(logits, present, reduction="sum") / len(cls)


def _token_loss(heads: ObjectiveHeads, tokens: Tensor, names: Tensor, targets: Tensor) -> Tensor:
    similarity = tokens @ names.T  # (B, N, K + U)
    background = heads.background.expand(*similarity.shape[:2], 1)
    count = len(NAMES)
    similarity = torch.cat([similarity[..., :count], background, similarity[..., count:]], dim=-1)
    return F.cross_entropy(
        (heads.token_scale.exp() * similarity).flatten(0, 1),
        targets.flatten(),
        label_smoothing=0.02,
    )
