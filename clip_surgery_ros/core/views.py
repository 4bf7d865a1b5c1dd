"""The images processed last, and what was computed of them.

A second query for the same image runs no image encoder again, and the same query runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.interfaces import ImageEmbedding, RgbImage
from clip_surgery_ros.core.transfer import upload
from clip_surgery_ros.core.types import FrameResult, Query, Wanted

CAPACITY = 4
"""Images that are kept: the newest of a few cameras. The least recently used is dropped first.
Each takes about 10 MB with ViT-B/16 and SAM."""
BLOCK = 16
"""Side in pixels of the blocks whose means are compared. The mean removes camera noise, and every
object that is large enough for a segment changes the mean of at least one block."""
_STRIDE = 61  # a few hundred sampled pixels are enough to distinguish most images


@dataclass
class View:
    """An image and what was computed of it so far.

    :param image_rgb: (H, W, 3) uint8.
    :param device: of the networks.
    :param grid_hw: token grid.
    :param tokens: (1, 1 + N, C) unit rows, with surgery.
    :param plain_tokens: (1, 1 + N, C) unit rows, without surgery.
    :param embedding: of the segmenter.
    :param last_run: the last query, the outputs that were wanted, and the result.
    """

    image_rgb: NDArray[np.uint8]
    device: str = "cpu"
    grid_hw: tuple[int, int] = (0, 0)
    tokens: Tensor | None = None
    plain_tokens: Tensor | None = None
    embedding: ImageEmbedding | None = None
    last_run: tuple[Query, Wanted, FrameResult] | None = None
    _blocks: NDArray[np.uint8] | None = field(default=None, repr=False)
    _uploaded: Tensor | None = field(default=None, repr=False)

    @property
    def pixels(self) -> RgbImage:
        """The image where networks read it: on a GPU, to which it is copied once."""
        if self.device == "cpu":
            return self.image_rgb
        if self._uploaded is None:
            self._uploaded = upload(self.image_rgb, torch.device(self.device))
        return self._uploaded

    def forget(self) -> None:
        """Drop everything that was computed, and the image's copy on a GPU."""
        self.tokens = self.plain_tokens = self.embedding = self.last_run = self._uploaded = None

    def has_pixels(self, image_rgb: NDArray[np.uint8]) -> bool:
        """Whether every pixel equals that of an image of the same size."""
        sample = np.s_[::_STRIDE, ::_STRIDE]
        return np.array_equal(self.image_rgb[sample], image_rgb[sample]) and np.array_equal(
            self.image_rgb, image_rgb
        )

    def change(self, blocks: NDArray[np.uint8]) -> float:
        """Return the largest difference of a block's mean from that of another image, 0 to 255."""
        if self._blocks is None:
            self._blocks = block_means(self.image_rgb)
        if self._blocks.shape != blocks.shape:
            return 255.0
        return float(cv2.absdiff(self._blocks, blocks).max())


class Views:
    """The newest :data:`CAPACITY` views.

    :param still_threshold: largest :meth:`View.change` at which an image counts as unchanged;
        with 0, all pixels must be equal.
    :param device: of the networks.
    """

    def __init__(self, still_threshold: float = 0.0, device: str = "cpu") -> None:
        self._still_threshold, self._device = still_threshold, device
        self._views: list[View] = []

    def view_of(self, image_rgb: NDArray[np.uint8]) -> View:
        """Return the view of an image: one of those kept, or a new one."""
        # A copy, because callers may fill the same array with the next image.
        found = self._find(image_rgb) or View(image_rgb.copy(), self._device)
        self._views = [found, *(view for view in self._views if view is not found)][:CAPACITY]
        return found

    def forget(self) -> None:
        """Drop all views, also what callers' views hold of the device's memory."""
        for view in self._views:
            view.forget()
        self._views = []

    def _find(self, image_rgb: NDArray[np.uint8]) -> View | None:
        same_size = [view for view in self._views if view.image_rgb.shape == image_rgb.shape]
        for view in same_size:
            if view.has_pixels(image_rgb):
                return view
        if self._still_threshold > 0 and same_size:
            blocks = block_means(image_rgb)
            nearest = min(same_size, key=lambda view: view.change(blocks))
            if nearest.change(blocks) <= self._still_threshold:
                return nearest
        return None


def block_means(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the rounded mean colours of an (H, W, 3) image's blocks, at least one block."""
    height, width = image_rgb.shape[:2]
    size = (max(1, width // BLOCK), max(1, height // BLOCK))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
