"""One object in the world: what it is, how it looks, where it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.catalogue import KINDS, Kind, Part
from clip_surgery_ros.world.frame import Box
from clip_surgery_ros.world.rigid import Pose, pose, rotation, transform


@dataclass(frozen=True)
class WorldObject:
    """An object of a scene.

    :param name: key of ``catalogue.KINDS``, unless it has an ``own_kind``.
    :param colour: key of ``colours.COLOURS``, or empty.
    :param finish: one of ``colours.FINISHES``, or empty.
    :param parts: its surfaces in its own frame.
    :param pose: (4, 4) object to world, metres.
    :param natural: its colours are those of food.
    :param look: seed of its small differences to others alike (tone, print).
    :param own_kind: how it may be placed, of an object that is not in the table.
    """

    name: str
    colour: str
    finish: str
    parts: tuple[Part, ...]
    pose: Pose
    natural: bool = False
    look: int = 0
    own_kind: Kind | None = None

    @property
    def kind(self) -> Kind:
        """How it may be placed."""
        return self.own_kind or KINDS[self.name]

    def at(self, new_pose: Pose) -> WorldObject:
        """Return the same object elsewhere."""
        return replace(self, pose=new_pose)

    @property
    def caption(self) -> str:
        """Finish, colour and name, as a sentence would have them."""
        finish = {"metallic": "metal", "glossy": "shiny"}.get(self.finish, "")
        return " ".join(word for word in (finish, self.colour, self.name) if word)

    def local_vertices(self) -> NDArray[np.float64]:
        """Return all vertices in the object's frame, (V, 3)."""
        return np.concatenate([part.vertices for part in self.parts])

    def vertices(self) -> NDArray[np.float64]:
        """Return all vertices in the world, (V, 3), in the order of :meth:`faces`."""
        return transform(self.pose, self.local_vertices())

    def faces(self) -> NDArray[np.int32]:
        """Return all faces, (F, 3), as indices into :meth:`vertices`."""
        offsets = np.cumsum([0, *(len(part.vertices) for part in self.parts)])
        return np.concatenate(
            [part.faces + offset for part, offset in zip(self.parts, offsets, strict=False)]
        ).astype(np.int32)

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return its least and greatest corner in its own frame, (3,) each."""
        vertices = self.local_vertices()
        return vertices.min(0), vertices.max(0)

    def footprint(self) -> NDArray[np.float32]:
        """Return the convex outline of its shadow from straight above, (K, 2)."""
        return np.asarray(cv2.convexHull(self.vertices()[:, :2].astype(np.float32))[:, 0])

    def oriented_box(self) -> Box:
        """Return the smallest box along the axes of its own frame."""
        low, high = self.bounds()
        return Box(self.pose @ pose(translation=(low + high) / 2), high - low)

    def upright_box(self) -> Box:
        """Return the box with a vertical axis and the smallest footprint."""
        vertices = self.vertices()
        _, _, degrees = cv2.minAreaRect(vertices[:, :2].astype(np.float32))
        turn = rotation("z", np.radians(degrees))
        # Extents once more in double precision: the rectangle is of float32.
        local = vertices @ turn
        low, high = local.min(0), local.max(0)
        return Box(pose(turn, turn @ ((low + high) / 2)), high - low)
