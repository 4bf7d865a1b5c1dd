"""What a CLIP in training can do, measured on development views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from clip_surgery_ros.evaluation.metrics import auroc
from clip_surgery_ros.training.clip_model import (
    IMAGE_SIZE,
    ObjectiveHeads,
    Vocabulary,
    encode_images,
    encode_texts,
)
from clip_surgery_ros.training.windows import Window, choose_window, cut, normalize
from clip_surgery_ros.training.world_views import Views
from clip_surgery_ros.world.colours import COLOURS
from clip_surgery_ros.world.frame import NamedObject
from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.words import article, phrase


def _texts(model: CLIP, vocabulary: Vocabulary, labels: Sequence[str]) -> Tensor:
    written = [f"a photo of {article(label)} {label}" for label in labels]
    return encode_texts(model, *vocabulary.tokens(written)).float()


CLEAR = 0.03
"""Share of a window's tokens from which an object counts as clear. Half of the objects of the
development windows have less than a third of this: one token, in which no name can be read."""


@dataclass
class Findings:
    """What was found in all windows.

    :param inside: per object, whether its name's map has its peak on an object of this name.
    :param clear_inside: the same of objects that are :data:`CLEAR`.
    :param present: evidence of every name that is there.
    :param absent: evidence of every name that is not.
    :param colour_right: per object with a colour, whether its name with this colour has more
        evidence than with any colour that no object of this name has.
    :param bound: evidence of phrases that are there.
    :param unbound: evidence of the same names in a colour that only other objects have.
    """

    inside: list[bool] = field(default_factory=list)
    clear_inside: list[bool] = field(default_factory=list)
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    colour_right: list[bool] = field(default_factory=list)
    bound: list[float] = field(default_factory=list)
    unbound: list[float] = field(default_factory=list)

    def add_names(self, window: Window, similarity: Tensor, evidence: Tensor) -> None:
        """Add a window's names.

        :param similarity: (N, K) of tokens and names.
        :param evidence: (K,) of names.
        """
        best = (similarity - similarity.mean(1, keepdim=True)).argmax(0)
        for index, item in enumerate(window.objects):
            if not window.there[index]:
                continue
            owner = int(window.owners[int(best[NAMES.index(item.name)])])
            inside = owner >= 0 and window.objects[owner].name == item.name
            self.inside.append(inside)
            if (window.owners == index).mean() >= CLEAR:
                self.clear_inside.append(inside)
        there = {item.name for item in _there(window)}
        seen = {item.name for item in window.objects}
        self.present += [float(evidence[NAMES.index(name)]) for name in there]
        self.absent += [float(evidence[k]) for k, name in enumerate(NAMES) if name not in seen]

    def add_colours(self, window: Window, evidence: Tensor) -> None:
        """Add a window's phrases.

        :param evidence: (K, colours) of names in all colours.
        """
        seen = {(item.name, item.colour) for item in window.objects}
        colours = {item.colour for item in window.objects if item.colour}
        for item in filter(lambda item: item.colour, _there(window)):
            row = dict(zip(COLOURS, evidence[NAMES.index(item.name)].tolist(), strict=True))
            wrong = [colour for colour in COLOURS if (item.name, colour) not in seen]
            self.bound.append(row[item.colour])
            self.unbound += [row[colour] for colour in wrong if colour in colours]
            self.colour_right.append(all(row[item.colour] > row[colour] for colour in wrong))

    def figures(self) -> dict[str, float]:
        """Return ``pointing``, ``clear_pointing``, ``auroc`` of names, ``colour`` and ``binding``,
        an AUROC.
        """
        return {
            "pointing": round(float(np.mean(self.inside)), 4),
            "clear_pointing": round(float(np.mean(self.clear_inside)), 4),
            "auroc": round(auroc(self.present, self.absent), 4),
            "colour": round(float(np.mean(self.colour_right)), 4),
            "binding": round(auroc(self.bound, self.unbound), 4),
        }


def _there(window: Window) -> Iterator[NamedObject]:
    return (item for item, there in zip(window.objects, window.there, strict=True) if there)


@torch.no_grad()
def validate(
    model: CLIP, heads: ObjectiveHeads, vocabulary: Vocabulary, views: Views
) -> dict[str, float]:
    """Measure windows of development views, cut as those of the training.

    :returns: as :meth:`Findings.figures` returns them.
    """
    names = _texts(model, vocabulary, NAMES)
    coloured = _texts(model, vocabulary, [phrase(n, c) for n in NAMES for c in COLOURS])
    findings = Findings()
    for number in range(len(views)):
        view = views.read(number)
        rng = np.random.default_rng(number)
        window = cut(view, choose_window(view.ids, rng, tight=False), IMAGE_SIZE, mirrored=False)
        image = torch.from_numpy(window.rgb)[None].to(names.device)
        encoded = encode_images(model.visual, normalize(image))
        cls, tokens = (F.normalize(values[0], dim=-1) for values in encoded)
        similarity = tokens @ names.T
        evidence = cls @ names.T + heads.peak_weight * similarity.amax(0)
        findings.add_names(window, similarity.cpu(), evidence.cpu())
        phrases = cls @ coloured.T + heads.peak_weight * (tokens @ coloured.T).amax(0)
        by_colour = phrases.unflatten(0, (len(NAMES), len(COLOURS)))
        findings.add_colours(window, by_colour.cpu())
    return findings.figures()
