"""Rendered views for the trainings, kept on disk; several processes may render them.

A run that was ended resumes: a scene whose views are all there is not rendered again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count, islice, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.exposure import expose, random_exposure
from clip_surgery_ros.world.frame import NamedObject
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.kept_views import (
    SMALL,
    damaged,
    is_kept,
    read_view,
    render_all,
    write_view,
)
from clip_surgery_ros.world.light import random_light
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.scene import (
    ALIKE,
    CLUTTER,
    FEW,
    SHELVES,
    TABLE,
    Scene,
    SceneStyle,
    make_scene,
)
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.view import choose_camera

SIZE = (384, 288)
"""Width and height of a view, pixels. A training cuts windows from it; 384 is the side of SAM's
input."""
VIEWS = 3
"""Views of a scene, each with light of its own: building a scene costs a sixth of a view."""
DEVELOPMENT_SCENES = 80
"""Scenes on which a network in training is measured."""
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


@dataclass(frozen=True)
class View:
    """A rendered picture and what is in it.

    :param rgb: (H, W, 3) uint8.
    :param ids: (H, W) uint8, instance seen, 0 for the room.
    :param objects: of the scene, seen or not.
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    objects: tuple[NamedObject, ...]


@dataclass(frozen=True)
class TrainingScene:
    """A scene of which views are kept.

    :param folder: of all views.
    :param number: of the scene in its split.
    :param size: width and height, pixels.
    :param names: of the objects that it is made of; all if empty.
    """

    folder: Path
    split: str
    number: int
    size: tuple[int, int] = SIZE
    names: tuple[str, ...] = ()

    @property
    def indices(self) -> range:
        """Indices of its views in the split."""
        return range(self.number * VIEWS, (self.number + 1) * VIEWS)

    @property
    def is_rendered(self) -> bool:
        """Whether all its views are there."""
        return all(is_kept(self.folder / self.split, index, SMALL) for index in self.indices)

    def render(self) -> None:
        """Render its views, unless they are there.

        :raises WorldError: a wheel is missing.
        """
        if self.is_rendered:
            return
        for index, view in zip(self.indices, self._views(), strict=True):
            truth = {"objects": [asdict(item) for item in view.objects]}
            write_view(self.folder / self.split, index, (view.rgb, view.ids), truth, SMALL)

    def _views(self) -> Iterator[View]:
        seed = SPLITS[self.split].start + self.number
        rng = np.random.default_rng([seed, 3])
        styles, shares = zip(*STYLES, strict=True)
        style = styles[int(rng.choice(len(styles), p=shares))]
        scene = make_scene(seed, replace(style, names=self.names))
        geometry = build_geometry(scene.objects, scene.room.slabs)
        for _ in range(VIEWS):
            lit = replace(scene, light=random_light(rng, scene.room.slabs[0].material.rgb))
            camera = choose_camera(lit, rng, *self.size, ELEVATION)
            rendering = render(geometry, lit.light, camera, antialias=False)
            rgb = expose(rendering.light, random_exposure(rng), rng)
            yield View(rgb, rendering.ids.astype(np.uint8), _objects(scene))


def _objects(scene: Scene) -> tuple[NamedObject, ...]:
    return tuple(
        NamedObject(instance, item.name, item.colour, item.finish)
        for instance, item in scene.objects.items()
    )


def render_scenes(
    folder: Path,
    split: str,
    scenes: int,
    processes: int = 1,
    size: tuple[int, int] = SIZE,
    names: tuple[str, ...] = (),
) -> None:
    """Render the first scenes of a split, with a progress bar.

    :param names: of the objects that scenes are made of; all if empty.
    """
    wanted = [TrainingScene(folder, split, number, size, names) for number in range(scenes)]
    for _ in tqdm(render_all(wanted, processes), total=scenes, unit="scene", desc=split):
        pass


class Views:
    """The views of the first scenes of a split.

    :param folder: of :func:`render_scenes`.
    :param scenes: how many; None takes all that are rendered.
    :raises WorldError: a scene is not rendered, or none is.
    """

    def __init__(self, folder: Path, split: str, scenes: int | None = None) -> None:
        self._folder = folder / split
        rendered = takewhile(lambda n: TrainingScene(folder, split, n).is_rendered, count())
        found = len(list(islice(rendered, scenes)))
        if found < (scenes or 1):
            raise WorldError(
                f"{folder} lacks scene {found} of the {split} views; run "
                f"`clip_surgery train-demo views {folder}`, with as many --scenes"
            )
        self._count = found * VIEWS

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> View:
        """Return a view.

        :raises WorldError: its files are missing or damaged.
        """
        (rgb, ids), truth = read_view(self._folder, index, SMALL)
        try:
            objects = tuple(NamedObject(**item) for item in truth["objects"])
        except (KeyError, TypeError) as error:
            raise damaged(self._folder, index) from error
        return View(rgb, ids, objects)
