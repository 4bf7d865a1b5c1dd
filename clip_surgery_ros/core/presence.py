"""Is a label in the picture at all? Decided on raw values, before any map is stretched to 1."""

from __future__ import annotations

from dataclasses import dataclass

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

DISTRACTOR_DEVIATIONS = 2.0
"""Robust standard deviations above the distractors' median at which a label is as likely present
as not. Chosen on development scenes with the demo's CLIP: 1.5 doubles false finds, 3 misses most
objects in scenes of four."""


@dataclass(frozen=True)
class PresenceLevel:
    """How a network's image-text cosines become presence.

    :param scale: logit per unit of evidence. 100 is where OpenAI's and open_clip's logit scale
        ends up in training.
    :param offset: evidence at which a label is as likely present as not; None takes the level from
        the distractors, image by image, for a network of which no level was measured.
    :param peak_weight: of the highest token's cosine beside the image's own; 0 for a network of
        which none was measured. What is small in the picture says little to the whole of it.
    """

    scale: float = 100.0
    offset: float | None = None
    peak_weight: float = 0.0


def presence_score(
    tokens: Tensor, text: Tensor, distractors: Tensor, level: PresenceLevel
) -> Tensor:
    """Presence of each label, on its own: labels that are all present do not compete.

    ``sigmoid(scale * (evidence - offset))``; without an offset, that of :func:`distractor_level`.

    :param tokens: (1 + N, C) unit rows after surgery, token 0 is CLS, the image's embedding.
    :param text: (T, C) unit rows, the labels'.
    :param distractors: (D, C) unit rows; read only without an offset, then at least one.
    :returns: (T,) in [0, 1].
    """
    offset = level.offset
    least = distractor_level(evidence(tokens, distractors, level)) if offset is None else offset
    return (level.scale * (evidence(tokens, text, level) - least)).sigmoid()


def evidence(tokens: Tensor, text: Tensor, level: PresenceLevel) -> Tensor:
    """Cosine with the whole image, and ``peak_weight`` times the highest with one of its tokens.

    Parameters are those of :func:`presence_score`.

    :returns: (T,).
    """
    whole = text @ tokens[0]
    if not level.peak_weight:
        return whole
    return whole + level.peak_weight * (tokens[1:] @ text.T).amax(dim=0)


def distractor_level(cosines: Tensor) -> Tensor:
    """Evidence from which a name stands out among names of which most are not in the picture.

    The level is the median plus :data:`DISTRACTOR_DEVIATIONS` robust standard deviations (1.4826
    median absolute deviations, which is the standard deviation of a normal population). With a
    softmax over the same names, each distractor that is in the picture would lower the presence
    of labels that are there as well.

    :param cosines: (D,) :func:`evidence` of the distractors, at least one.
    """
    values = cosines.float()
    median = values.quantile(0.5)
    return median + DISTRACTOR_DEVIATIONS * 1.4826 * (values - median).abs().quantile(0.5)
