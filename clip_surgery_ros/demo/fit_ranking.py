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
from clip_surgery_ros.core.ranking import FEATURES, features_of
from clip_surgery_ros.core.types import PointPrompts, Wanted
from clip_surgery_ros.demo.scene_sets import SCENE_SETS
from clip_surgery_ros.demo.scenes import Scene
from clip_surgery_ros.evaluation.outcome import iou

RIDGE = 0.01
"""Keeps weights of features that go together from growing against each other."""
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


def _scenes(count: int) -> Iterator[Scene]:
    for name in EVERYDAY:
        yield from SCENE_SETS[name].scenes("development", count)


def _candidates(
    networks: LoadedNetworks, config: Config, scene: Scene
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """(3, F) features and (3,) IoUs of every click of every query."""
    embedding = networks.sam.encode(scene.image)
    pipeline = networks.pipeline(config)
    names = list(dict.fromkeys(scene.names))
    for asked in [names, *([name] for name in names)]:
        maps = pipeline.run(scene.image, query_of(asked), Wanted(segments=False)).similarity
        for label, name in enumerate(asked):
            grid_hw, size_hw = maps.shape[1:], scene.image.shape[:2]
            clicks = [
                PointPrompts(xy, positive.astype(np.bool_))
                for xy, positive in instance_points(maps[label].reshape(-1), grid_hw, size_hw)
            ]
            for candidates in networks.sam.decode(embedding, clicks):
                features = features_of(candidates, label, maps, embedding.inner_hw)
                yield features, _overlaps(networks, embedding, candidates, scene, name)


def _overlaps(
    networks: LoadedNetworks,
    embedding: ImageEmbedding,
    candidates: MaskCandidates,
    scene: Scene,
    name: str,
) -> NDArray[np.float64]:
    masks = networks.sam.full_size(embedding, torch.as_tensor(candidates.logits))
    objects = [m for m, other in zip(scene.masks, scene.names, strict=True) if other == name]
    return np.array([_best(mask, objects) for mask in masks])


def _best(mask: NDArray[np.bool_], objects: Sequence[NDArray[np.bool_]]) -> float:
    return max(iou(mask, one) for one in objects)
