"""Fit the weights that candidate masks are ranked by, on development scenes.

Every scene is asked for all its objects together and for each alone, so that the weights suit
queries of one label too. The candidates of all clicks are the data, their IoU with the nearest
object of the label what is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.backends.factory import LoadedNetworks
from clip_surgery_ros.core.config import Config
from clip_surgery_ros.core.interfaces import ImageEmbedding, MaskCandidates
from clip_surgery_ros.core.points import instance_points
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.ranking import FEATURES, Choice, features_of, instances
from clip_surgery_ros.core.types import PointPrompts, Wanted
from clip_surgery_ros.demo.scene_sets import SCENE_SETS
from clip_surgery_ros.demo.scenes import Scene
from clip_surgery_ros.evaluation.outcome import iou, match

RIDGE = 0.01
"""Keeps weights of features that go together from growing against each other."""
NEWTON_STEPS = 25
"""Many more than two parameters need."""
EVERYDAY = ("mixed", "several", "small")
"""The sets fitted on; the others are to show how far that carries."""


def fit(networks: LoadedNetworks, scenes: int) -> tuple[NDArray[np.float64], float]:
    """Ridge regression of IoU.

    :param scenes: of each set in :data:`EVERYDAY`.
    :returns: (F,) weights in the order of ``ranking.FEATURES``, and the correlation reached.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    rows, targets = [], []
    total = scenes * len(EVERYDAY)
    for scene in tqdm(_scenes(scenes), total=total, unit="scene"):
        for features, overlaps in _candidates(networks, config, scene):
            rows.append(features)
            targets.append(overlaps)
    x, y = np.concatenate(rows).astype(np.float64), np.concatenate(targets)
    weights = np.asarray(np.linalg.solve(x.T @ x + RIDGE * np.eye(len(FEATURES)), x.T @ y))
    return weights, float(np.corrcoef(x @ weights, y)[0, 1])


def fit_chance(networks: LoadedNetworks, scenes: int) -> tuple[float, float]:
    """Logistic regression of "is an object that no better mask has", with the weights in use.

    :param scenes: of each set in :data:`EVERYDAY`.
    :returns: offset and scale, ``ranking.CHANCE``.
    """
    config = Config.from_values({"recipe": "instances", "presence_threshold": 0.0})
    quality: list[float] = []
    right: list[bool] = []
    for scene in tqdm(_scenes(scenes), total=scenes * len(EVERYDAY), unit="scene"):
        names = list(dict.fromkeys(scene.names))
        for choice, is_right in _judged_choices(networks, config, scene, names):
            quality.append(choice.quality)
            right.append(is_right)
    return logistic(np.array(quality), np.array(right))


def logistic(x: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Offset and scale that make ``sigmoid(offset + scale * x)`` likeliest, by Newton's method."""
    design, solution = np.column_stack([np.ones_like(x), x]), np.zeros(2)
    for _ in range(NEWTON_STEPS):
        said = 1 / (1 + np.exp(-design @ solution))
        curvature = design.T @ (design * (said * (1 - said))[:, None])
        solution = solution + np.linalg.solve(curvature, design.T @ (right - said))
    return float(solution[0]), float(solution[1])


def _judged_choices(
    networks: LoadedNetworks, config: Config, scene: Scene, names: Sequence[str]
) -> Iterator[tuple[Choice, bool]]:
    embedding = networks.sam.encode(scene.image)
    maps = _maps(networks, config, scene, names)
    clicks = [(label, one) for label in range(len(names)) for one in _clicks(maps[label], scene)]
    labels = [label for label, _ in clicks]
    offered = networks.sam.decode(embedding, [one for _, one in clicks])
    choices = instances(offered, labels, maps, embedding.inner_hw)
    for label, name in enumerate(names):
        own = [choice for choice in choices if labels[choice.prompt] == label]
        if own:
            logits = torch.stack([choice.logits for choice in own])
            masks = networks.sam.full_size(embedding, logits)
            matched = set(match(list(masks), _objects(scene, name)).values())
            yield from ((choice, index in matched) for index, choice in enumerate(own))


def _scenes(count: int) -> Iterator[Scene]:
    for name in EVERYDAY:
        yield from SCENE_SETS[name].scenes("development", count)


def _candidates(
    networks: LoadedNetworks, config: Config, scene: Scene
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """(3, F) features and (3,) IoUs of every click of every query."""
    embedding = networks.sam.encode(scene.image)
    names = list(dict.fromkeys(scene.names))
    for asked in [names, *([name] for name in names)]:
        maps = _maps(networks, config, scene, asked)
        for label, name in enumerate(asked):
            for candidates in networks.sam.decode(embedding, _clicks(maps[label], scene)):
                features = features_of(candidates, label, maps, embedding.inner_hw)
                yield features, _overlaps(networks, embedding, candidates, scene, name)


def _maps(
    networks: LoadedNetworks, config: Config, scene: Scene, asked: Sequence[str]
) -> NDArray[np.float32]:
    pipeline = networks.pipeline(config)
    return pipeline.run(scene.image, query_of(asked), Wanted(segments=False)).similarity


def _clicks(similarity: NDArray[np.float32], scene: Scene) -> list[PointPrompts]:
    height, width = scene.image.shape[:2]
    return [
        PointPrompts(xy, positive.astype(np.bool_))
        for xy, positive in instance_points(
            similarity.reshape(-1), similarity.shape, (height, width)
        )
    ]


def _objects(scene: Scene, name: str) -> list[NDArray[np.bool_]]:
    return [mask for mask, one in zip(scene.masks, scene.names, strict=True) if one == name]


def _overlaps(
    networks: LoadedNetworks,
    embedding: ImageEmbedding,
    candidates: MaskCandidates,
    scene: Scene,
    name: str,
) -> NDArray[np.float64]:
    masks = networks.sam.full_size(embedding, torch.as_tensor(candidates.logits))
    objects = _objects(scene, name)
    return np.array([_best(mask, objects) for mask in masks])


def _best(mask: NDArray[np.bool_], objects: Sequence[NDArray[np.bool_]]) -> float:
    return max(iou(mask, one) for one in objects)
