"""Presence: whether a label is in the image, from raw values (a scaled map always reaches 1)."""

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
"""Names that are compared along with every query, so that one or two labels have something to
differ from: the 59 of PASCAL Context (Mottaghi et al. 2014), as CLIP Surgery's authors use."""

DISTRACTOR_DEVIATIONS = 2.0
"""Robust standard deviations above the distractors' median at which a label has a presence of 0.5.
In the study of transfer (``docs/transfer.md``), 1 to 3 % of absent labels reach it on every
network; with 1.7 it is up to 6 %, and above 2 few labels are found."""


_TO_DEVIATION = 1.4826
"""Median absolute deviations in the standard deviation of a normal population."""
PEAK_WEIGHT = 0.5
"""Weight of the highest token's cosine where none was fitted. In the study of transfer
(``docs/transfer.md``), it finds 0.12 more labels of a CLIP that was trained with masks, and
changes the others by 0.05 at most; with 1, those raise more false alarms."""


@dataclass(frozen=True)
class PresenceLevel:
    """How the image-text cosines of a network become presence.

    :param scale: logit per unit of evidence. 100 is the logit scale of trained CLIPs of OpenAI and
        open_clip.
    :param offset: evidence at which presence is 0.5. None measures it in each image from the
        distractors, for a network whose level is unknown.
    :param peak_weight: weight of the highest token's cosine, which is added to the cosine of CLS:
        a small object hardly changes CLS. :data:`UNFITTED` has the weight where none was fitted.
    """

    scale: float = 100.0
    offset: float | None = None
    peak_weight: float = 0.0


UNFITTED = PresenceLevel(peak_weight=PEAK_WEIGHT)
"""For a network for which nothing was fitted."""


def presence_score(
    tokens: Tensor, text: Tensor, distractors: Tensor, level: PresenceLevel
) -> Tensor:
    """Return the presence of each label, independent of other labels: they do not compete.

    ``sigmoid(scale * (evidence - offset))``; :func:`distractor_level` gives a missing offset.

    :param tokens: (1 + N, C) unit rows after surgery; token 0 is CLS, the embedding of the image.
    :param text: (T, C) unit rows of the labels.
    :param distractors: (D, C) unit rows, at least one; read only if the level has no offset.
    :returns: (T,) in [0, 1].

    >>> import torch
    >>> tokens = torch.tensor([[0.6, 0.8], [1.0, 0.0]])  # CLS and 1 token
    >>> level = PresenceLevel(scale=10.0, offset=0.7)
    >>> presence_score(tokens, torch.eye(2), distractors=torch.eye(2), level=level)
    tensor([0.2689, 0.7311])
    """
    if level.offset is not None:
        return (level.scale * (evidence(tokens, text, level) - level.offset)).sigmoid()
    # Both at once: a GPU waits for each call.
    both = evidence(tokens, torch.cat([text, distractors]), level)
    ours, others = both.split([len(text), len(distractors)])
    return (level.scale * (ours - distractor_level(others))).sigmoid()


def evidence(tokens: Tensor, text: Tensor, level: PresenceLevel) -> Tensor:
    """Return the cosine with CLS, plus ``peak_weight`` times the highest cosine with a token.

    Parameters are those of :func:`presence_score`.

    :returns: (T,).
    """
    image_cosines = text @ tokens[0]
    if not level.peak_weight:
        return image_cosines
    highest = (tokens[1:] @ text.T).amax(dim=0)
    return image_cosines.add(highest, alpha=level.peak_weight)


def distractor_level(cosines: Tensor) -> Tensor:
    """Return the evidence from which a name is present, from names that mostly are not.

    The level is the median plus :data:`DISTRACTOR_DEVIATIONS` robust standard deviations. With a
    softmax over the same names, each distractor that is in the image would lower the presence of
    labels that are in the image too.

    :param cosines: (D,) :func:`evidence` of the distractors, at least one.
    """
    middle, absolute = _spread(cosines.float())
    return middle.add(absolute, alpha=DISTRACTOR_DEVIATIONS * _TO_DEVIATION)


def deviations(cosines: Tensor) -> Tensor:
    """Return by how many robust standard deviations each of (D,) values is above their median."""
    middle, absolute = _spread(cosines.float())
    return (cosines - middle) / (_TO_DEVIATION * absolute).clamp(min=1e-6)


def _spread(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the median of (N,) values and their median absolute deviation."""
    middle = _median(values)
    return middle, _median((values - middle).abs())


def _median(values: Tensor) -> Tensor:
    """Return the median of (N,) values, the mean of the middle two if N is even.

    ``quantile(0.5)`` gives the same with four times as many calls, each of which a GPU waits for.
    """
    ordered, last = values.sort().values, len(values) - 1
    return ordered[last // 2 : (last + 1) // 2 + 1].mean()
