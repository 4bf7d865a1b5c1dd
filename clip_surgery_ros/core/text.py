"""Features of texts by prompt templates, and a cache that encodes each text once."""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_surgery_ros.core.templates import PLACEHOLDER, TEMPLATES

CAPACITY = 4096
"""Number of texts that are kept: with 512 float32 values each they take 8 MB."""
UNREADABLE = (
    "is in letters that this CLIP cannot read; ask in English, or choose a multilingual open_clip "
    "model such as xlm-roberta-base-ViT-B-32"
)
TOO_LONG = "is longer than this CLIP reads: the rest was cut; say it in fewer words"
_LATIN_SIGNS = "ªºµ"
"""Letters of Latin text whose Unicode names do not contain LATIN."""


def beyond_latin(text: str) -> bool:
    """Return whether a text has letters of a script other than Latin.

    The tokenizer of OpenAI's CLIP was made from English text. It splits other scripts into bytes,
    which carry almost no meaning for the network. Other languages in Latin letters are not
    detected, because their words look like English names.
    """
    return not text.isascii() and any(
        letter.isalpha()
        and "LATIN" not in unicodedata.name(letter, "")
        and letter not in _LATIN_SIGNS
        for letter in text
    )


@dataclass(frozen=True)
class TextCounts:
    """How many texts were encoded, and how many were found in the cache.

    :param cut: texts of the last call that are longer than the network's context.
    """

    encoded: int = 0
    reused: int = 0
    cut: tuple[str, ...] = ()


class PromptEnsemble:
    """Features of texts, each the mean over templates; a cache keeps them.

    The cache has at most ``CAPACITY`` texts; the least recently used text is dropped first.

    :param encode: (P,) prompts to (P, C) features of any norm.
    :param templates: prompts with one ``{}``.
    :param batch: prompts that are encoded together; those of a text always are.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Tensor],
        templates: Sequence[str] = TEMPLATES,
        batch: int = len(TEMPLATES),
    ) -> None:
        self._encode, self._batch = encode, batch
        self.templates = tuple(templates)
        self.on_encoded: Callable[[Mapping[str, Tensor]], None] = lambda features: None
        """Called with new features by text, after their encoding."""
        self.counts = TextCounts()
        """Counts since the start."""
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (T, C) float32 unit rows, one per text, for at least one text."""
        rows = {text: self._features[text] for text in texts if text in self._features}
        for text in rows:
            self._features.move_to_end(text)
        new = [text for text in dict.fromkeys(texts) if text not in rows]
        size = max(1, self._batch // len(self.templates))
        for start in range(0, len(new), size):
            rows |= self._encoded(new[start : start + size])
        reused = self.counts.reused + len(texts) - len(new)
        self.counts = replace(self.counts, reused=reused)
        return torch.stack([rows[text] for text in texts])

    def remember(self, features: Mapping[str, Tensor]) -> None:
        """Add known features of this network to the cache, each a unit (C,) vector."""
        for text, feature in features.items():
            self._features[text] = feature
            if len(self._features) > CAPACITY:
                self._features.popitem(last=False)

    def _encoded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Encode texts; return unit (C,) features, the means over templates of unit features."""
        prompts = [
            template.replace(PLACEHOLDER, text) for text in texts for template in self.templates
        ]
        rows = self._encode(prompts).float().unflatten(0, (len(texts), -1))  # T, templates, C
        means = F.normalize(F.normalize(rows, dim=-1).mean(dim=1), dim=-1)
        features = dict(zip(texts, means, strict=True))
        self.counts = replace(self.counts, encoded=self.counts.encoded + len(texts))
        self.remember(features)
        self.on_encoded(features)
        return features
