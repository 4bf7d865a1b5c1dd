"""What a training step of the CLIP is given: windows of rendered views, captions and phrases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from clip_surgery_ros.training.clip_model import Vocabulary
from clip_surgery_ros.training.clip_phrases import Phrases, ask, window_caption
from clip_surgery_ros.training.options import ClipOptions
from clip_surgery_ros.training.windows import Window, choose_window, cut, disturbed
from clip_surgery_ros.training.world_views import SCENES, VIEWS, read_view

TIGHT = 0.2
"""Probability that a window is close to one object, after the first steps, in which all are."""


@dataclass(frozen=True)
class Batch:
    """One step's data.

    :param images: (B, S, S, 3) uint8.
    :param captions: B texts.
    """

    images: Tensor
    captions: tuple[str, ...]
    phrases: Phrases


class ClipSteps(torch.utils.data.Dataset[Batch]):
    """Batches by step: a step has the same batch whenever it is asked for.

    :param views: folder of :mod:`world_views`.
    :param shards: of the training split to draw from, all rendered.
    :param first: step of the first batch; a resumed training begins later.
    """

    def __init__(self, options: ClipOptions, views: Path, shards: int, first: int) -> None:
        self.options, self.views, self.first = options, views, first
        self.count = shards * SCENES * VIEWS
        self.vocabulary = Vocabulary()

    def __len__(self) -> int:
        return self.options.steps - self.first

    def __getitem__(self, index: int) -> Batch:
        cv2.setNumThreads(1)
        step = self.first + index
        rng = np.random.default_rng([self.options.seed, step])
        windows = [self.window(rng, step) for _ in range(self.options.batch)]
        images = torch.from_numpy(np.stack([window.rgb for window in windows]))
        captions = tuple(window_caption(window, rng) for window in windows)
        return Batch(images, captions, ask(windows, self.vocabulary, rng))

    def window(self, rng: np.random.Generator, step: int) -> Window:
        """Draw a window of a view."""
        view = read_view(self.views, "train", int(rng.integers(self.count)))
        tight = step < self.options.small_steps or rng.random() < TIGHT
        window = cut(
            view, choose_window(view.ids, rng, tight), self.options.side, bool(rng.random() < 0.5)
        )
        return Window(disturbed(window.rgb, rng), window.owners, window.objects, window.there)


def batches(options: ClipOptions, views: Path, shards: int, first: int) -> Iterator[Batch]:
    """Return the batches from a step on, made in a process of their own."""
    loader: Any = torch.utils.data.DataLoader(
        ClipSteps(options, views, shards, first),
        batch_size=None,
        num_workers=1,
        prefetch_factor=6,
    )
    return iter(loader)
