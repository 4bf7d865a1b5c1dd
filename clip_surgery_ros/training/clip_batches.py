"""What a training step of the CLIP is given: windows of rendered views, captions and phrases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clip_surgery_ros.training.clip_model import Vocabulary
from clip_surgery_ros.training.clip_phrases import Phrases, ask, window_caption
from clip_surgery_ros.training.options import ClipOptions
from clip_surgery_ros.training.pasting import with_objects_of
from clip_surgery_ros.training.steps import Steps
from clip_surgery_ros.training.windows import (
    Window,
    choose_tokens,
    choose_window,
    cut,
    disturbed,
)
from clip_surgery_ros.training.world_views import Views

PASTED = 0.6
"""Probability that objects of another view are pasted in."""
TIGHT = 0.2
"""Probability that a window is close to one object, after the first steps, in which all are."""


@dataclass(frozen=True)
class Batch:
    """One step's data.

    :param images: (B, S, S, 3) uint8.
    :param captions: B texts.
    :param phrases: of the kept tokens, if not all are computed.
    :param kept: (B, K) patch tokens that are computed; None for all.
    """

    images: Tensor
    captions: tuple[str, ...]
    phrases: Phrases
    kept: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        kept = None if self.kept is None else self.kept.to(device)
        images, phrases = self.images.to(device), self.phrases.to(device)
        return replace(self, images=images, phrases=phrases, kept=kept)


class ClipSteps(Steps[Batch, ClipOptions]):
    """Windows with captions and phrases, by step."""

    def __init__(self, options: ClipOptions, views: Views, first: int) -> None:
        super().__init__(options, views, first)
        self._vocabulary = Vocabulary()

    def batch(self, step: int, rng: np.random.Generator) -> Batch:
        """See :class:`Steps`."""
        windows = [self._window(rng, step) for _ in range(self.options.batch)]
        images = torch.from_numpy(np.stack([window.rgb for window in windows]))
        captions = tuple(window_caption(window, rng) for window in windows)
        kept = None
        if self.options.kept_tokens:
            chosen = [choose_tokens(w.owners, self.options.kept_tokens, rng) for w in windows]
            kept = torch.from_numpy(np.stack(chosen))
            windows = [
                replace(window, owners=window.owners[tokens])
                for window, tokens in zip(windows, chosen, strict=True)
            ]
        return Batch(images, captions, ask(windows, self._vocabulary, rng), kept)

    def _window(self, rng: np.random.Generator, step: int) -> Window:
        view = self.random_view(rng)
        if rng.random() < PASTED:
            view = with_objects_of(view, self.random_view(rng), rng)
        tight = step < self.options.small_steps or rng.random() < TIGHT
        part = choose_window(view.ids, rng, tight)
        window = cut(view, part, self.options.side, mirrored=bool(rng.random() < 0.5))
        return replace(window, rgb=disturbed(window.rgb, rng))
