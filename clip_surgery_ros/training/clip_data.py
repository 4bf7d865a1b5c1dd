"""Batches of generated scenes for the training of the demo's CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.training.clip_model import IMAGE_SIZE, PATCH
from clip_surgery_ros.training.options import ClipOptions
from clip_surgery_ros.training.scene_data import ASPECTS, TrainingScenes, load_batches
from clip_surgery_ros.world.scenes import (
    SPLITS,
    Scene,
    SceneGenerator,
    SceneStyle,
    caption,
    squashed,
)
from clip_surgery_ros.world.sprites import NAMES

MEAN = open_clip.OPENAI_DATASET_MEAN
STD = open_clip.OPENAI_DATASET_STD
IGNORED = -100
"""Target of a token that the loss ignores, torch's default."""

Sample = tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, ...]]
"""(S, S, 3) image, (N,) targets of its tokens, and its objects as indices into ``NAMES``."""


@dataclass(frozen=True)
class Batch:
    """Scenes as the losses need them.

    :param pixels: (B, 3, S, S), normalized.
    :param present: (B, K) 1 for each object in the scene, else 0.
    :param targets: (B, N) as :func:`token_targets` returns them.
    :param captions: B texts that name the objects.
    """

    pixels: Tensor
    present: Tensor
    targets: Tensor
    captions: tuple[str, ...]


def batches(options: ClipOptions, first_step: int) -> Iterator[Batch]:
    """Return the batches from a step on."""
    return load_batches(ClipScenes(options, first_step), collate)


class ClipScenes(TrainingScenes[Sample]):
    """Scenes with the targets of their tokens."""

    options: ClipOptions

    def sample(self, number: int) -> Sample:
        """Return a scene's image, the targets of its tokens, and its objects."""
        style = style_at(number // self.options.batch, self.options, number)
        scene = SceneGenerator(style).scene(SPLITS["train"].start + number)
        return scene.image, token_targets(scene, PATCH), scene.objects


def style_at(step: int, options: ClipOptions, number: int) -> SceneStyle:
    """Return the style of a scene: the first steps show few objects, in smaller pictures.

    Objects have about the same size in pixels in all steps.

    :param number: of the scene; decides its aspect.
    """
    aspect = ASPECTS[number % len(ASPECTS)]
    if step < options.small_steps:
        return squashed(SceneStyle(count=(1, 2), scale=(0.48, 0.9)), 64, aspect)
    return squashed(SceneStyle(scale=(0.28, 0.65)), IMAGE_SIZE, aspect)


def token_targets(scene: Scene, patch: int) -> NDArray[np.int64]:
    """Return which object each token shows.

    :param patch: side of a token's patch in pixels.
    :return: (N,) the object that covers at least half of the token, K for background, and
        :data:`IGNORED` for tokens between.
    """
    count, height, width = scene.masks.shape
    grid = (height // patch, width // patch)
    share = scene.masks.reshape(count, grid[0], patch, grid[1], patch).mean(axis=(2, 4))
    share = share.reshape(count, -1)
    targets = np.full(share.shape[1], IGNORED, np.int64)
    targets[share.sum(axis=0) < 0.05] = len(NAMES)
    best = share.argmax(axis=0)
    solid = share.max(axis=0) >= 0.5
    targets[solid] = np.asarray(scene.objects)[best[solid]]
    return targets


def collate(samples: list[Sample]) -> Batch:
    """Make a batch; captions name the objects in random order."""
    images = torch.from_numpy(np.stack([image for image, _, _ in samples]))
    present = torch.zeros(len(samples), len(NAMES))
    for row, (_, _, objects) in enumerate(samples):
        present[row, list(objects)] = 1
    captions = tuple(
        caption([NAMES[i] for i in np.random.default_rng(int(image.sum())).permutation(objects)])
        for image, _, objects in samples
    )
    targets = torch.from_numpy(np.stack([targets for _, targets, _ in samples]))
    return Batch(normalize(images), present, targets, captions)


def normalize(images: Tensor) -> Tensor:
    """Convert (B, H, W, 3) uint8 to (B, 3, H, W) with OpenAI's mean and standard deviation."""
    scaled = images.permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
