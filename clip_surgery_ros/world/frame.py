"""What a camera of the world sees, and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.rigid import Pose


@dataclass(frozen=True)
class Box:
    """A box in the world.

    :param pose: (4, 4) frame of the box's centre to the world, metres.
    :param size: (3,) along the frame's axes, metres.
    """

    pose: Pose
    size: NDArray[np.float64]

    @property
    def centre(self) -> NDArray[np.float64]:
        """Its centre in the world, (3,)."""
        return self.pose[:3, 3]

    def corners(self) -> NDArray[np.float64]:
        """Return its corners in the world, (8, 3)."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        local = signs * self.size / 2
        return np.asarray(local @ self.pose[:3, :3].T + self.pose[:3, 3])


@dataclass(frozen=True)
class NamedObject:
    """What an object of a picture is called.

    :param instance: its value in the ids, from 1; the same in all frames of a sequence.
    :param name: what it is, as ``catalogue.KINDS`` calls it.
    :param colour: key of ``colours.COLOURS``, or empty where no colour is true of it.
    :param finish: one of ``colours.FINISHES``, or empty.
    """

    instance: int
    name: str
    colour: str
    finish: str


@dataclass(frozen=True)
class ObjectTruth(NamedObject):
    """The truth about one object of a frame.

    :param pose: (4, 4) object to world, metres.
    :param oriented: smallest box along the axes of the object's own frame.
    :param upright: smallest box with a vertical axis.
    :param pixels: how many pixels it has in the picture.
    :param visible: its pixels over those that it would have alone in a picture without border,
        0 to 1; 0 also if it has none.
    """

    pose: Pose
    oriented: Box
    upright: Box
    pixels: int
    visible: float


@dataclass(frozen=True)
class Frame:
    """A picture with depth, and the truth about it.

    :param rgb: (H, W, 3) uint8.
    :param depth: (H, W) float32, metres along the optical axis, 0 where there is none.
    :param sensor_depth: (H, W) float32, what a depth camera would measure instead.
    :param ids: (H, W) uint16, instance of the object seen, 0 for the room.
    :param objects: all objects of the scene, seen or not.
    :param camera: intrinsics and pose.
    :param stamp: seconds from the beginning of a sequence.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    sensor_depth: NDArray[np.float32]
    ids: NDArray[np.uint16]
    objects: tuple[ObjectTruth, ...]
    camera: Camera
    stamp: float = 0.0

    def mask(self, instance: int) -> NDArray[np.bool_]:
        """Return the visible pixels of an object, (H, W)."""
        return np.asarray(self.ids == instance)
