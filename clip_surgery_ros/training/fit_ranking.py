"""Fit the weights that rank candidate masks, on development scenes.

Each scene is queried for all its present labels together and for each alone, so that the weights
suit queries of one label too. The samples are the candidate masks of all clicks. The target is a
mask's highest IoU with an object of its label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.choice import Candidate, Choice, choose_objects, rank_candidates
from clip_surgery_ros.core.interfaces import ImageEmbedding
from clip_surgery_ros.core.points import instance_points
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.types import PointPrompts, Wanted
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.fitting import fit_logistic, fit_ranking
from clip_surgery_ros.evaluation.outcome import iou, match_objects
from clip_surgery_ros.evaluation.world_scenes import WorldScenes
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config

TRAINING_SETS = ("mixed", "several", "several", "small", "occluded")
"""The sets for fitting; the others show how well the weights generalize. ``several`` counts
twice: with as many scenes of each set, a mask of two objects often ranks first for a click on one
of them."""


def fit_weights(
    networks: LoadedNetworks, scenes: WorldScenes, count: int
) -> tuple[NDArray[np.float64], float]:
    """Fit IoU to products of two features each, by ridge regression.

    :param count: scenes of each set in :data:`TRAINING_SETS`.
    :returns: (F, F) ``ranking.WEIGHTS``, and the correlation of predicted and true IoU.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    rows, targets = [], []
    total = count * len(TRAINING_SETS)
    for example in tqdm(_examples(scenes, TRAINING_SETS, count), total=total, unit="scene"):
        for features, overlaps in _candidates(networks, config, example):
            rows.append(features)
            targets.append(overlaps)
    features, y = np.concatenate(rows).astype(np.float64), np.concatenate(targets)
    weights = fit_ranking(features.astype(np.float64), y)
    predicted = np.einsum("mf,fg,mg->m", features, weights, features)
    return weights, float(np.corrcoef(predicted, y)[0, 1])


def fit_probabilities(
    networks: LoadedNetworks, scenes: WorldScenes, count: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Fit the probability that a mask is an object that no better mask has, by logistic regression
    on predicted IoU with the current weights.

    :param count: scenes of each set; those that show nothing that is queried give nothing.
    :returns: offset and scale for a label's best mask, and for its further ones.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    total = count * len(scenes.sets)
    samples: dict[bool, list[tuple[float, bool]]] = {False: [], True: []}
    for example in tqdm(_examples(scenes, scenes.sets, count), total=total, unit="scene"):
        for choice, is_object in _labelled_choices(networks, config, example):
            samples[choice.is_further].append((choice.quality, is_object))
    best, others = (np.array(samples[further]).T for further in (False, True))
    return fit_logistic(best[0], best[1] > 0), fit_logistic(others[0], others[1] > 0)


def _labelled_choices(
    networks: LoadedNetworks, config: Config, example: Example
) -> Iterator[tuple[Choice, bool]]:
    """Yield the choices for a scene, and whether each is an object that no better one is."""
    if not example.present:
        return
    embedding = networks.sam.encode(example.image)
    maps = _maps(networks, config, example, example.present)
    candidates = _click_candidates(networks, embedding, maps, example)
    for index, label in enumerate(example.present):
        choices = choose_objects([each for each in candidates if each.label == index])
        if choices:
            logits = torch.stack([choice.logits for choice in choices])
            masks = _counted_masks(networks, embedding, logits, example)
            matched = set(match_objects(masks, example.masks_of(label)).values())
            yield from ((choice, number in matched) for number, choice in enumerate(choices))


def _examples(scenes: WorldScenes, names: Sequence[str], count: int) -> Iterator[Example]:
    for name, times in Counter(names).items():
        yield from scenes.examples(name, "development", times * count)


def _candidates(
    networks: LoadedNetworks, config: Config, example: Example
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Yield, per query of a scene, (M, F) features and (M,) IoUs of its candidates."""
    embedding = networks.sam.encode(example.image)
    for queried in [example.present, *((label,) for label in example.present)]:
        maps = _maps(networks, config, example, queried)
        candidates = _click_candidates(networks, embedding, maps, example)
        if not candidates:
            continue
        logits = torch.stack([candidate.choice.logits for candidate in candidates])
        masks = _counted_masks(networks, embedding, logits, example)
        overlaps = [
            max(iou(mask, each) for each in example.masks_of(queried[candidate.label]))
            for candidate, mask in zip(candidates, masks, strict=True)
        ]
        yield np.stack([candidate.features for candidate in candidates]), np.array(overlaps)


def _maps(
    networks: LoadedNetworks, config: Config, example: Example, labels: Sequence[str]
) -> NDArray[np.float32]:
    """Return the (T, h, w) similarity of labels."""
    pipeline = networks.pipeline(config)
    query, wanted = query_of_names(labels), Wanted(segments=False)
    return pipeline.run(example.image, query, wanted).similarity


def _click_candidates(
    networks: LoadedNetworks,
    embedding: ImageEmbedding,
    maps: NDArray[np.float32],
    example: Example,
) -> list[Candidate]:
    """Return the candidates of every click of every label."""
    size_hw = (example.image.shape[0], example.image.shape[1])
    prompts = [
        (label, PointPrompts(xy, positive.astype(np.bool_)))
        for label, label_map in enumerate(maps)
        for xy, positive in instance_points(label_map.reshape(-1), label_map.shape, size_hw)
    ]
    masks = networks.sam.decode(embedding, [points for _, points in prompts])
    return rank_candidates(masks, [label for label, _ in prompts], maps, embedding.inner_hw)


def _counted_masks(
    networks: LoadedNetworks, embedding: ImageEmbedding, logits: torch.Tensor, example: Example
) -> list[NDArray[np.bool_]]:
    """Return the masks of (M, l, l) logits, (H, W) each, without ignored pixels."""
    return [mask & ~example.ignored for mask in networks.sam.full_size(embedding, logits)]
