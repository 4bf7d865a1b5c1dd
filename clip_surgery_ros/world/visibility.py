"""What rays meet: a protocol of two queries, and Embree's answer to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.wheels import embreex

Vectors = NDArray[np.floating]


@dataclass(frozen=True)
class Hits:
    """The nearest triangle along each of P rays.

    :param triangle: (P,) int32, -1 where the ray meets nothing.
    :param u: (P,) float32, weight of the triangle's second corner.
    :param v: (P,) float32, weight of its third.
    :param distance: (P,) float32, in lengths of the ray's direction.
    """

    triangle: NDArray[np.int32]
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    distance: NDArray[np.float32]


class Visibility(Protocol):
    """Answers ray queries about a set of triangles."""

    def first_hits(self, origins: Vectors, directions: Vectors) -> Hits:
        """Return the nearest triangle along each ray, (P, 3) each, in metres."""
        ...

    def occluded(self, origins: Vectors, segments: Vectors) -> NDArray[np.bool_]:
        """Return, (P,), whether anything is between each origin and origin + segment."""
        ...


class EmbreeVisibility:
    """Ray queries by Intel's Embree, in float32.

    :param vertices: (V, 3) metres.
    :param faces: (F, 3).
    :raises WorldError: ``embreex`` is not installed.
    """

    def __init__(self, vertices: Vectors, faces: NDArray[np.int32]) -> None:
        self._scene = embreex("rtcore_scene").EmbreeScene(robust=True)
        embreex("mesh_construction").TriangleMesh(
            self._scene,
            np.ascontiguousarray(vertices, np.float32),
            np.ascontiguousarray(faces, np.int32),
        )

    def first_hits(self, origins: Vectors, directions: Vectors) -> Hits:
        """See :class:`Visibility`."""
        if not len(origins):
            empty = np.zeros(0, np.float32)
            return Hits(np.zeros(0, np.int32), empty, empty, empty)
        result = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            output=True,
        )
        return Hits(result["primID"], result["u"], result["v"], result["tfar"])

    def occluded(self, origins: Vectors, segments: Vectors) -> NDArray[np.bool_]:
        """See :class:`Visibility`."""
        if not len(origins):
            return np.zeros(0, np.bool_)
        result = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(segments, np.float32),
            dists=np.ones(len(origins), np.float32),
            query="OCCLUDED",
        )
        return np.asarray(result == 0)
