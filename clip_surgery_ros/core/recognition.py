"""What CLIP finds in a frame: a map, a presence and a probability for each label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.heatmap import surgery_cosines, zero_shot_probabilities
from clip_surgery_ros.core.interfaces import ImageTextEncoder
from clip_surgery_ros.core.names import join_maps, names_of, per_label, per_part
from clip_surgery_ros.core.presence import presence_score
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.transfer import download
from clip_surgery_ros.core.types import Label, Query, Wanted
from clip_surgery_ros.core.views import View
from clip_surgery_ros.core.windows import token_grid

FLAT = 1e-6
"""A map whose values span less than this is constant."""


@dataclass(frozen=True)
class Recognition:
    """What CLIP finds in a frame, per name, per part of a label, and per label.

    :param size_hw: height and width of the image.
    :param name_presence: (names,) in [0, 1].
    :param part_maps: (parts, h, w) cosines after surgery.
    :param label_maps: (T, h, w) cosines after surgery.
    :param presence: (T,) in [0, 1].
    :param probabilities: (T,) zero-shot probabilities.
    :param thresholds: (T,) similarity below which tokens of a label are ignored.
    :param plain_maps: (T, h, w) cosines without surgery, if wanted.
    """

    size_hw: tuple[int, int]
    name_presence: NDArray[np.float32]
    part_maps: NDArray[np.float32]
    label_maps: NDArray[np.float32]
    presence: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    plain_maps: NDArray[np.float32] | None = None


class Recognizer:
    """Computes with CLIP what is in a frame.

    :param clip: image and text encoder.
    """

    def __init__(self, clip: ImageTextEncoder, settings: Settings) -> None:
        self._clip, self._settings = clip, settings

    def recognize(self, view: View, query: Query, wanted: Wanted, clock: Stages) -> Recognition:
        """Return what CLIP finds of a query's labels.

        :param view: of the image; its tokens are computed at most once.
        :param query: at least one label.
        """
        with clock.stage("text"):
            texts, distractors = self._text_features(query)
        if view.tokens is None:
            with clock.stage("clip"):
                view.tokens, view.grid_hw = self._clip.image_tokens(
                    view.pixels, self._settings.windows
                )
        with clock.stage("maps"):
            recognition = self._compare(view, view.tokens, texts, distractors, query)
        if wanted.plain_similarity:
            with clock.stage("plain clip"):
                plain_maps = self._plain_maps(view, texts, query, recognition.name_presence)
                recognition = replace(recognition, plain_maps=plain_maps)
        return recognition

    def grid_hw(self, image_rgb: NDArray[np.uint8]) -> tuple[int, int]:
        """Return the token grid that maps of an image have, without encoding it."""
        return token_grid(self._clip, image_rgb, self._settings.windows)

    def _text_features(self, query: Query) -> tuple[Tensor, Tensor]:
        """Return the features of the query's names, and of distractors that the query lacks."""
        names = names_of(query)
        queried = {name.casefold() for name in names}
        others = [n for n in self._settings.distractor_names if n.casefold() not in queried]
        if sum(len(label.parts) for label in query.labels) + len(others) < 2:
            others = ["", *others]  # a single label is compared with the empty string
        features = self._clip.text_features([*names, *others])
        return features[: len(names)], features[len(names) :]

    def _compare(
        self, view: View, tokens: Tensor, texts: Tensor, distractors: Tensor, query: Query
    ) -> Recognition:
        """Compare (1, 1 + N, C) tokens with (names, C) texts."""
        all_texts = torch.cat([texts, distractors])
        cosines = surgery_cosines(tokens, all_texts)[0, 1:, : len(texts)].T
        name_presence = presence_score(
            tokens[0], texts, self._level_texts(distractors), self._settings.presence_level
        )
        probabilities = zero_shot_probabilities(tokens[:, 0], all_texts)[0, : len(texts)]
        # One copy of everything: on a GPU, this is where the host waits.
        columns = [cosines, name_presence[:, None], probabilities[:, None]]
        values = download(torch.cat(columns, dim=1))
        maps, presence, probability = values[:, :-2], values[:, -2], values[:, -1]
        part_maps, label_maps = join_maps(
            maps.reshape(-1, *view.grid_hw), presence, query, self._settings.presence_threshold
        )
        return Recognition(
            size_hw=(view.image_rgb.shape[0], view.image_rgb.shape[1]),
            name_presence=presence,
            part_maps=part_maps,
            label_maps=label_maps,
            presence=per_label(per_part(presence, query, np.max), query, np.max),
            probabilities=per_label(per_part(probability, query, np.sum), query, np.sum),
            thresholds=np.array([self._threshold(label) for label in query.labels], np.float32),
        )

    def _level_texts(self, distractors: Tensor) -> Tensor:
        """Return the distractors' features from which the presence level is measured."""
        if self._settings.presence_level.offset is not None:
            return distractors
        # All distractors, even those that the query names: the query must not move the level.
        # When distractors are switched off, the empty string takes their role.
        return self._clip.text_features(self._settings.distractor_names or ("",))

    def _plain_maps(
        self, view: View, texts: Tensor, query: Query, name_presence: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return (T, h, w) cosines without surgery."""
        if view.plain_tokens is None:
            view.plain_tokens, _ = self._clip.image_tokens(
                view.pixels, self._settings.windows, surgery=False
            )
        maps = (view.plain_tokens @ texts.T)[0, 1:].T.unflatten(-1, view.grid_hw).cpu().numpy()
        _, label_maps = join_maps(maps, name_presence, query, self._settings.presence_threshold)
        return label_maps

    def _threshold(self, label: Label) -> float:
        """Return the query's threshold, else the one for this label, else the common one."""
        if label.threshold is not None:
            return label.threshold
        default = -1.0 if self._settings.threshold is None else self._settings.threshold
        return self._settings.label_thresholds.get(label.name.casefold(), default)


def absence_reasons(
    recognition: Recognition, query: Query, presence_threshold: float
) -> dict[int, str]:
    """Return why labels are not in the image, in words, by index of each absent label."""
    reasons: dict[int, str] = {}
    for index in range(len(query.labels)):
        presence, threshold = recognition.presence[index], recognition.thresholds[index]
        label_map = recognition.label_maps[index]
        if presence < presence_threshold:
            reasons[index] = (
                f"its presence is {presence:.2f}, below the threshold of {presence_threshold:.2f}"
            )
        elif label_map.max() < threshold:
            reasons[index] = (
                f"no part of the image reaches a similarity of {threshold:.3f}; the highest is "
                f"{label_map.max():.3f}"
            )
        elif np.ptp(label_map) < FLAT:
            reasons[index] = "its map is the same everywhere"
    return reasons
