"""What pictures with known objects say about presence and masks: the samples that fits need.

The samples of a picture are kept in a file, so that a run that was ended resumes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.core.choice import Candidate, rank_candidates
from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.interfaces import ImageEmbedding
from clip_surgery_ros.core.prompts import label_prompts
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.recognition import Recognition, Recognizer
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import Wanted
from clip_surgery_ros.core.views import View
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.outcome import iou
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config

KEY_FILE = "networks.json"
"""Says of which networks, parameters and pictures the samples of a folder are."""


@dataclass(frozen=True)
class MaskSamples:
    """The candidate masks of all clicks for one label of a query.

    :param all_labels: whether the query had all labels of the picture; else this one alone.
    :param prompts: (M,) index of each candidate's click.
    :param features: (M, F), see ``ranking.FEATURES``.
    :param masks: (M, R, C) bool on the raster.
    :param overlaps: (M, O) IoU with each object of the label.
    """

    all_labels: bool
    prompts: NDArray[np.intp]
    features: NDArray[np.float32]
    masks: NDArray[np.bool_]
    overlaps: NDArray[np.float32]


@dataclass(frozen=True)
class PictureSamples:
    """What one picture says.

    :param cosines: (L, 2) of each queried label: with CLS, and with the best token.
    :param present: (L,) whether the label is in the picture.
    :param masks: of each label that is there, by itself and among all of them; empty for a picture
        whose objects have no masks.
    """

    cosines: NDArray[np.float32]
    present: NDArray[np.bool_]
    masks: tuple[MaskSamples, ...]


class Sampler:
    """Computes the samples of pictures, on the node's own way from picture to candidates.

    :param config: the method and the windows that are fitted for.
    """

    def __init__(self, networks: LoadedNetworks, config: Config) -> None:
        self._networks = networks
        # Every label gets clicks, whatever its presence: presence is fitted too.
        everywhere = replace(
            networks.settings(config), presence_threshold=0.0, threshold=None, label_thresholds={}
        )
        self._settings = everywhere
        self._recognizer = Recognizer(networks.clip, everywhere)

    def samples(self, example: Example) -> PictureSamples:
        """Return the samples of a picture."""
        view = View(example.image, self._networks.device)
        self._recognize(view, example.queried[:1])  # computes the tokens
        assert view.tokens is not None
        texts = self._networks.clip.text_features(example.queried)
        cosines = view.tokens[0] @ texts.T
        both = torch.stack([cosines[0], cosines[1:].amax(dim=0)], dim=1).float().cpu().numpy()
        present = np.array([label in example.present for label in example.queried], np.bool_)
        return PictureSamples(both, present, tuple(self._masks(view, example)))

    def _masks(self, view: View, example: Example) -> Iterator[MaskSamples]:
        """Yield the candidates of every label, among all labels and by itself."""
        if not example.masks or not example.present:
            return
        embedding = self._networks.sam.encode(view.pixels)
        yield from self._of_query(view, embedding, example, example.present)
        if len(example.present) > 1:
            for label in example.present:
                yield from self._of_query(view, embedding, example, (label,))

    def _of_query(
        self, view: View, embedding: ImageEmbedding, example: Example, labels: Sequence[str]
    ) -> Iterator[MaskSamples]:
        candidates = self._candidates(view, embedding, labels)
        for index, label in enumerate(labels):
            own = [each for each in candidates if each.label == index]
            if not own:
                continue
            logits = torch.stack([each.choice.logits for each in own])
            full = [m & ~example.ignored for m in self._networks.sam.full_size(embedding, logits)]
            overlaps = [[iou(mask, each) for each in example.masks_of(label)] for mask in full]
            yield MaskSamples(
                len(labels) == len(example.present),
                np.array([each.choice.prompt for each in own], np.int64),
                np.stack([each.features for each in own]),
                np.stack([each.mask for each in own]),
                np.array(overlaps, np.float32),
            )

    def _candidates(
        self, view: View, embedding: ImageEmbedding, labels: Sequence[str]
    ) -> list[Candidate]:
        """Return the candidates of every click of every label."""
        recognition = self._recognize(view, labels)
        prompts = label_prompts(recognition, query_of_names(labels), self._settings, ())
        if not prompts:
            return []
        masks = self._networks.sam.decode(embedding, [prompt.points for prompt in prompts])
        rows = [prompt.label for prompt in prompts]
        return rank_candidates(masks, rows, recognition.label_maps, embedding.inner_hw)

    def _recognize(self, view: View, labels: Sequence[str]) -> Recognition:
        clock = Stages(self._networks.device)
        return self._recognizer.recognize(view, query_of_names(labels), Wanted(), clock)


class SampleFolder:
    """The samples of pictures in files, one per picture.

    :param folder: made if it is missing.
    :param key: of what the samples are; a folder has samples of one key.
    :raises ConfigError: the folder has samples of other networks or conditions.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / KEY_FILE
        if not file.exists():
            write_whole(file, key.encode())
        elif file.read_text(encoding="utf-8") != key:
            raise ConfigError(
                f"{folder} has samples of other networks, parameters or pictures; delete it, or "
                "name another --output"
            )

    def read(self, number: int) -> PictureSamples | None:
        """Return the samples of a picture; None if they are not there, or damaged."""
        try:
            with np.load(self._file(number), allow_pickle=False) as values:
                return _unpacked(values)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, number: int, samples: PictureSamples) -> None:
        """Keep the samples of a picture."""
        data = io.BytesIO()
        np.savez_compressed(data, allow_pickle=False, **_packed(samples))
        write_whole(self._file(number), data.getvalue())

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.npz"


def _packed(samples: PictureSamples) -> dict[str, NDArray[np.generic]]:
    values: dict[str, NDArray[np.generic]] = {
        "cosines": samples.cosines,
        "present": samples.present,
        "groups": np.array(len(samples.masks)),
    }
    for number, group in enumerate(samples.masks):
        for each in fields(group):
            values[f"{each.name}_{number}"] = np.asarray(getattr(group, each.name))
    return values


def _unpacked(values: Mapping[str, NDArray[Any]]) -> PictureSamples:
    groups = []
    for number in range(int(values["groups"])):
        parts: dict[str, Any] = {
            each.name: values[f"{each.name}_{number}"] for each in fields(MaskSamples)
        }
        groups.append(MaskSamples(**{**parts, "all_labels": bool(parts["all_labels"])}))
    return PictureSamples(values["cosines"], values["present"], tuple(groups))
