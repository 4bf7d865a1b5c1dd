"""Measure the demo networks on held-out scenes, for the table of their card (``CARD.md``).

The shipped files are measured, with the same code that the node runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.masks import best_candidate, innermost
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import presence_score
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.metrics import auroc
from clip_surgery_ros.evaluation.outcome import found_mask, iou, peak_is_inside
from clip_surgery_ros.evaluation.world_scenes import WorldScenes
from clip_surgery_ros.networks.clip.backend import ClipBackend


@dataclass
class Measurements:
    """What was measured, in all scenes.

    :param surgery_inside: per label, whether the peak of CLIP Surgery's map lies in its objects.
    :param plain_inside: per label, whether the peak of plain CLIP's map lies in its objects.
    :param click_ious: per object, IoU of SAM's mask from one click.
    :param text_ious: per label, IoU of its segments with its objects.
    :param present: presence of every label that is known to be in its scene.
    :param absent: presence of every label that is known not to be.
    :param misleading: those of ``absent`` whose name is in the scene, but in another colour.
    """

    surgery_inside: list[bool] = field(default_factory=list)
    plain_inside: list[bool] = field(default_factory=list)
    click_ious: list[float] = field(default_factory=list)
    text_ious: list[float] = field(default_factory=list)
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    misleading: list[float] = field(default_factory=list)

    def table(self) -> list[tuple[str, float, str]]:
        """Return rows of (metric, value, target)."""
        rows = [
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
        if self.misleading:
            area = auroc(self.present, self.misleading)
            rows.append(("present against wrong colours, AUROC", area, "above 0.5"))
        return rows


def measure_networks(
    clip: ClipBackend,
    segmenter: PromptableSegmenter,
    pipeline: Pipeline,
    scenes: WorldScenes,
    count: int,
) -> Measurements:
    """Measure ``count`` held-out scenes of the set ``mixed``, with a progress bar."""
    measurements = Measurements()
    names = dict(zip(scenes.names, clip.text_features(scenes.names), strict=True))
    examples = scenes.examples("mixed", "held_out", count)
    claims = scenes.claims("mixed", "held_out", count)
    for example, claimed in tqdm(zip(examples, claims, strict=True), total=count, unit="scene"):
        _measure_maps(clip, names, example, claimed, measurements)
        _measure_clicks(segmenter, example, measurements)
        result = pipeline.run(example.image, query_of_names(example.present))
        measurements.text_ious += [
            iou(found_mask(result, label) & ~example.ignored, label_mask(example, label))
            for label in example.present
        ]
    return measurements


def label_mask(example: Example, label: str) -> NDArray[np.bool_]:
    """Return the union of the objects that a present label means, (H, W)."""
    return np.asarray(np.any(example.masks_of(label), axis=0))


def _measure_maps(
    clip: ClipBackend,
    names: Mapping[str, Tensor],
    example: Example,
    claimed: Example,
    measurements: Measurements,
) -> None:
    """Measure where both maps have their peaks, and the presence of all labels that are known.

    :param names: (C,) feature of every known name, with which each label is compared.
    """
    pixels = clip.preprocess(example.image)
    grid = clip.grid_hw(pixels)
    surgery = F.normalize(clip.surgery_tokens(pixels), dim=-1)
    plain = F.normalize(clip.plain_tokens(pixels), dim=-1)
    for label in example.present:
        mask, read = label_mask(example, label), clip.vocabulary.known_name(label) or label
        text = clip.text_features([read])[0]
        others = [feature for name, feature in names.items() if name != read]
        label_map = feature_surgery(surgery, torch.stack([text, *others]))[0, 1:, 0]
        flat = (plain @ text)[0, 1:]
        measurements.surgery_inside.append(
            peak_is_inside(label_map.cpu().numpy().reshape(grid), mask)
        )
        measurements.plain_inside.append(peak_is_inside(flat.cpu().numpy().reshape(grid), mask))
    texts, level = clip.text_features(claimed.queried), clip.presence_level(windows=False)
    presence = presence_score(surgery[0], texts, texts, level).tolist()
    count = len(claimed.present)
    measurements.present += presence[:count]
    measurements.absent += presence[count:]
    measurements.misleading += [
        value
        for value, label in zip(presence, claimed.queried, strict=True)
        if label in claimed.misleading
    ]


def _measure_clicks(
    segmenter: PromptableSegmenter, example: Example, measurements: Measurements
) -> None:
    """Measure SAM from one click at each object's innermost pixel; its preferred mask counts."""
    if not example.masks:
        return
    prompts = [
        PointPrompts(np.array([innermost(mask)], np.int32), np.ones(1, np.bool_))
        for mask in example.masks
    ]
    embedding = segmenter.encode(example.image)
    chosen = [best_candidate(offered)[0] for offered in segmenter.decode(embedding, prompts)]
    found = segmenter.full_size(embedding, torch.stack(chosen))
    measurements.click_ious += [
        iou(predicted, mask) for predicted, mask in zip(found, example.masks, strict=True)
    ]
