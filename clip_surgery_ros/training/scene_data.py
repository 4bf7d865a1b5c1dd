"""Training scenes by index, and their batches: what both trainings share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import cv2
import torch

from clip_surgery_ros.training.options import ClipOptions, SamOptions

ASPECTS = (1.0, 4 / 3, 16 / 9)
"""Width over height of the scenes, in turn."""

Sample = TypeVar("Sample")
Batch = TypeVar("Batch")


class TrainingScenes(torch.utils.data.Dataset[Sample], Generic[Sample]):
    """Samples of a training from a step on; a resumed training begins later.

    :param first_step: step of the first sample.
    """

    def __init__(self, options: ClipOptions | SamOptions, first_step: int) -> None:
        self.options, self._first = options, first_step * options.batch

    def __len__(self) -> int:
        return self.options.steps * self.options.batch - self._first

    def __getitem__(self, index: int) -> Sample:
        cv2.setNumThreads(1)
        return self.sample(self._first + index)

    @abstractmethod
    def sample(self, number: int) -> Sample:
        """Return the sample of a number, counted from the first step of the whole training."""


def load_batches(
    scenes: TrainingScenes[Sample], collate: Callable[[list[Sample]], Batch]
) -> Iterator[Batch]:
    """Return the batches, made in a process of their own."""
    loader: Any = torch.utils.data.DataLoader(
        scenes,
        batch_size=scenes.options.batch,
        num_workers=1,
        prefetch_factor=4,
        collate_fn=collate,
        drop_last=True,
    )
    return iter(loader)
