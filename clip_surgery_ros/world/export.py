"""Writes scenes as files: pictures, depth, ids, truth, COCO annotations and a sheet to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.core.run_lengths import run_lengths
from clip_surgery_ros.world.asking import Thing, is_there
from clip_surgery_ros.world.frame import Frame
from clip_surgery_ros.world.models import Model, choose_items
from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.record import depth_steps
from clip_surgery_ros.world.recorded import UNIT, object_entry
from clip_surgery_ros.world.scene import TABLE, Scene, SceneStyle, make_scene, scene_of
from clip_surgery_ros.world.sheet import outlined
from clip_surgery_ros.world.view import choose_camera, view
from clip_surgery_ros.world.words import SYNONYMS

SIZE = (640, 480)
"""Width and height of a picture, pixels."""
PICTURE, MEASURED, EXACT, IDS, TRUTH = (
    "{:05d}.png",
    "{:05d}_measured_depth.png",
    "{:05d}_exact_depth.png",
    "{:05d}_ids.png",
    "{:05d}.json",
)
"""Files of a scene; depth is in millimetres, 16 bits, 0 where there is none."""
ANNOTATIONS, SHEET = "annotations.json", "sheet.png"
ON_SHEET, COLUMNS, SMALL = 12, 3, (400, 300)
"""Pictures on the sheet, in a row, and the size of each."""
MODELS = SceneStyle(count=(4, 9), lying=0.0, on_others=0.0)
"""Scenes of models: they stand apart, as nothing is known about how they could rest."""
TRIES = 20
"""Seeds tried for a scene in which an object finds room."""


@dataclass(frozen=True)
class Source:
    """Where scenes come from.

    :param names: of all objects that may occur.
    :param synonyms: of names.
    :param scene: makes the scene of a seed.
    """

    names: tuple[str, ...]
    synonyms: Mapping[str, tuple[str, ...]]
    scene: Callable[[int], Scene]


def own_objects() -> Source:
    """Return scenes of the world's own objects."""
    return Source(NAMES, SYNONYMS, lambda seed: make_scene(seed, TABLE))


def users_models(models: Sequence[Model]) -> Source:
    """Return scenes of models from files, at least one."""
    names = tuple(dict.fromkeys(model.words.name for model in models))
    synonyms = {model.words.name: model.words.synonyms for model in models}
    return Source(
        names,
        synonyms,
        lambda seed: scene_of(seed, choose_items(models, seed, MODELS.count), MODELS),
    )


@dataclass
class _Annotations:
    """A COCO file that grows scene by scene."""

    numbers: Mapping[str, int]
    images: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)

    def add(self, index: int, frame: Frame) -> None:
        """Add a picture. Objects of which too little is seen are crowds: nobody asks for them, and
        their pixels count neither way.
        """
        height, width = frame.ids.shape
        number = index + 1
        name = PICTURE.format(index)
        self.images.append({"id": number, "file_name": name, "height": height, "width": width})
        for truth in frame.objects:
            mask = frame.mask(truth.instance)
            box = mask_box(mask)
            if box is None:
                continue
            self.objects.append(
                {
                    "id": len(self.objects) + 1,
                    "image_id": number,
                    "category_id": self.numbers[truth.name],
                    "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                    "bbox": [box.x, box.y, box.width, box.height],
                    "area": truth.pixels,
                    "iscrowd": int(not is_there(Thing.of(truth), min(height, width))),
                }
            )

    def content(self) -> dict[str, Any]:
        """Return what the file holds."""
        categories = [{"id": number, "name": name} for name, number in self.numbers.items()]
        return {"images": self.images, "annotations": self.objects, "categories": categories}


def frames(source: Source, seeds: Sequence[int]) -> Iterator[tuple[Scene, Frame]]:
    """Yield a view of the scene of each seed.

    A scene in which no object finds room, or none is seen, is replaced by another.

    :raises WorldError: none of several is better, or a package is missing.
    """
    for seed in seeds:
        for again in range(TRIES):
            scene = source.scene(seed + again * 1_000_003)
            if not scene.objects:
                continue
            rng = np.random.default_rng([scene.seed, 5])
            frame = view(scene, choose_camera(scene, rng, *SIZE))
            if frame.ids.any():
                break
        else:
            raise WorldError(
                f"scene {seed}: no object found room on any of {TRIES} tables; are all of the "
                "models very large?"
            )
        yield scene, frame


def export(source: Source, folder: Path, seeds: Sequence[int]) -> None:
    """Write the scenes of seeds into a folder, with a progress bar; all files or none.

    :raises WorldError: a scene cannot be made, or a package is missing.
    """
    from tqdm import tqdm

    numbers = {name: k + 1 for k, name in enumerate(sorted(source.names))}
    annotations, pictures = _Annotations(numbers), []
    with write_together(folder) as unfinished:
        made = tqdm(frames(source, seeds), total=len(seeds), unit="scene", disable=None)
        for index, (scene, frame) in enumerate(made):
            _write_scene(unfinished, index, scene, frame, source.synonyms)
            annotations.add(index, frame)
            if index < ON_SHEET:
                pictures.append(outlined(frame, SMALL))
        _write_json(unfinished / ANNOTATIONS, annotations.content())
        _write_image(unfinished / SHEET, _sheet(pictures))


def _sheet(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return pictures of one size side by side, in rows."""
    columns = min(COLUMNS, len(pictures))
    blank = np.zeros_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.hstack(padded[k : k + columns]) for k in range(0, len(padded), columns)]
    return np.vstack(rows)


def _write_scene(
    folder: Path,
    index: int,
    scene: Scene,
    frame: Frame,
    synonyms: Mapping[str, tuple[str, ...]],
) -> None:
    """Write the files of one scene."""
    _write_image(folder / PICTURE.format(index), frame.rgb)
    _write_image(folder / MEASURED.format(index), depth_steps(frame.sensor_depth))
    _write_image(folder / EXACT.format(index), depth_steps(frame.depth))
    _write_image(folder / IDS.format(index), frame.ids.astype(np.uint8))
    camera = frame.camera
    objects = [
        {
            **object_entry(truth),
            "synonyms": list(synonyms.get(truth.name, ())),
            "symmetric": scene.objects[truth.instance].kind.symmetric,
            "pixels": truth.pixels,
            "visible": truth.visible,
        }
        for truth in frame.objects
    ]
    truth = {
        "seed": scene.seed,
        "width": camera.width,
        "height": camera.height,
        "camera_matrix": camera.matrix.tolist(),
        "camera_to_world": camera.pose.tolist(),
        "depth_unit": UNIT,
        "objects": objects,
    }
    _write_json(folder / TRUTH.format(index), truth)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _write_image(path: Path, image: NDArray[Any]) -> None:
    path.write_bytes(encode_image(path.suffix, image))
