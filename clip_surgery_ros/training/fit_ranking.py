"""Fit the weights that rank candidate masks, on development scenes.

Each scene is queried for all its objects together and for each alone, so that the weights suit
queries of one label too. The samples are the candidate masks of all clicks. The target is a mask's
highest IoU with an object of its label.
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
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.ranking import FEATURES
from clip_surgery_ros.core.types import PointPrompts, Wanted
from clip_surgery_ros.evaluation.outcome import iou, match_objects
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.world.scene_sets import SCENE_SETS
from clip_surgery_ros.world.scenes import Scene

RIDGE = 30.0
"""Penalty that keeps the weights of correlated features small. Fitted on a sixth of these scenes,
3 to 10 gave the best masks on another sixth."""
NEWTON_STEPS = 25
"""Many more than two parameters need."""
TRAINING_SETS = ("mixed", "several", "several", "small", "occluded")
"""The scene sets for fitting; the others show how well the weights generalize. ``several`` counts
twice: with as many scenes of each set, a mask of two objects often ranks first for a click on one
of them."""


def fit_weights(networks: LoadedNetworks, scenes: int) -> tuple[NDArray[np.float64], float]:
    """Fit IoU to products of two features each, by ridge regression.

    :param scenes: of each set in :data:`TRAINING_SETS`.
    :returns: (F, F) ``ranking.WEIGHTS``, and the correlation of predicted and true IoU.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    rows, targets = [], []
    total = scenes * len(TRAINING_SETS)
    for scene in tqdm(_scenes(TRAINING_SETS, scenes), total=total, unit="scene"):
        for features, overlaps in _candidates(networks, config, scene):
            rows.append(features)
            targets.append(overlaps)
    features, y = np.concatenate(rows).astype(np.float64), np.concatenate(targets)
    rows_of_pairs, columns_of_pairs = np.triu_indices(len(FEATURES))
    x = features[:, rows_of_pairs] * features[:, columns_of_pairs]
    solution = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    weights = np.zeros((len(FEATURES), len(FEATURES)))
    weights[rows_of_pairs, columns_of_pairs] = solution
    return weights, float(np.corrcoef(x @ solution, y)[0, 1])


def fit_probabilities(
    networks: LoadedNetworks, scenes: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Fit the probability that a mask is an object that no better mask has, by logistic regression
    on predicted IoU with the current weights.

    :param scenes: of each set but ``absent``, which shows nothing that is queried.
    :returns: offset and scale for a label's best mask, and for its further ones.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    names = [name for name in SCENE_SETS if name != "absent"]
    samples: dict[bool, list[tuple[float, bool]]] = {False: [], True: []}
    for scene in tqdm(_scenes(names, scenes), total=scenes * len(names), unit="scene"):
        for choice, is_object in _labelled_choices(networks, config, scene):
            samples[choice.is_further].append((choice.quality, is_object))
    best, others = (np.array(samples[further]).T for further in (False, True))
    return fit_logistic(best[0], best[1] > 0), fit_logistic(others[0], others[1] > 0)


def fit_logistic(x: NDArray[np.float64], true: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the most likely offset and scale of ``sigmoid(offset + scale * x)``, found by
    Newton's method.

    :param x: (N,) predictors.
    :param true: (N,) outcomes.
    """
    design, solution = np.column_stack([np.ones_like(x), x]), np.zeros(2)
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-design @ solution))
        curvature = design.T @ (design * (probability * (1 - probability))[:, None])
        solution = solution + np.linalg.solve(curvature, design.T @ (true - probability))
    return float(solution[0]), float(solution[1])


def _labelled_choices(
    networks: LoadedNetworks, config: Config, scene: Scene
) -> Iterator[tuple[Choice, bool]]:
    """Yield the choices for a scene, and whether each is an object that no better one is."""
    names = list(dict.fromkeys(scene.names))
    embedding = networks.sam.encode(scene.image)
    maps = _maps(networks, config, scene, names)
    candidates = _click_candidates(networks, embedding, maps, scene)
    for label, name in enumerate(names):
        choices = choose_objects([each for each in candidates if each.label == label])
        if choices:
            logits = torch.stack([choice.logits for choice in choices])
            masks = networks.sam.full_size(embedding, logits)
            matched = set(match_objects(list(masks), _objects(scene, name)).values())
            yield from ((choice, index in matched) for index, choice in enumerate(choices))


def _scenes(names: Sequence[str], count: int) -> Iterator[Scene]:
    for name, times in Counter(names).items():
        yield from SCENE_SETS[name].scenes("development", times * count)


def _candidates(
    networks: LoadedNetworks, config: Config, scene: Scene
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Yield, per query of a scene, (M, F) features and (M,) IoUs of its candidates."""
    embedding = networks.sam.encode(scene.image)
    names = list(dict.fromkeys(scene.names))
    for queried in [names, *([name] for name in names)]:
        maps = _maps(networks, config, scene, queried)
        candidates = _click_candidates(networks, embedding, maps, scene)
        logits = torch.stack([candidate.choice.logits for candidate in candidates])
        masks = networks.sam.full_size(embedding, logits)
        overlaps = [
            _highest_iou(mask, _objects(scene, queried[candidate.label]))
            for candidate, mask in zip(candidates, masks, strict=True)
        ]
        yield np.stack([candidate.features for candidate in candidates]), np.array(overlaps)


def _maps(
    networks: LoadedNetworks, config: Config, scene: Scene, labels: Sequence[str]
) -> NDArray[np.float32]:
    """Return the (T, h, w) similarity of labels."""
    pipeline = networks.pipeline(config)
    return pipeline.run(scene.image, query_of(labels), Wanted(segments=False)).similarity


def _click_candidates(
    networks: LoadedNetworks, embedding: ImageEmbedding, maps: NDArray[np.float32], scene: Scene
) -> list[Candidate]:
    """Return the candidates of every click of every label."""
    size_hw = (scene.image.shape[0], scene.image.shape[1])
    prompts = [
        (label, PointPrompts(xy, positive.astype(np.bool_)))
        for label, label_map in enumerate(maps)
        for xy, positive in instance_points(label_map.reshape(-1), label_map.shape, size_hw)
    ]
    masks = networks.sam.decode(embedding, [points for _, points in prompts])
    return rank_candidates(masks, [label for label, _ in prompts], maps, embedding.inner_hw)


def _objects(scene: Scene, name: str) -> list[NDArray[np.bool_]]:
    return [
        mask
        for mask, object_name in zip(scene.masks, scene.names, strict=True)
        if object_name == name
    ]


def _highest_iou(mask: NDArray[np.bool_], objects: Sequence[NDArray[np.bool_]]) -> float:
    return max(iou(mask, each) for each in objects)
