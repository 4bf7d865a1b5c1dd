"""Fit the weights that candidate masks are ranked by, on development scenes.

Every scene is asked for all its objects together and for each alone, so that the weights suit
queries of one label too. The candidates of all clicks are the data, their IoU with the nearest
object of the label what is predicted.
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
"""Keeps weights of features that go together from growing against each other. Fitted on half of a
third of these scenes, 3 to 10 made the best masks of its other half."""
NEWTON_STEPS = 25
"""Many more than two parameters need."""
EVERYDAY = ("mixed", "several", "several", "small", "occluded")
"""The sets that weights are fitted on; the others are to show how far that carries. Twice the
scenes of several alike: fitted on as many of each set, a mask of two objects is often taken for
the best answer of a click on one."""


def fit(networks: LoadedNetworks, scenes: int) -> tuple[NDArray[np.float64], float]:
    """Ridge regression of IoU on products of two features each.

    :param scenes: of each set in :data:`EVERYDAY`.
    :returns: ``ranking.WEIGHTS``, and the correlation reached.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    rows, targets = [], []
    total = scenes * len(EVERYDAY)
    for scene in tqdm(_scenes(EVERYDAY, scenes), total=total, unit="scene"):
        for features, overlaps in _candidates(networks, config, scene):
            rows.append(features)
            targets.append(overlaps)
    features, y = np.concatenate(rows).astype(np.float64), np.concatenate(targets)
    one, other = np.triu_indices(len(FEATURES))
    x = features[:, one] * features[:, other]
    solution = np.linalg.solve(x.T @ x + RIDGE * np.eye(len(one)), x.T @ y)
    weights = np.zeros((len(FEATURES), len(FEATURES)))
    weights[one, other] = solution
    return weights, float(np.corrcoef(x @ solution, y)[0, 1])


def fit_chance(
    networks: LoadedNetworks, scenes: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Logistic regression of "is an object that no better mask has", with the weights in use.

    :param scenes: of each set that shows what is asked.
    :returns: offset and scale, ``ranking.CHANCE`` and ``CHANCE_FURTHER``.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    names = [name for name in SCENE_SETS if name != "absent"]
    told: dict[bool, list[tuple[float, bool]]] = {False: [], True: []}
    for scene in tqdm(_scenes(names, scenes), total=scenes * len(names), unit="scene"):
        for choice, right in _judged_choices(networks, config, scene):
            told[choice.further].append((choice.quality, right))
    best, others = (np.array(told[further]).T for further in (False, True))
    return logistic(best[0], best[1] > 0), logistic(others[0], others[1] > 0)


def logistic(x: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Offset and scale that make ``sigmoid(offset + scale * x)`` likeliest, by Newton's method."""
    design, solution = np.column_stack([np.ones_like(x), x]), np.zeros(2)
    for _ in range(NEWTON_STEPS):
        said = 1 / (1 + np.exp(-design @ solution))
        curvature = design.T @ (design * (said * (1 - said))[:, None])
        solution = solution + np.linalg.solve(curvature, design.T @ (right - said))
    return float(solution[0]), float(solution[1])


def _judged_choices(
    networks: LoadedNetworks, config: Config, scene: Scene
) -> Iterator[tuple[Choice, bool]]:
    names = list(dict.fromkeys(scene.names))
    embedding = networks.sam.encode(scene.image)
    maps = _maps(networks, config, scene, names)
    pool = _asked(networks, embedding, maps, scene)
    for label, name in enumerate(names):
        own = choose_objects([one for one in pool if one.label == label])
        if own:
            logits = torch.stack([choice.logits for choice in own])
            masks = networks.sam.full_size(embedding, logits)
            matched = set(match_objects(list(masks), _objects(scene, name)).values())
            yield from ((choice, index in matched) for index, choice in enumerate(own))


def _scenes(names: Sequence[str], count: int) -> Iterator[Scene]:
    for name, times in Counter(names).items():
        yield from SCENE_SETS[name].scenes("development", times * count)


def _candidates(
    networks: LoadedNetworks, config: Config, scene: Scene
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """(M, F) features and (M,) IoUs of every candidate of every query."""
    embedding = networks.sam.encode(scene.image)
    names = list(dict.fromkeys(scene.names))
    for asked in [names, *([name] for name in names)]:
        maps = _maps(networks, config, scene, asked)
        pool = _asked(networks, embedding, maps, scene)
        masks = networks.sam.full_size(embedding, torch.stack([one.choice.logits for one in pool]))
        yield (
            np.stack([one.features for one in pool]),
            np.array(
                [
                    _best(mask, _objects(scene, asked[one.label]))
                    for one, mask in zip(pool, masks, strict=True)
                ]
            ),
        )


def _maps(
    networks: LoadedNetworks, config: Config, scene: Scene, asked: Sequence[str]
) -> NDArray[np.float32]:
    pipeline = networks.pipeline(config)
    return pipeline.run(scene.image, query_of(asked), Wanted(segments=False)).similarity


def _asked(
    networks: LoadedNetworks, embedding: ImageEmbedding, maps: NDArray[np.float32], scene: Scene
) -> list[Candidate]:
    """The candidates of every click of every label."""
    size_hw = (scene.image.shape[0], scene.image.shape[1])
    prompts = [
        (label, PointPrompts(xy, positive.astype(np.bool_)))
        for label, one in enumerate(maps)
        for xy, positive in instance_points(one.reshape(-1), one.shape, size_hw)
    ]
    offered = networks.sam.decode(embedding, [points for _, points in prompts])
    return rank_candidates(offered, [label for label, _ in prompts], maps, embedding.inner_hw)


def _objects(scene: Scene, name: str) -> list[NDArray[np.bool_]]:
    return [mask for mask, one in zip(scene.masks, scene.names, strict=True) if one == name]


def _best(mask: NDArray[np.bool_], objects: Sequence[NDArray[np.bool_]]) -> float:
    return max(iou(mask, one) for one in objects)
