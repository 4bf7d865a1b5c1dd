"""What was made of the images seen last: another query costs no encoder, the same one nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.interfaces import ImageEmbedding
from clip_surgery_ros.core.types import FrameResult, Query, Wanted

CAPACITY = 4
"""Images kept, the least recently used goes first: the newest of a few cameras. Each holds some
10 MB with ViT-B/16 and SAM."""
BLOCK = 16
"""Side in pixels of the blocks whose means are compared: camera noise averages out in them, and
anything that could be segmented changes some."""
_STRIDE = 61  # a sample of a few hundred pixels tells most images apart


@dataclass
class View:
    """An image and what is known of it so far.

    :param image_rgb: (H, W, 3) uint8.
    :param grid_hw: token grid.
    :param tokens: (1, 1 + N, C) unit rows, by surgery; ``plain`` the same without.
    :param embedding: the segmenter's.
    :param answered: what was asked of it last, and the answer.
    """

    image_rgb: NDArray[np.uint8]
    grid_hw: tuple[int, int] = (0, 0)
    tokens: Tensor | None = None
    plain: Tensor | None = None
    embedding: ImageEmbedding | None = None
    answered: tuple[Query, Wanted, FrameResult] | None = None
    _blocks: NDArray[np.uint8] | None = field(default=None, repr=False)

    def equals(self, image_rgb: NDArray[np.uint8]) -> bool:
        """Whether it is this image, pixel by pixel."""
        own = self.image_rgb
        sample = np.s_[::_STRIDE, ::_STRIDE]
        return np.array_equal(own[sample], image_rgb[sample]) and np.array_equal(own, image_rgb)

    def change(self, blocks: NDArray[np.uint8]) -> float:
        """Largest difference of a block's mean, 0 to 255, from those of another image."""
        if self._blocks is None:
            self._blocks = block_means(self.image_rgb)
        if self._blocks.shape != blocks.shape:
            return 255.0
        return float(cv2.absdiff(self._blocks, blocks).max())


class Views:
    """The views kept.

    :param still_threshold: largest :meth:`View.change` at which an image counts as the same view
        again; 0 takes only the very same pixels for it.
    """

    def __init__(self, still_threshold: float = 0.0) -> None:
        self._still_threshold = still_threshold
        self._kept: list[View] = []

    def of(self, image_rgb: NDArray[np.uint8]) -> View:
        """The view of an image: one that is kept, or a new one."""
        # A copy, since callers may fill the same array with the next image.
        view = self._known(image_rgb) or View(image_rgb.copy())
        self._kept = [view, *(kept for kept in self._kept if kept is not view)][:CAPACITY]
        return view

    def _known(self, image_rgb: NDArray[np.uint8]) -> View | None:
        same_size = [view for view in self._kept if view.image_rgb.shape == image_rgb.shape]
        for view in same_size:
            if view.equals(image_rgb):
                return view
        if self._still_threshold > 0 and same_size:
            blocks = block_means(image_rgb)
            nearest = min(same_size, key=lambda view: view.change(blocks))
            if nearest.change(blocks) <= self._still_threshold:
                return nearest
        return None


def block_means(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to the rounded means of its blocks, one row of blocks at least."""
    height, width = image_rgb.shape[:2]
    size = (max(1, width // BLOCK), max(1, height // BLOCK))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
