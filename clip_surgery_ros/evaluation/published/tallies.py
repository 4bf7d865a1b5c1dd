"""What is summed over the pictures of a data set, for each protocol and method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.evaluation.published.confusion import (
    SegmentationFigures,
    confusion,
    segmentation_figures,
)
from clip_surgery_ros.evaluation.published.datasets import LabelledPicture
from clip_surgery_ros.evaluation.published.explainability import (
    MapFigures,
    MapSums,
    add_picture,
    label_maps,
    map_figures,
)
from clip_surgery_ros.evaluation.published.prediction import Words, class_map, image_tokens
from clip_surgery_ros.evaluation.published.protocols import Protocol
from clip_surgery_ros.networks.clip.backend import ClipBackend

Figures = SegmentationFigures | MapFigures


class Tally(ABC):
    """Sums of one method over pictures.

    :param clip: the network.
    :param method: of :func:`image_tokens`.
    :param words: the names of the protocol's classes.
    """

    def __init__(self, clip: ClipBackend, method: str, words: Words) -> None:
        self._clip, self._method, self._words = clip, method, words
        self._tokens: Callable[[Tensor], Tensor] = image_tokens(clip, method)

    @property
    @abstractmethod
    def arrays(self) -> dict[str, NDArray]:
        """The sums by name, so that they can be kept in a file; writing into them changes them."""

    @abstractmethod
    def add(self, picture: LabelledPicture) -> None:
        """Add a picture."""

    @abstractmethod
    def figures(self) -> Figures:
        """Return the figures of all pictures that were added."""


class SegmentationTally(Tally):
    """One confusion matrix of all pixels."""

    def __init__(self, clip: ClipBackend, method: str, words: Words, protocol: Protocol) -> None:
        super().__init__(clip, method, words)
        self._rules = protocol.rules
        self._matrix = np.zeros((len(protocol.classes), len(protocol.classes)), np.int64)

    @property
    def arrays(self) -> dict[str, NDArray]:
        """Implement :attr:`Tally.arrays`."""
        return {"confusion": self._matrix}

    def add(self, picture: LabelledPicture) -> None:
        """Implement :meth:`Tally.add`."""
        found = class_map(self._clip, self._tokens, self._words, self._rules, picture.image)
        self._matrix += confusion(picture.classes, found, len(self._matrix))

    def figures(self) -> SegmentationFigures:
        """Implement :meth:`Tally.figures`."""
        return segmentation_figures(self._matrix)


class ExplanationTally(Tally):
    """Maps of every label that is in a picture."""

    def __init__(self, clip: ClipBackend, method: str, words: Words, protocol: Protocol) -> None:
        super().__init__(clip, method, words)
        self._sums = MapSums.empty(len(protocol.classes))

    @property
    def arrays(self) -> dict[str, NDArray]:
        """Implement :attr:`Tally.arrays`."""
        return vars(self._sums)

    def add(self, picture: LabelledPicture) -> None:
        """Implement :meth:`Tally.add`."""
        map_of = label_maps(self._clip, self._tokens, self._method, self._words, picture.image)
        add_picture(self._sums, picture.classes, map_of)

    def figures(self) -> MapFigures:
        """Implement :meth:`Tally.figures`."""
        return map_figures(self._sums)


def make_tally(clip: ClipBackend, method: str, words: Words, protocol: Protocol) -> Tally:
    """Return an empty tally of what a protocol measures."""
    kind = ExplanationTally if protocol.explains else SegmentationTally
    return kind(clip, method, words, protocol)
