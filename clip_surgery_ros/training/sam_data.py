"""Batches of rendered views and prompts for the training of the demo's SAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.training.options import SamOptions
from clip_surgery_ros.training.sam_model import MASK_SIZE, SPEC
from clip_surgery_ros.training.sam_prompts import (
    MaskedPicture,
    click_excluding_others,
    random_points,
)
from clip_surgery_ros.training.steps import Steps
from clip_surgery_ros.training.windows import choose_window, disturbed, resized
from clip_surgery_ros.training.world_views import View
from clip_surgery_ros.world.frame import NamedObject

PROMPTS = 8
"""Prompts per picture. No object has two more than another. Eight cost a fifth more time per step
than four: most of it is the image encoder's."""
LEAST_PIXELS = 40
"""Pixels that an object needs at SAM's input size; of smaller ones no mask is asked."""
CLOSE = 0.4
"""Probability that a window is close to an object: grasping is close up."""
PROMPT_SIZES = (1, 2, 1, 12, 1, 3, 1, 12)
"""Points of a prompt, one size per batch, in turn. Sizes are not mixed: SAM would attend to
padding."""
EXCLUDING_SIZES = (2, 3)
"""Sizes of prompts with one click in the object and negative ones on its copies. They teach SAM to
separate neighbours that look alike."""
AROUND = 0.2
"""Margin around an object, as a share of the side of a square as large."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Sample = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""(H, W, 3) image, (P, K, 2) points, (P, K) labels and (P, 1 or 3, l, l) targets."""


@dataclass(frozen=True)
class Batch:
    """Pictures and prompts as the losses need them.

    :param pixels: (B, 3, S, S), normalized and padded.
    :param points: (B * P, K, 2) in input pixels.
    :param labels: (B * P, K), 1 inside the object, 0 outside.
    :param targets: (B * P, 1 or 3, l, l) share of each low-resolution cell that the object covers,
        or those of three nested masks.
    """

    pixels: Tensor
    points: Tensor
    labels: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        tensors = (self.pixels, self.points, self.labels, self.targets)
        return Batch(*(tensor.to(device) for tensor in tensors))


class PromptedSteps(Steps[Batch, SamOptions]):
    """Pictures with prompts, by step."""

    def batch(self, step: int, rng: np.random.Generator) -> Batch:
        """See :class:`Steps`."""
        size = PROMPT_SIZES[step % len(PROMPT_SIZES)]
        return collate([self._sample(rng, size) for _ in range(self.options.batch)])

    def _sample(self, rng: np.random.Generator, size: int) -> Sample:
        """Return a picture, prompts of ``size`` points, their labels and the masks they mean."""
        picture = None
        while picture is None:
            picture = masked_window(self.random_view(rng), rng)
        chosen = np.resize(rng.permutation(len(picture.masks)), PROMPTS)
        draw = click_excluding_others if size in EXCLUDING_SIZES else random_points
        points, labels = zip(*(draw(picture, int(k), size, rng) for k in chosen), strict=True)
        targets = [
            self._targets(picture, int(k), xy[0]) for k, xy in zip(chosen, points, strict=True)
        ]
        return picture.image, np.stack(points), np.stack(labels), np.stack(targets)

    def _targets(
        self, picture: MaskedPicture, index: int, click: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the (1 or 3, l, l) masks that a prompt means."""
        masks = nested_masks(picture, index, click)
        return np.stack([*map(low_resolution, masks if self.options.nested else masks[1:2])])


def nested_masks(
    picture: MaskedPicture, index: int, click: NDArray[np.float32]
) -> list[NDArray[np.bool_]]:
    """Return a part of an object, the object, and the object with what is around it.

    The part is the half on the click's side of the middle of the object's longer axis. Around it
    are the objects that nearly touch it; where there are none, a margin.

    :param click: (2,) x, y.
    """
    whole = picture.masks[index]
    pixels = np.argwhere(whole)
    middle = pixels.mean(axis=0)
    axis = np.linalg.svd(pixels - middle, full_matrices=False)[2][0] if len(pixels) > 2 else [1, 0]
    rows, columns = np.indices(whole.shape)
    side = (rows - middle[0]) * axis[0] + (columns - middle[1]) * axis[1]
    clicked = (click[1] - middle[0]) * axis[0] + (click[0] - middle[1]) * axis[1]
    part = whole & ((side >= 0) == (clicked >= 0))
    margin = 2 * round(AROUND * len(pixels) ** 0.5) + 1
    near = cv2.dilate(whole.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0
    touching = [mask for k, mask in enumerate(picture.masks) if k != index and (mask & near).any()]
    around = np.any([whole, *touching], axis=0) if touching else near
    return [part, whole, around]


def masked_window(view: View, rng: np.random.Generator) -> MaskedPicture | None:
    """Return a window of a view whose longer side is SAM's input size; None if it shows no object
    that is large enough.
    """
    left, top, width, height = choose_window(view.ids, rng, tight=bool(rng.random() < CLOSE))
    scale = SPEC.image_size / max(width, height)
    size = (round(width * scale), round(height * scale))
    rgb, ids = resized(view, (left, top, width, height), size, mirrored=bool(rng.random() < 0.5))
    return masked_picture(disturbed(rgb, rng), ids, view.objects)


def masked_picture(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], objects: Sequence[NamedObject]
) -> MaskedPicture | None:
    """Return a picture with the masks of objects that are large enough; None if there are none."""
    pixels = np.bincount(ids.ravel(), minlength=256)
    kept = [item for item in objects if pixels[item.instance] >= LEAST_PIXELS]
    if not kept:
        return None
    masks = np.stack([ids == item.instance for item in kept])
    return MaskedPicture(np.ascontiguousarray(rgb), masks, tuple(item.name for item in kept))


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
