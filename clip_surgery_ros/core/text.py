"""Prompt templates, and a cache that encodes each text once."""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.core.errors import ConfigError

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

TEMPLATE_SETS: Mapping[str, tuple[str, ...]] = {
    "ensemble": TEMPLATES,
    "single": ("a photo of a {}.",),
}
"""Templates by name; the single one is the default that CLIP's paper gives."""
CAPACITY = 4096
"""How many texts are kept: 512 float32 each take 8 MB, and a robot asks for far fewer."""
UNREADABLE = (
    "is in letters that this CLIP cannot read; ask in English, or choose a multilingual open_clip "
    "model such as xlm-roberta-base-ViT-B-32"
)
_PLACE = "{}"
_LATIN_SIGNS = "ªºµ"
"""Letters to Unicode, whose names do not say that English has them."""


def parse_templates(entries: Sequence[str]) -> tuple[str, ...]:
    """Templates of a list whose entries are names of ``TEMPLATE_SETS`` or templates; each once.

    :raises ConfigError: for an entry that is neither, and for none at all.
    """
    if not entries:
        raise ConfigError("templates is empty; name ensemble, single or a template of your own")
    found: list[str] = []
    for entry in entries:
        if entry not in TEMPLATE_SETS and entry.count(_PLACE) != 1:
            raise ConfigError(
                f"templates has {entry[:60]!r}, but must have ensemble, single or templates with "
                f"{_PLACE} once, where the label goes, such as 'a photo of a {_PLACE}.'"
            )
        found += TEMPLATE_SETS.get(entry, (entry,))
    return tuple(dict.fromkeys(found))


def beyond_latin(text: str) -> bool:
    """Whether a text has letters of another script than the Latin.

    The vocabulary of OpenAI's CLIP was made from English: other scripts fall apart into bytes
    that mean next to nothing to the network. A language in Latin letters passes, for its words
    cannot be told from English names.
    """
    return not text.isascii() and any(
        letter.isalpha()
        and "LATIN" not in unicodedata.name(letter, "")
        and letter not in _LATIN_SIGNS
        for letter in text
    )


@dataclass(frozen=True)
class TextCounts:
    """How many texts went through the network, and how many were found in the cache."""

    encoded: int = 0
    reused: int = 0


class PromptEnsemble:
    """Features of texts, each the mean over templates, kept so that a text is encoded once.

    At most ``CAPACITY`` texts are kept; the least recently used goes first.

    :param encode: (P,) prompts to (P, C) features, any length.
    :param templates: prompts with one ``{}``.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Tensor],
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        self._encode = encode
        self.templates = tuple(templates)
        self.told: Callable[[Mapping[str, Tensor]], None] = lambda features: None
        """Called with features, by their texts, when they were encoded."""
        self.counts = TextCounts()
        """Texts so far."""
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T, C) float32 unit rows, one per text, in order; at least one."""
        rows = {text: self._kept[text] for text in texts if text in self._kept}
        for text in rows:
            self._kept.move_to_end(text)
        new = [text for text in dict.fromkeys(texts) if text not in rows]
        # As many prompts at once as the published templates are, however many templates there are.
        size = max(1, len(TEMPLATES) // len(self.templates))
        for start in range(0, len(new), size):
            rows |= self._encoded(new[start : start + size])
        reused = self.counts.reused + len(texts) - len(new)
        self.counts = replace(self.counts, reused=reused)
        return torch.stack([rows[text] for text in texts])

    def remember(self, features: Mapping[str, Tensor]) -> None:
        """Keep features that this network gave before, each a unit (C,), so as to spare the work.

        They go like all others when there are too many.
        """
        for text, feature in features.items():
            self._kept[text] = feature
            if len(self._kept) > CAPACITY:
                self._kept.popitem(last=False)

    def _encoded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Unit (C,) features of texts: means over templates of unit features."""
        prompts = [one.replace(_PLACE, text) for text in texts for one in self.templates]
        rows = self._encode(prompts).float().unflatten(0, (len(texts), -1))  # T, templates, C
        means = F.normalize(F.normalize(rows, dim=-1).mean(dim=1), dim=-1)
        features = dict(zip(texts, means, strict=True))
        self.counts = replace(self.counts, encoded=self.counts.encoded + len(texts))
        self.remember(features)
        self.told(features)
        return features
