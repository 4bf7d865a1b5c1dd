"""Pictures of the study of transfer: parts of rendered views, with objects of all sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.training.windows import resized
from clip_surgery_ros.training.world_views import VIEWS, View, Views

SIZE = (320, 240)
"""Width and height of the pictures, pixels, as of the evaluation's sets."""
KINDS = ("whole", "large", "border")
"""What the views of a scene become, in turn: the whole view, whose objects are small; a window
that one object nearly fills; a window whose border cuts an object."""
LARGE = (0.4, 0.95)
"""Longer side of a large object, over the picture's shorter side."""
CUT = (0.25, 0.6)
"""Share of an object's longer side that the border cuts off."""
LEAST_ACROSS, LEAST_SHARE = 0.05, 0.35
"""Side of a square as large as the smallest object that counts as there, over the picture's
shorter side; and the share of its pixels in the view that the picture must show."""

Part = tuple[int, int, int, int]
"""Left, top, width and height, pixels."""


def kind_of(index: int) -> str:
    """Return which of :data:`KINDS` the picture of a view's number is."""
    return KINDS[index % VIEWS]


def pictures(views: Views, names: Sequence[str], count: int, first: int = 0) -> Iterator[Example]:
    """Yield the pictures of some views; all names are asked of each.

    Names of which little is seen are not asked.

    :param first: number of the first view.
    """
    for index in range(first, min(first + count, len(views))):
        view, rng = views.read(index), np.random.default_rng([index, 7])
        yield picture(view, _part(view, kind_of(index), rng), names)


def picture(view: View, part: Part, names: Sequence[str]) -> Example:
    """Return a part of a view as a picture of :data:`SIZE`."""
    rgb, ids = resized(view, part, SIZE, mirrored=False)
    left, top, width, height = part
    before = np.bincount(view.ids.ravel(), minlength=256)
    inside = np.bincount(view.ids[top : top + height, left : left + width].ravel(), minlength=256)
    pixels = np.bincount(ids.ravel(), minlength=256)
    least = (LEAST_ACROSS * SIZE[1]) ** 2
    there = [
        item
        for item in view.objects
        if pixels[item.instance] >= least
        and inside[item.instance] >= LEAST_SHARE * before[item.instance]
    ]
    seen = {item.name for item in view.objects if pixels[item.instance]}
    ignored = (ids > 0) & ~np.isin(ids, [item.instance for item in there])
    masks = [np.asarray(ids == item.instance) for item in there]
    absent = [name for name in names if name not in seen]
    return Example.of_objects(rgb, [item.name for item in there], masks, absent, ignored)


def _part(view: View, kind: str, rng: np.random.Generator) -> Part:
    height, width = view.ids.shape
    counts = np.bincount(view.ids.ravel(), minlength=256)
    large_enough = [item.instance for item in view.objects if counts[item.instance] >= 400]
    if kind == "whole" or not large_enough:
        return 0, 0, width, height
    box = _box(view.ids == rng.choice(large_enough))
    return (
        _large(box, (width, height), rng) if kind == "large" else _cut(box, (width, height), rng)
    )


def _box(mask: NDArray[np.bool_]) -> Part:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


def _large(box: Part, size: tuple[int, int], rng: np.random.Generator) -> Part:
    """Return a window that an object nearly fills, and that shows all of it."""
    left, top, width, height = box
    high = min(max(width, height) / rng.uniform(*LARGE), size[1])
    w, h = _window(high, size)
    x = left + width - w + rng.uniform() * (w - width)
    y = top + height - h + rng.uniform() * (h - height)
    return _inside(x, y, w, h, size)


def _cut(box: Part, size: tuple[int, int], rng: np.random.Generator) -> Part:
    """Return a window whose left or right border cuts an object."""
    left, top, width, height = box
    w, h = _window(max(width, height) / rng.uniform(0.25, 0.8), size)
    off = rng.uniform(*CUT) * width
    x = left + off if rng.random() < 0.5 else left + width - off - w
    return _inside(x, top + height / 2 - h / 2, w, h, size)


def _window(high: float, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a window with the shape of the view."""
    h = int(np.clip(high, 48, size[1]))
    return h * size[0] // size[1], h


def _inside(x: float, y: float, w: int, h: int, size: tuple[int, int]) -> Part:
    """Return a window moved into the view."""
    return int(np.clip(x, 0, size[0] - w)), int(np.clip(y, 0, size[1] - h)), w, h
