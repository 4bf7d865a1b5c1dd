"""How long it takes to judge the masks that SAM offers for all clicks of a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.benchmark.setting import Row, Setting
from clip_surgery_ros.core.choice import rank_candidates
from clip_surgery_ros.core.interfaces import CandidateBatch, MaskCandidates
from clip_surgery_ros.core.points import MAX_PEAKS
from clip_surgery_ros.core.ranking import (
    FEATURES,
    MASS_FROM,
    RING,
    RankingModel,
    overlap,
    raster_maps,
    rasterize,
)

SIDE, INNER_HW, GRID_HW = 256, (144, 256), (53, 53)
"""SAM's logits, those that show a picture of 1280 x 720, and CLIP's grid at 512 with windows."""


def judging(setting: Setting, counts: Sequence[int] = (5, 20)) -> Iterator[Row]:
    """Time the judging of all clicks of some labels at once, beside one candidate after another.

    Results are the same to 1e-6.
    """
    for count in counts:
        offered, labels, maps = random_candidates(count, setting.device)
        timings = setting.side_by_side(
            {
                "one by one": partial(rank_one_by_one, offered, labels, maps),
                "this": partial(rank_candidates, offered, labels, maps, INNER_HW),
            },
            2 * setting.rounds,
        )
        yield Row(
            f"judging the masks of {len(offered)} clicks: one by one / this",
            timings.ratio("one by one", "this"),
            seconds=timings.medians(),
        )


def rank_one_by_one(
    offered: Sequence[MaskCandidates], labels: Sequence[int], maps: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the (M,) predicted IoU of all candidates, by selecting the cells of each mask."""
    quality = []
    rasters = [rasterize([candidates], INNER_HW) for candidates in offered]
    judged = raster_maps(maps, (rasters[0].shape[1], rasters[0].shape[2]))
    for candidates, masks, label in zip(offered, rasters, labels, strict=True):
        scaled, wins = judged.scaled[label], judged.wins[label]
        rows = [
            _features(masks, index, own, scaled, wins)
            for index, own in enumerate(candidates.quality)
        ]
        quality.append(RankingModel().predicted_iou(np.array(rows, np.float32)))
    return np.concatenate(quality)


def random_candidates(
    labels: int, device: str = "cpu"
) -> tuple[CandidateBatch, list[int], NDArray[np.float32]]:
    """Make the candidates of :data:`MAX_PEAKS` clicks per label: three discs around each click.

    :returns: candidates, index of each prompt's label, and (T, h, w) maps.
    """
    generator = np.random.default_rng(0)
    prompts = labels * MAX_PEAKS
    rows, columns = np.indices((SIDE, SIDE), np.float32)
    clicks = generator.uniform(0, INNER_HW, (prompts, 2)).astype(np.float32)
    radii = generator.uniform(4, 25, prompts).astype(np.float32)
    distances = np.stack([np.hypot(rows - y, columns - x) for y, x in clicks])
    logits = np.stack([radii[:, None, None] * share - distances for share in (1, 1.7, 2.4)], 1)
    small = generator.random((labels, 8, 8), np.float32)
    maps = [cv2.resize(x, GRID_HW[::-1], interpolation=cv2.INTER_CUBIC) for x in small]
    quality = generator.random((prompts, 3), np.float32)
    batch = CandidateBatch(quality, [torch.from_numpy(logits).to(device)], range(prompts))
    return batch, np.repeat(np.arange(labels), MAX_PEAKS).tolist(), np.stack(maps)


def _features(
    masks: NDArray[np.bool_],
    index: int,
    quality: float,
    scaled: NDArray[np.float32],
    wins: NDArray[np.bool_],
) -> Sequence[float]:
    """Return the features of one (R, C) mask of a prompt, as ``ranking.FEATURES`` says them."""
    mask, mass = masks[index], np.maximum(scaled - MASS_FROM, 0)
    if not mask.any():
        return [0.0] * len(FEATURES)
    ring = (cv2.dilate(mask.astype(np.uint8), np.ones((RING, RING), np.uint8)) > 0) & ~mask
    edges = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return (
        quality,
        scaled[mask].mean(),
        scaled[ring].mean() if ring.any() else 0.0,
        scaled[~mask].mean() if not mask.all() else 0.0,
        mass[mask].sum() / max(float(mass.sum()), 1e-6),
        max((overlap(mask, other) for i, other in enumerate(masks) if i != index), default=0.0),
        wins[mask].mean(),
        edges.mean(),
        1.0,
    )
