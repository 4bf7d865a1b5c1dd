"""The objectives that the demo's CLIP is trained with.

1. Contrastive: the CLIP paper's symmetric loss between windows and captions.
2. Presence: a sigmoid cross-entropy of every name and of phrases with colour and finish. The
   evidence is that of the node: the cosine with the CLS token plus that of the best surgery token.
3. Tokens: cross-entropies between each *surgery* token and what it shows: its name; its name in
   its colour, among all colours of names in the batch; its finish; its colour. They use the masks.
   A phrase is bound to its object because name and colour are asked of one token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from clip_surgery_ros.training.clip_batches import Batch
from clip_surgery_ros.training.clip_model import ObjectiveHeads, Vocabulary, encode_texts
from clip_surgery_ros.training.clip_phrases import IGNORED, Phrases
from clip_surgery_ros.world.colours import COLOURS, FINISHES

WEIGHTS = {
    "contrastive": 0.5,
    "presence": 1.0,
    "name": 1.0,
    "joint": 1.5,
    "finish": 0.2,
    "colour": 0.3,
}
"""Of the objectives in their sum. Tokens count most: maps and binding come from them."""
SMOOTHING = 0.02
PHRASE_WEIGHT = 0.5
"""Of a phrase's presence beside a name's: there are three times as many, most of them easy."""


def losses(
    model: CLIP,
    heads: ObjectiveHeads,
    encoded: tuple[Tensor, Tensor],
    batch: Batch,
    vocabulary: Vocabulary,
) -> dict[str, Tensor]:
    """Return the losses of the objectives by name.

    :param encoded: (B, C) and (B, N, C) of :func:`~clip_model.encode_images`.
    """
    cls, tokens = (F.normalize(values, dim=-1) for values in encoded)
    texts = encode_texts(model, *vocabulary.tokens(batch.phrases.texts))
    similarity = tokens @ texts.T  # (B, N, T)
    parts = _token_losses(heads, similarity, batch.phrases)
    parts["contrastive"] = contrastive_loss(model, encoded[0], batch, vocabulary)
    parts["presence"] = _presence_loss(heads, cls @ texts.T, similarity, batch.phrases)
    return parts


def contrastive_loss(model: CLIP, cls: Tensor, batch: Batch, vocabulary: Vocabulary) -> Tensor:
    """Return the CLIP paper's loss between pictures and captions.

    :param cls: (B, C).
    """
    captions = encode_texts(model, *vocabulary.tokens(batch.captions))
    cls = F.normalize(cls, dim=-1)
    logits = model.logit_scale.exp().clamp(max=100) * cls @ captions.T  # (B, B)
    pairs = torch.arange(len(cls), device=cls.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def _presence_loss(
    heads: ObjectiveHeads, cls: Tensor, similarity: Tensor, phrases: Phrases
) -> Tensor:
    evidence = cls + heads.peak_weight * similarity.amax(dim=1)  # (B, T)
    logits = heads.presence_scale.exp() * (evidence - heads.presence_offset)
    known = ~phrases.present.isnan()
    each = F.binary_cross_entropy_with_logits(
        logits, phrases.present.nan_to_num(), reduction="none"
    )
    weights = each.new_full((each.shape[1],), PHRASE_WEIGHT)
    weights[: phrases.counts[0]] = 1
    return (each * known * weights).sum() / len(cls)


def _token_losses(
    heads: ObjectiveHeads, similarity: Tensor, phrases: Phrases
) -> dict[str, Tensor]:
    names, coloured, finished = phrases.counts
    scale = heads.token_scale.exp()
    room = heads.background.expand(*similarity.shape[:2], 1)
    unknown_begin = names + coloured + finished + len(COLOURS)
    unknown = similarity[..., unknown_begin:]
    by_name = torch.cat([similarity[..., :names], room, unknown], -1)
    kept = similarity[..., : names + coloured]
    left_out = F.pad(phrases.joint_left_out, (0, coloured))
    by_phrase = torch.cat([kept.masked_fill(left_out, -1.0), room], -1)
    finishes = similarity[..., names + coloured : names + coloured + finished]
    by_finish = finishes.unflatten(-1, (-1, len(FINISHES)))
    by_colour = similarity[..., unknown_begin - len(COLOURS) : unknown_begin]
    return {
        "name": _cross_entropy(scale * by_name, phrases.name_targets),
        "joint": _cross_entropy(scale * by_phrase, phrases.joint_targets),
        "finish": _cross_entropy(scale * by_finish, phrases.finish_targets),
        "colour": _cross_entropy(scale * by_colour, phrases.colour_targets),
    }


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over tokens with a target; 0 where none has one."""
    logits, targets = logits.flatten(0, -2), targets.flatten()
    known = targets != IGNORED
    if not known.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[known], targets[known], label_smoothing=SMOOTHING)
