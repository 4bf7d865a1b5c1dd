"""Is a label in the picture at all? Decided on raw values, before any map is stretched to 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DISTRACTORS: tuple[str, ...] = (
    "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle",
    "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow",
    "cup", "curtain", "dog", "door", "fence", "floor", "flower", "food", "grass", "ground",
    "horse", "keyboard", "light", "motorbike", "mountain", "mouse", "person", "plate", "platform",
    "potted plant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky", "snow", "sofa",
    "table", "track", "train", "tree", "truck", "tv monitor", "wall", "water", "window", "wood",
)  # fmt: skip
"""Names that join every query, so that one or two labels have something to differ from: the 59 of
PASCAL Context (Mottaghi et al. 2014), as CLIP Surgery's authors use them."""


@dataclass(frozen=True)
class PresenceLevel:
    """How a network's image-text cosine becomes presence.

    :param scale: logit per unit of cosine. 100 is where OpenAI's and open_clip's logit scale
        ends up in training.
    :param offset: cosine at which a label is as likely present as not; None compares with the
        distractors instead, as a network does whose cosines have no fixed level.
    """

    scale: float = 100.0
    offset: float | None = None


def presence_score(cls: Tensor, text: Tensor, distractors: Tensor, level: PresenceLevel) -> Tensor:
    """Presence of each label, on its own: labels that are all present do not compete.

    ``sigmoid(scale * (cos - offset))``; without an offset, the label's zero-shot probability
    among itself and the distractors, ``softmax(scale cos)`` (Radford et al. 2021).

    :param cls: (C,) unit image embedding.
    :param text: (T, C) unit rows, the labels'.
    :param distractors: (D, C) unit rows; read only without an offset, then at least one.
    :returns: (T,) in [0, 1].
    """
    logits = level.scale * (text @ cls)
    if level.offset is not None:
        return (logits - level.scale * level.offset).sigmoid()
    return (logits - torch.logsumexp(level.scale * (distractors @ cls), dim=0)).sigmoid()
