"""Batches of generated scenes and prompts for the training of the demo's SAM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.training.options import SamOptions
from clip_surgery_ros.training.sam_model import MASK_SIZE, SPEC
from clip_surgery_ros.training.sam_prompts import click_excluding_others, random_points
from clip_surgery_ros.training.scene_data import ASPECTS, TrainingScenes, load_batches
from clip_surgery_ros.world.scene_sets import SceneSet
from clip_surgery_ros.world.scenes import SPLITS, Scene, SceneGenerator, SceneStyle

PROMPTS = 4
"""Prompts per scene, for objects drawn with repetition."""
PROMPT_SIZES = (1, 2, 1, 12, 1, 3, 1, 12)
"""Points of a prompt, one size per batch, in turn. Sizes are not mixed: SAM would attend to
padding."""
EXCLUDING_SIZES = (2, 3)
"""Sizes of prompts with one click in the object and negative ones on its copies. They teach SAM to
separate neighbours that look alike."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Sample = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""(H, W, 3) image, (P, K, 2) points, (P, K) labels and (P, l, l) targets."""


@dataclass(frozen=True)
class Batch:
    """Scenes and prompts as the losses need them.

    :param pixels: (B, 3, S, S), normalized and padded.
    :param points: (B * P, K, 2) in input pixels.
    :param labels: (B * P, K), 1 inside the object, 0 outside.
    :param targets: (B * P, l, l) share of each low-resolution cell that the object covers.
    """

    pixels: Tensor
    points: Tensor
    labels: Tensor
    targets: Tensor


def batches(options: SamOptions, first_step: int) -> Iterator[Batch]:
    """Return the batches from a step on."""
    return load_batches(PromptedScenes(options, first_step), collate)


class PromptedScenes(TrainingScenes[Sample]):
    """Scenes with random prompts."""

    options: SamOptions

    def sample(self, number: int) -> Sample:
        """Return a scene's image with points, their labels and the masks they mean."""
        # CLIP's training begins at seed 0; from half of the split on, the two share no scene.
        seed = SPLITS["train"].start + 2**39 + number
        rng = np.random.default_rng(seed)
        step = number // self.options.batch
        size = PROMPT_SIZES[step % len(PROMPT_SIZES)]
        scene = training_scene(seed)
        chosen = rng.integers(len(scene.masks), size=PROMPTS)
        draw = click_excluding_others if size in EXCLUDING_SIZES else random_points
        points, labels = zip(*(draw(scene, int(k), size, rng) for k in chosen), strict=True)
        targets = np.stack([low_resolution(scene.masks[k]) for k in chosen])
        return scene.image, np.stack(points), np.stack(labels), targets


def training_scene(seed: int) -> Scene:
    """Return the training scene of a seed; its longer side is SAM's input size.

    A third of the scenes show copies of one object. Without them, a click on one of two neighbours
    that look alike finds both. A third show many small objects.
    """
    aspect = ASPECTS[seed % len(ASPECTS)]
    size_hw = (round(SPEC.image_size / aspect), SPEC.image_size)
    third = seed // len(ASPECTS) % 3
    if third == 1:
        return SceneSet(SceneStyle(size_hw, scale=(0.2, 0.5)), 0, copies=(2, 5)).scene(seed)
    if third == 2:
        style = SceneStyle(size_hw, count=(3, 7), scale=(0.15, 0.45), max_hidden=0.5)
        return SceneGenerator(style).scene(seed)
    return SceneGenerator(SceneStyle(size_hw, scale=(0.22, 0.65), max_hidden=0.4)).scene(seed)


def low_resolution(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the (l, l) share of each cell that the mask covers, on the padded square."""
    padded = np.zeros((SPEC.image_size, SPEC.image_size), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return cv2.resize(padded, (MASK_SIZE, MASK_SIZE), interpolation=cv2.INTER_AREA)


def collate(samples: list[Sample]) -> Batch:
    """Make a batch; images are padded to the square after normalization, as SAM does."""
    pixels = torch.zeros(len(samples), 3, SPEC.image_size, SPEC.image_size)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    for row, (image, _, _, _) in enumerate(samples):
        chw = torch.from_numpy(image).permute(2, 0, 1).float()
        pixels[row, :, : chw.shape[1], : chw.shape[2]] = (chw - mean) / std
    points, labels, targets = (
        torch.from_numpy(np.concatenate([sample[k] for sample in samples])) for k in (1, 2, 3)
    )
    return Batch(pixels, points, labels, targets)
