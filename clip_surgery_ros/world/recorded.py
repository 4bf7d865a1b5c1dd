"""Reads the recorded orbit: a wrist camera's frames of a table, with the truth about them.

It ships with the package and needs neither embreex nor manifold3d, so that the demo runs where
they cannot be installed. ``record.py`` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.frame import Box, ObjectTruth

ORBIT = Path(__file__).parent / "assets" / "orbit"
"""The folder of the orbit that ships with the package."""
TRUTH = "orbit.json"
COLOUR, DEPTH, IDS = "{:02d}.jpg", "{:02d}_depth.png", "{:02d}_ids.png"
"""Files of a frame: colour, sensor depth in millimetres (16 bits), instance ids (8 bits)."""
UNIT = 0.001
"""Metres of one step of a depth file."""


@dataclass(frozen=True)
class RecordedFrame:
    """A frame of a recording: as ``frame.Frame``, but without exact depth.

    :param rgb: (H, W, 3) uint8.
    :param sensor_depth: (H, W) float32, metres, in steps of a millimetre; 0 where there is none.
    :param ids: (H, W) uint16, instance of the object seen, 0 for the room.
    :param objects: all objects of the scene, seen or not.
    :param camera: intrinsics and pose.
    :param stamp: seconds from the beginning.
    """

    rgb: NDArray[np.uint8]
    sensor_depth: NDArray[np.float32]
    ids: NDArray[np.uint16]
    objects: tuple[ObjectTruth, ...]
    camera: Camera
    stamp: float

    def mask(self, instance: int) -> NDArray[np.bool_]:
        """Return the visible pixels of an object, (H, W)."""
        return np.asarray(self.ids == instance)


@dataclass(frozen=True)
class RecordedOrbit:
    """A recording on disk, whose frames are read one by one.

    :param folder: that its files are in.
    :param rate: frames per second. After the last frame follows the first: the orbit is closed.
    """

    folder: Path
    rate: float
    _truth: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._truth["frames"])

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield all frames, once.

        :raises WorldError: a file is missing or damaged.
        """
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> RecordedFrame:
        """Read the frame of a number, from 0 on.

        :raises WorldError: a file is missing or damaged.
        """
        entry = self._truth["frames"][index]
        camera = Camera(
            self._truth["width"],
            self._truth["height"],
            self._truth["focal"],
            np.array(entry["camera_to_world"]),
        )
        rgb = self._image(COLOUR.format(index), cv2.IMREAD_COLOR_RGB, camera)
        depth = self._image(DEPTH.format(index), cv2.IMREAD_UNCHANGED, camera)
        ids = self._image(IDS.format(index), cv2.IMREAD_UNCHANGED, camera)
        objects = tuple(
            object_of(described, *entry["seen"][str(described["instance"])])
            for described in self._truth["objects"]
        )
        metres = depth * np.float32(UNIT)
        return RecordedFrame(
            rgb, metres, ids.astype(np.uint16), objects, camera, float(entry["stamp"])
        )

    def _image(self, name: str, flags: int, camera: Camera) -> NDArray[Any]:
        """Read an image file, (H, W) or (H, W, 3)."""
        path = self.folder / name
        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise WorldError(f"{path} of a recording cannot be read: {error.strerror}") from error
        image = cv2.imdecode(data, flags) if len(data) else None
        if image is None or image.shape[:2] != (camera.height, camera.width):
            raise WorldError(
                f"{path} of a recording is damaged: it is not a picture of {camera.width} x "
                f"{camera.height}; install the package again, or record again"
            )
        return np.asarray(image)


def read_orbit(folder: Path = ORBIT) -> RecordedOrbit:
    """Open a recording: the one that ships with the package by default.

    >>> orbit = read_orbit()
    >>> len(orbit), orbit.frame(0).rgb.shape
    (24, (480, 640, 3))

    :raises WorldError: there is none in the folder, or its truth is damaged.
    """
    path = folder / TRUTH
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        orbit = RecordedOrbit(folder, float(truth["rate"]), truth)
        complete = bool(len(orbit)) and {"width", "height", "focal", "objects"} <= truth.keys()
    except OSError as error:
        raise WorldError(f"there is no recording in {folder}: {path.name} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WorldError(f"{path} is not the truth of a recording: {error!r}") from error
    if not complete:
        raise WorldError(f"{path} is not the truth of a recording: it is not complete")
    return orbit


def object_entry(truth: ObjectTruth) -> dict[str, Any]:
    """Return what a recording keeps of an object for all frames, to be written as JSON."""
    return {
        "instance": truth.instance,
        "name": truth.name,
        "colour": truth.colour,
        "finish": truth.finish,
        "pose": truth.pose.tolist(),
        "oriented": _box_entry(truth.oriented),
        "upright": _box_entry(truth.upright),
    }


def _box_entry(box: Box) -> dict[str, Any]:
    return {"pose": box.pose.tolist(), "size": box.size.tolist()}


def object_of(entry: Mapping[str, Any], pixels: int, visible: float) -> ObjectTruth:
    """Return the truth about an object in a frame; the inverse of :func:`object_entry`."""
    oriented, upright = (
        Box(np.array(entry[name]["pose"]), np.array(entry[name]["size"]))
        for name in ("oriented", "upright")
    )
    return ObjectTruth(
        int(entry["instance"]),
        entry["name"],
        entry["colour"],
        entry["finish"],
        np.array(entry["pose"]),
        oriented,
        upright,
        pixels,
        visible,
    )
