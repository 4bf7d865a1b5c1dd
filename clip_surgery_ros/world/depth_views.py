"""Views with depth of several cameras, for measuring objects in space; they are kept on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.exposure import expose, random_exposure
from clip_surgery_ros.world.frame import ObjectTruth
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.kept_views import JPEG_QUALITY, VERSION
from clip_surgery_ros.world.recorded import object_entry, object_of
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.scene import CLUTTER, FEW, TABLE, Scene, make_scene
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.sensor import NO_ERRORS, REALISTIC, measured_depth
from clip_surgery_ros.world.sets import APART, FIRST
from clip_surgery_ros.world.view import choose_camera, measure_truth

SIZE = (640, 480)
"""Width and height of a view, pixels: what depth cameras commonly deliver."""
SENSORS = ("off", "moderate", "bad")
"""Depth cameras of a view: without errors; as ``sensor.REALISTIC``, which errs as active stereo
does; and that with twice the noise and with holes."""
NOISY = replace(REALISTIC, deviation=2 * REALISTIC.deviation)
"""Errors of the ``bad`` camera beside its holes."""
HOLES = (0.1, 0.8)
"""Least and greatest share of pixels that the ``bad`` camera loses; each view has one between."""
HOLE = 5.0
"""Deviation of the blur of noise that shapes the holes, pixels; they are about 20 across."""
STYLES = (TABLE, TABLE, FEW, CLUTTER)
"""Of the scenes, in turn: a quarter is cluttered."""
NUMBER = 11
"""Of these views among the sets, which gives their seeds; no set has it."""
UNIT = 0.0001
"""Metres of one step of a depth file; deeper than 6.5 m is not kept."""


@dataclass(frozen=True)
class DepthView:
    """A picture, what each depth camera measures, and the truth.

    :param rgb: (H, W, 3) uint8.
    :param ids: (H, W) uint16, instance seen, 0 for the room.
    :param depth: of each of :data:`SENSORS`, (H, W) float32 metres, 0 where nothing is measured.
    :param objects: all objects of the scene, seen or not.
    :param camera: intrinsics and pose.
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint16]
    depth: Mapping[str, NDArray[np.float32]]
    objects: tuple[ObjectTruth, ...]
    camera: Camera

    def mask(self, truth: ObjectTruth) -> NDArray[np.bool_]:
        """Return the visible pixels of an object, (H, W)."""
        return np.asarray(self.ids == truth.instance)


def make_depth_view(split: str, index: int, size: tuple[int, int] = SIZE) -> DepthView:
    """Render the view of a number in a split; every view follows from the two.

    :param size: width and height, pixels.
    :raises WorldError: a wheel is missing.
    """
    seed = SPLITS[split].start + FIRST + NUMBER * APART + index
    scene = make_scene(seed, STYLES[index % len(STYLES)])
    camera = choose_camera(scene, np.random.default_rng([seed, 4]), *size)
    return _view_of(scene, camera)


def _view_of(scene: Scene, camera: Camera) -> DepthView:
    geometry = build_geometry(scene.objects, scene.room.slabs)
    rendering = render(geometry, scene.light, camera)
    exposure = random_exposure(np.random.default_rng([scene.seed, 1]))
    rng = np.random.default_rng([scene.seed, 2])
    rgb = expose(rendering.light, exposure, rng)
    depth = {
        name: measured_depth(rendering, geometry, camera, errors, rng)
        for name, errors in zip(SENSORS, (NO_ERRORS, REALISTIC, NOISY), strict=True)
    }
    depth["bad"] = with_holes(depth["bad"], rng.uniform(*HOLES), rng)
    truth = measure_truth(scene.objects, rendering.ids, camera)
    return DepthView(rgb, rendering.ids, depth, truth, camera)


def with_holes(
    depth: NDArray[np.float32], share: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return depth without a share of its pixels, which are in patches.

    :param depth: (H, W) metres.
    """
    noise = cv2.GaussianBlur(rng.standard_normal(depth.shape, dtype=np.float32), (0, 0), HOLE)
    return np.where(noise < np.quantile(noise, share), np.float32(0), depth)


@dataclass(frozen=True)
class KeptDepthView:
    """A view and where it is kept.

    :param folder: of all kept views; those of another version are left alone.
    :param size: width and height, pixels.
    """

    folder: Path
    split: str
    index: int
    size: tuple[int, int] = SIZE

    @property
    def own_folder(self) -> Path:
        """The folder of this split's views."""
        size = f"{self.size[0]}x{self.size[1]}"
        return self.folder / f"version_{VERSION}" / size / self.split / "space"

    @property
    def is_kept(self) -> bool:
        """Whether all files of the view are there."""
        return all(file.is_file() for file in self._files().values())

    def render(self) -> None:
        """Render the view and keep it, unless it is there.

        :raises WorldError: it cannot be rendered.
        """
        if self.is_kept:
            return
        view = make_depth_view(self.split, self.index, self.size)
        with write_together(self.own_folder) as unfinished:
            for name, content in _contents(view).items():
                (unfinished / self._files()[name].name).write_bytes(content)

    def read(self) -> DepthView:
        """Return the view, rendered if it is not there.

        :raises WorldError: it cannot be rendered, or its files are damaged.
        """
        self.render()
        files = self._files()
        try:
            truth = json.loads(files.pop("truth").read_bytes())
            width, height = self.size
            camera = Camera(width, height, truth["focal"], np.array(truth["camera_to_world"]))
            objects = tuple(object_of(*entry) for entry in truth["objects"])
        except (OSError, ValueError, KeyError, TypeError, WorldError) as error:
            raise self._damaged() from error
        images: dict[str, NDArray[Any]] = {}
        for name, path in files.items():
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image is None or image.shape[:2] != (height, width):
                raise self._damaged()
            images[name] = image
        rgb, ids = images.pop("rgb"), images.pop("ids").astype(np.uint16)
        depth = {name: (steps * UNIT).astype(np.float32) for name, steps in images.items()}
        return DepthView(np.ascontiguousarray(rgb[..., ::-1]), ids, depth, objects, camera)

    def _files(self) -> dict[str, Path]:
        """Return the files by what they have."""
        names = {"truth": ".json", "rgb": ".jpg", "ids": "_ids.png"}
        names |= {sensor: f"_{sensor}.png" for sensor in SENSORS}
        return {what: self.own_folder / f"{self.index:05d}{end}" for what, end in names.items()}

    def _damaged(self) -> WorldError:
        return WorldError(
            f"the files of view {self.index} in {self.own_folder} are damaged; delete the folder"
        )


def _contents(view: DepthView) -> dict[str, bytes]:
    """Return what the files of a view have."""
    truth: dict[str, Any] = {
        "focal": view.camera.focal,
        "camera_to_world": view.camera.pose.tolist(),
        "objects": [(object_entry(each), each.pixels, each.visible) for each in view.objects],
    }
    contents = {
        "truth": json.dumps(truth).encode(),
        "rgb": encode_image(".jpg", view.rgb, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]),
        "ids": encode_image(".png", view.ids.astype(np.uint8)),
    }
    for sensor, metres in view.depth.items():
        steps = np.round(metres / UNIT)
        kept = np.where(steps < 2**16, steps, 0).astype(np.uint16)
        contents[sensor] = encode_image(".png", kept)
    return contents
