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
"""How many texts are kept: 512 float32 each take 8 MB, and a robot asks for far fewer."""
UNREADABLE = (
    "is in letters that this CLIP cannot read; ask in English, or choose a multilingual open_clip "
    "model such as xlm-roberta-base-ViT-B-32"
)
TOO_LONG = "is longer than this CLIP reads: the rest was cut; say it in fewer words"
_LATIN_SIGNS = "ªºµ"
"""Letters to Unicode, whose names do not say that English has them."""


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
    """How many texts went through the network, and how many were found in the cache.

    :param cut: the last ones asked for that are longer than the network reads.
    """

    encoded: int = 0
    reused: int = 0
    cut: tuple[str, ...] = ()


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
        self.on_encoded: Callable[[Mapping[str, Tensor]], None] = lambda features: None
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
        prompts = [one.replace(PLACEHOLDER, text) for text in texts for one in self.templates]
        rows = self._encode(prompts).float().unflatten(0, (len(texts), -1))  # T, templates, C
        means = F.normalize(F.normalize(rows, dim=-1).mean(dim=1), dim=-1)
        features = dict(zip(texts, means, strict=True))
        self.counts = replace(self.counts, encoded=self.counts.encoded + len(texts))
        self.remember(features)
        self.on_encoded(features)
        return features
