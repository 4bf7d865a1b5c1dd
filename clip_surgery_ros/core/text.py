"""Prompt templates, and a cache that encodes each text once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_TEMPLATES: tuple[str, ...] = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
"""The 80 prompts of OpenAI's CLIP for ImageNet (Radford et al. 2021, section 3.1.4)."""

SCENE_TEMPLATES: tuple[str, ...] = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
"""The five that CLIP Surgery adds (Li et al., arXiv 2304.05653)."""

TEMPLATES = IMAGENET_TEMPLATES + SCENE_TEMPLATES


@dataclass(frozen=True)
class TextCounts:
    """How many texts went through the network, and how many were found in the cache."""

    encoded: int = 0
    reused: int = 0


class PromptEnsemble:
    """Features of texts, each the mean over templates, kept so that a text is encoded once.

    :param encode: (P,) prompts to (P, C) features, any length.
    :param templates: prompts with one ``{}``.
    :param capacity: how many texts are kept; the least recently used goes first. 4096 texts of
        512 float32 take 8 MB, far more than a robot asks for.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Tensor],
        templates: Sequence[str] = TEMPLATES,
        capacity: int = 4096,
    ) -> None:
        self._encode = encode
        self._templates = tuple(templates)
        self._capacity = capacity
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self.counts = TextCounts()
        """Texts so far."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T, C) float32 unit rows, one per text, in order; at least one."""
        rows = [self._feature(text) for text in texts]
        return torch.stack(rows)

    def remember(self, features: Mapping[str, Tensor]) -> None:
        """Keep features that this network gave before, each a unit (C,), so as to spare the work.

        They go like all others when there are too many.
        """
        for text, feature in features.items():
            self._keep(text, feature)

    def _feature(self, text: str) -> Tensor:
        """(C,) unit feature: mean over templates of unit features."""
        if text in self._kept:
            self._kept.move_to_end(text)
            self.counts = replace(self.counts, reused=self.counts.reused + 1)
            return self._kept[text]
        prompts = self._encode([template.format(text) for template in self._templates])
        feature = F.normalize(F.normalize(prompts.float(), dim=-1).mean(dim=0), dim=0)
        self.counts = replace(self.counts, encoded=self.counts.encoded + 1)
        self._keep(text, feature)
        return feature

    def _keep(self, text: str, feature: Tensor) -> None:
        self._kept[text] = feature
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
