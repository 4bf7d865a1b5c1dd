"""Measure the demo networks on held-out scenes, for the table of their card (``CARD.md``).

The shipped files are measured, with the same code that the node runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.core.interfaces import ImageTextEncoder, PromptableSegmenter
from clip_surgery_ros.core.masks import best_candidate
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import PresenceLevel, presence_score
from clip_surgery_ros.core.types import Label, PointPrompts, Query
from clip_surgery_ros.evaluation.metrics import auroc
from clip_surgery_ros.evaluation.outcome import found_mask, iou, peak_is_inside
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.world.scenes import Scene, SceneGenerator, innermost
from clip_surgery_ros.world.sprites import NAMES


@dataclass
class Measurements:
    """What was measured, in all scenes.

    :param surgery_inside: per object, whether the peak of CLIP Surgery's map lies in it.
    :param plain_inside: per object, whether the peak of plain CLIP's map lies in it.
    :param click_ious: per object, IoU of SAM's mask from one click.
    :param text_ious: per label, IoU of its segments with its objects.
    :param present: presence of every name that is in its scene.
    :param absent: presence of every name that is not.
    """

    surgery_inside: list[bool] = field(default_factory=list)
    plain_inside: list[bool] = field(default_factory=list)
    click_ious: list[float] = field(default_factory=list)
    text_ious: list[float] = field(default_factory=list)
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)

    def table(self) -> list[tuple[str, float, str]]:
        """Return rows of (metric, value, target)."""
        return [
            (
                "pointing accuracy, CLIP Surgery map",
                float(np.mean(self.surgery_inside)),
                ">= 0.90",
            ),
            (
                "pointing accuracy, plain CLIP map",
                float(np.mean(self.plain_inside)),
                "clearly below",
            ),
            (
                "present against absent, AUROC",
                auroc(self.present, self.absent),
                ">= 0.97",
            ),
            ("SAM from one click inside, IoU", float(np.mean(self.click_ious)), ">= 0.85"),
            ("text to mask, mean IoU", float(np.mean(self.text_ious)), ">= 0.70"),
        ]


def measure_networks(
    clip: ClipBackend,
    segmenter: PromptableSegmenter,
    pipeline: Pipeline,
    count: int,
) -> Measurements:
    """Measure ``count`` held-out scenes, with a progress bar."""
    measurements = Measurements()
    texts = clip.text_features(NAMES)
    scenes = SceneGenerator().scenes("held_out", count)
    for scene in tqdm(scenes, total=count, unit="scene"):
        _measure_maps(clip, clip.presence_level(windows=False), texts, scene, measurements)
        _measure_clicks(segmenter, scene, measurements)
        names = tuple(dict.fromkeys(scene.names))
        query = Query(tuple(Label(name, (name,)) for name in names))
        result = pipeline.run(scene.image, query)
        measurements.text_ious += [
            iou(found_mask(result, name), scene.label_mask(name)) for name in names
        ]
    return measurements


def _measure_maps(
    clip: ImageTextEncoder,
    level: PresenceLevel,
    texts: torch.Tensor,
    scene: Scene,
    measurements: Measurements,
) -> None:
    """Measure where both maps have their peaks, and the presence of every known name."""
    pixels = clip.preprocess(scene.image)
    grid = clip.grid_hw(pixels)
    surgery = F.normalize(clip.surgery_tokens(pixels), dim=-1)
    plain = F.normalize(clip.plain_tokens(pixels), dim=-1)
    present = list(scene.objects)
    maps = feature_surgery(surgery, texts)[0, 1:, present]  # (N, K)
    flat = (plain @ texts.T)[0, 1:, present]
    for column, mask in enumerate(scene.masks):
        measurements.surgery_inside.append(
            peak_is_inside(maps[:, column].numpy().reshape(grid), mask)
        )
        measurements.plain_inside.append(
            peak_is_inside(flat[:, column].numpy().reshape(grid), mask)
        )
    presence = presence_score(surgery[0], texts, texts, level).numpy()
    absent = np.setdiff1d(np.arange(len(NAMES)), present)
    measurements.present += presence[present].tolist()
    measurements.absent += presence[absent].tolist()


def _measure_clicks(
    segmenter: PromptableSegmenter, scene: Scene, measurements: Measurements
) -> None:
    """Measure SAM from one click at each object's innermost pixel; its preferred mask counts."""
    prompts = [
        PointPrompts(np.array([innermost(mask)], np.int32), np.ones(1, np.bool_))
        for mask in scene.masks
    ]
    embedding = segmenter.encode(scene.image)
    chosen = [best_candidate(offered)[0] for offered in segmenter.decode(embedding, prompts)]
    found = segmenter.full_size(embedding, torch.stack(chosen))
    measurements.click_ious += [
        iou(predicted, mask) for predicted, mask in zip(found, scene.masks, strict=True)
    ]
