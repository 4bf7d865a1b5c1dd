"""Rendered views for the trainings, kept on disk in shards that any number of processes make.

A shard is a folder ``00017`` with pictures ``00.jpg`` (RGB), instance ids ``00.png`` and one
``views.json``. It is written under another name and renamed, so that a run that was ended resumes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.world.exposure import expose, random_exposure
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.light import random_light
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.scene import (
    ALIKE,
    CLUTTER,
    SHELVES,
    TABLE,
    Scene,
    SceneStyle,
    make_scene,
)
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.view import choose_camera

WIDTH, HEIGHT = 384, 288
"""Pixels of a view. A training cuts windows from it; 384 is the side of SAM's input."""
SCENES = 20
"""Scenes of a shard."""
VIEWS = 3
"""Views of a scene, each with light of its own: building a scene costs a sixth of a view."""
DEVELOPMENT_SHARDS = 4
"""Shards on which a network in training is measured."""
FEW = SceneStyle(count=(1, 3), reach=0.12, alike=0.1)
STYLES: tuple[tuple[SceneStyle, float], ...] = (
    (TABLE, 0.4),
    (FEW, 0.2),
    (ALIKE, 0.15),
    (CLUTTER, 0.15),
    (SHELVES, 0.1),
)
"""What the training scenes are like, and how often."""
ELEVATION = (15.0, 75.0)
"""Of cameras, degrees: from across the table to nearly from above."""
JPEG_QUALITY = 93


@dataclass(frozen=True)
class ViewObject:
    """An object of a view.

    :param instance: its value in the ids.
    :param name: as ``world.objects.NAMES`` has it.
    :param colour: as ``world.colours.COLOURS`` has it, or empty.
    :param finish: one of ``world.colours.FINISHES``, or empty.
    """

    instance: int
    name: str
    colour: str
    finish: str


@dataclass(frozen=True)
class View:
    """A rendered picture and what is in it.

    :param rgb: (H, W, 3) uint8.
    :param ids: (H, W) uint8, instance seen, 0 for the room.
    :param objects: of the scene, seen or not.
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    objects: tuple[ViewObject, ...]


def scene_views(seed: int) -> Iterator[View]:
    """Yield the views of the scene of a seed."""
    rng = np.random.default_rng([seed, 3])
    styles, shares = zip(*STYLES, strict=True)
    scene = make_scene(seed, styles[int(rng.choice(len(styles), p=shares))])
    geometry = build_geometry(scene.objects, scene.room.slabs)
    for _ in range(VIEWS):
        lit = replace(scene, light=random_light(rng, scene.room.slabs[0].material.rgb))
        camera = choose_camera(lit, rng, WIDTH, HEIGHT, ELEVATION)
        rendering = render(geometry, lit.light, camera, antialias=False)
        rgb = expose(rendering.light, random_exposure(rng), rng)
        yield View(rgb, rendering.ids.astype(np.uint8), _objects(scene))


def _objects(scene: Scene) -> tuple[ViewObject, ...]:
    return tuple(
        ViewObject(instance, item.name, item.colour, item.finish)
        for instance, item in scene.objects.items()
    )


def shard_folder(folder: Path, split: str, shard: int) -> Path:
    """Return where a shard is or will be."""
    return folder / split / f"{shard:05d}"


def render_shard(folder: Path, split: str, shard: int) -> None:
    """Render a shard, unless it is there."""
    target = shard_folder(folder, split, shard)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_together(target.parent) as unfinished:
        whole = unfinished / target.name
        whole.mkdir()
        described: list[list[dict[str, Any]]] = []
        first = SPLITS[split].start + shard * SCENES
        for scene in range(SCENES):
            for view in scene_views(first + scene):
                _write(whole / f"{len(described):02d}", view)
                described.append([asdict(item) for item in view.objects])
        (whole / "views.json").write_text(json.dumps(described))


def _write(stem: Path, view: View) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    cv2.imwrite(str(stem.with_suffix(".jpg")), np.ascontiguousarray(view.rgb[..., ::-1]), quality)
    cv2.imwrite(str(stem.with_suffix(".png")), view.ids)


@cache
def _described(folder: Path) -> tuple[tuple[ViewObject, ...], ...]:
    """Return the objects of the views of a shard."""
    entries = json.loads((folder / "views.json").read_text())
    return tuple(tuple(ViewObject(**item) for item in objects) for objects in entries)


def read_view(folder: Path, split: str, number: int) -> View:
    """Read a view by its number, counted over all shards.

    :raises WorldError: a file is missing or damaged.
    """
    shard = shard_folder(folder, split, number // (SCENES * VIEWS))
    within = number % (SCENES * VIEWS)
    stem = shard / f"{within:02d}"
    bgr = cv2.imread(str(stem.with_suffix(".jpg")))
    ids = cv2.imread(str(stem.with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    if bgr is None or ids is None:
        raise WorldError(
            f"{stem}.jpg or .png is missing or damaged; delete {shard} and render it again"
        )
    return View(
        np.ascontiguousarray(bgr[..., ::-1]), ids.astype(np.uint8), _described(shard)[within]
    )


def render_shards(folder: Path, split: str, count: int) -> None:
    """Render the first shards of a split that are missing, with a progress bar.

    Several processes may do this at the same time: each shard is rendered by one of them.
    """
    for shard in tqdm(range(count), unit="shard", desc=split):
        if shard_folder(folder, split, shard).exists():
            continue
        lock = FileLock(folder / f"{split}_{shard:05d}.lock")
        with contextlib.suppress(Timeout), lock.acquire(timeout=0):
            render_shard(folder, split, shard)


def check_views(folder: Path, shards: int) -> None:
    """Check that what a training needs is there.

    :param shards: of the training split.
    :raises WorldError: a shard of the development or the training split is missing.
    """
    for split, count in (("development", DEVELOPMENT_SHARDS), ("train", shards)):
        for shard in range(count):
            if not shard_folder(folder, split, shard).exists():
                raise WorldError(
                    f"{folder} lacks shard {shard} of the {split} views; run "
                    f"`clip_surgery train-demo views {folder} --shards {shards}`"
                )
