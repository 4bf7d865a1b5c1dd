"""The batches of a training by step, made from rendered views."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch

from clip_surgery_ros.training.options import ClipOptions, SamOptions
from clip_surgery_ros.training.world_views import View, Views

Batch = TypeVar("Batch")
Options = TypeVar("Options", ClipOptions, SamOptions)


class Steps(torch.utils.data.Dataset[Batch], Generic[Batch, Options]):
    """Batches by step: a step has the same batch whenever it is asked for.

    :param views: to draw from.
    :param first: step of the first batch; a resumed training begins later.
    """

    def __init__(self, options: Options, views: Views, first: int) -> None:
        self.options: Options = options
        self.views, self.first = views, first

    def __len__(self) -> int:
        return self.options.steps - self.first

    def __getitem__(self, index: int) -> Batch:
        cv2.setNumThreads(1)
        step = self.first + index
        return self.batch(step, np.random.default_rng([self.options.seed, step]))

    @abstractmethod
    def batch(self, step: int, rng: np.random.Generator) -> Batch:
        """Return the batch of a step."""

    def random_view(self, rng: np.random.Generator) -> View:
        """Draw a view."""
        return self.views.read(int(rng.integers(len(self.views))))

    def load(self, workers: int) -> Iterator[Batch]:
        """Return the batches in order, made in processes of their own.

        :param workers: how many processes.
        """
        loader: Any = torch.utils.data.DataLoader(
            self, batch_size=None, num_workers=workers, prefetch_factor=6
        )
        return iter(loader)
