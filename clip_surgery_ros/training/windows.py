"""Windows of rendered views for the trainings, and their truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import open_clip
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.training.clip_model import PATCH
from clip_surgery_ros.training.world_views import View
from clip_surgery_ros.world.frame import NamedObject

MEAN = open_clip.OPENAI_DATASET_MEAN
STD = open_clip.OPENAI_DATASET_STD
LEAST_PIXELS = 24
"""Pixels that an object needs in a window to count as there, at the side of the network's input: a
third of a patch. Smaller ones are neither there nor absent."""
LEAST_SHARE = 0.35
"""Share of an object's pixels in the view that the window must hold, for the same."""
WHOLE = 0.3
"""Probability that a window is the whole view, squeezed into a square as the node does it."""

FROM_OBJECTS = 0.6
"""Share of the tokens of a step that objects have, where not all tokens are computed."""


@dataclass(frozen=True)
class Window:
    """A part of a view at the size of the network's input.

    :param rgb: (S, S, 3) uint8.
    :param owners: (N,) index into ``objects`` of the object that a token shows, -1 for the room,
        :data:`MIXED` for tokens of which no object and not the room has half.
    :param objects: objects with at least one pixel in the window.
    :param there: whether each counts as there.
    """

    rgb: NDArray[np.uint8]
    owners: NDArray[np.int64]
    objects: tuple[NamedObject, ...]
    there: tuple[bool, ...]


ROOM, MIXED = -1, -2


def choose_window(
    ids: NDArray[np.uint8], rng: np.random.Generator, tight: bool
) -> tuple[int, int, int, int]:
    """Draw left, top, width and height of a window that has an object in it.

    :param ids: (H, W).
    :param tight: close to one object; for the first steps, which learn from few objects.
    """
    height, width = ids.shape
    seen = np.unique(ids[ids > 0])
    if not len(seen) or (not tight and rng.random() < WHOLE):
        return 0, 0, width, height
    rows, columns = np.nonzero(ids == rng.choice(seen))
    extent = int(max(np.ptp(rows), np.ptp(columns))) + 1
    low = min(max(1.15 * extent, 40.0), height)
    high = min(2.2 * low, height) if tight else height
    side = float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))
    w = int(min(side * rng.uniform(1.0, 1.5), width))
    h = int(min(side, height))
    centre_x = (columns.min() + columns.max()) / 2 + rng.uniform(-0.5, 0.5) * max(w - extent, 0)
    centre_y = (rows.min() + rows.max()) / 2 + rng.uniform(-0.5, 0.5) * max(h - extent, 0)
    left = int(np.clip(centre_x - w / 2, 0, width - w))
    top = int(np.clip(centre_y - h / 2, 0, height - h))
    return left, top, w, h


def cut(view: View, window: tuple[int, int, int, int], side: int, mirrored: bool) -> Window:
    """Return a window of a view, resized to a square.

    :param window: left, top, width, height.
    :param side: of the network's input, a multiple of the patch.
    """
    rgb, ids = resized(view, window, (side, side), mirrored)
    before = np.bincount(view.ids.ravel(), minlength=256)
    inside = np.bincount(view.ids[_slices(window)].ravel(), minlength=256)
    pixels = np.bincount(ids.ravel(), minlength=256)
    objects = tuple(item for item in view.objects if pixels[item.instance])
    there = tuple(
        bool(
            pixels[item.instance] >= LEAST_PIXELS
            and inside[item.instance] >= LEAST_SHARE * before[item.instance]
        )
        for item in objects
    )
    return Window(rgb, _owners(ids, objects), objects, there)


def resized(
    view: View, window: tuple[int, int, int, int], size: tuple[int, int], mirrored: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the picture and the ids of a window at another size.

    :param window: left, top, width, height.
    :param size: width and height, pixels.
    """
    part = _slices(window)
    smooth = cv2.INTER_CUBIC if size[0] > window[2] else cv2.INTER_AREA
    rgb = cv2.resize(view.rgb[part], size, interpolation=smooth)
    ids = cv2.resize(view.ids[part], size, interpolation=cv2.INTER_NEAREST)
    if mirrored:
        rgb, ids = rgb[:, ::-1], ids[:, ::-1]
    return np.ascontiguousarray(rgb), np.ascontiguousarray(ids)


def _slices(window: tuple[int, int, int, int]) -> tuple[slice, slice]:
    left, top, width, height = window
    return slice(top, top + height), slice(left, left + width)


def _owners(ids: NDArray[np.uint8], objects: Sequence[NamedObject]) -> NDArray[np.int64]:
    """Return what each token shows, (N,)."""
    rows, columns = ids.shape[0] // PATCH, ids.shape[1] // PATCH
    tokens = ids.reshape(rows, PATCH, columns, PATCH).transpose(0, 2, 1, 3).reshape(-1, PATCH**2)
    owners = np.full(len(tokens), MIXED, np.int64)
    owners[(tokens == 0).mean(1) >= 0.95] = ROOM
    for index, item in enumerate(objects):
        owners[(tokens == item.instance).mean(1) >= 0.5] = index
    return owners


def choose_tokens(
    owners: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw tokens, (count,) in order: :data:`FROM_OBJECTS` of them of objects, where there are as
    many, the others of all that are left.

    With those of objects alone, tokens of the room are hardly learnt, and names that are not there
    find their best token in it.

    :param owners: (N,) as a :class:`Window` has them; N is at least ``count``.
    """
    order = rng.permutation(len(owners))
    of_objects = order[owners[order] >= 0][: round(FROM_OBJECTS * count)]
    others = order[~np.isin(order, of_objects)]
    return np.sort(np.concatenate([of_objects, others])[:count])


def disturbed(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture with other light, colour cast, contrast, blur, noise or JPEG errors.

    The cast stays below that at which a colour's name changes.
    """
    values = rgb.astype(np.float32) / 255
    if rng.random() < 0.7:
        gain = np.exp(rng.normal(0, 0.18)) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
        values = np.clip(values * gain.astype(np.float32), 0, 1) ** np.float32(
            np.exp(rng.normal(0, 0.15))
        )
    if rng.random() < 0.15:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.4, 1.1)))
    if rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(0.005, 0.04), values.shape).astype(np.float32)
    changed = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return _compressed(changed, int(rng.integers(35, 90))) if rng.random() < 0.1 else changed


def _compressed(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return a picture after JPEG compression."""
    _, file = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


def normalize(images: Tensor) -> Tensor:
    """Convert (B, H, W, 3) uint8 to (B, 3, H, W) with OpenAI's mean and standard deviation."""
    scaled = images.permute(0, 3, 1, 2).float() / 255
    mean, std = (scaled.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (scaled - mean) / std
