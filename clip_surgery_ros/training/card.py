"""How good the demo networks are, on held-out scenes; the table of the weights' card.

Everything is measured on the shipped files through the same code that the node runs.
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
class Tally:
    """Raw outcomes, one entry per object, label or name."""

    surgery_hits: list[bool] = field(default_factory=list)
    plain_hits: list[bool] = field(default_factory=list)
    click_ious: list[float] = field(default_factory=list)
    text_ious: list[float] = field(default_factory=list)
    present_scores: list[float] = field(default_factory=list)
    absent_scores: list[float] = field(default_factory=list)

    def table(self) -> list[tuple[str, float, str]]:
        """Rows of (what, value, target)."""
        return [
            ("pointing accuracy, CLIP Surgery map", float(np.mean(self.surgery_hits)), ">= 0.90"),
            (
                "pointing accuracy, plain CLIP map",
                float(np.mean(self.plain_hits)),
                "clearly below",
            ),
            (
                "present against absent, AUROC",
                auroc(self.present_scores, self.absent_scores),
                ">= 0.97",
            ),
            ("SAM from one click inside, IoU", float(np.mean(self.click_ious)), ">= 0.85"),
            ("text to mask, mean IoU", float(np.mean(self.text_ious)), ">= 0.70"),
        ]


def evaluate(
    clip: ClipBackend,
    segmenter: PromptableSegmenter,
    pipeline: Pipeline,
    count: int,
) -> Tally:
    """Measure ``count`` held-out scenes, with a progress bar."""
    tally = Tally()
    texts = clip.text_features(NAMES)
    scenes = SceneGenerator().scenes("held_out", count)
    for scene in tqdm(scenes, total=count, unit="scene"):
        _maps(clip, clip.presence(windows=False), texts, scene, tally)
        _clicks(segmenter, scene, tally)
        names = tuple(dict.fromkeys(scene.names))
        query = Query(tuple(Label(name, (name,)) for name in names))
        result = pipeline.run(scene.image, query)
        tally.text_ious += [
            iou(found_mask(result, name), scene.label_mask(name)) for name in names
        ]
    return tally


def _maps(
    clip: ImageTextEncoder, level: PresenceLevel, texts: torch.Tensor, scene: Scene, tally: Tally
) -> None:
    """Pointing of both maps and the presence score of every known name."""
    pixels = clip.preprocess(scene.image)
    grid = clip.grid_hw(pixels)
    surgery = F.normalize(clip.surgery_tokens(pixels), dim=-1)
    plain = F.normalize(clip.plain_tokens(pixels), dim=-1)
    present = list(scene.objects)
    maps = feature_surgery(surgery, texts)[0, 1:, present]  # (N, K)
    flat = (plain @ texts.T)[0, 1:, present]
    for column, mask in enumerate(scene.masks):
        tally.surgery_hits.append(peak_is_inside(maps[:, column].numpy().reshape(grid), mask))
        tally.plain_hits.append(peak_is_inside(flat[:, column].numpy().reshape(grid), mask))
    scores = presence_score(surgery[0], texts, texts, level).numpy()
    absent = np.setdiff1d(np.arange(len(NAMES)), present)
    tally.present_scores += scores[present].tolist()
    tally.absent_scores += scores[absent].tolist()


def _clicks(segmenter: PromptableSegmenter, scene: Scene, tally: Tally) -> None:
    """One click at each object's innermost pixel; the mask that SAM itself prefers."""
    prompts = [
        PointPrompts(np.array([innermost(mask)], np.int32), np.ones(1, np.bool_))
        for mask in scene.masks
    ]
    embedding = segmenter.encode(scene.image)
    chosen = [best_candidate(offered)[0] for offered in segmenter.decode(embedding, prompts)]
    found = segmenter.full_size(embedding, torch.stack(chosen))
    tally.click_ious += [iou(one, mask) for one, mask in zip(found, scene.masks, strict=True)]
