"""The table of objects: what each is called, how it is built, which colours it is offered in."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.colours import COLOURS

if TYPE_CHECKING:
    from manifold3d import Manifold

Rng = np.random.Generator
Solid: TypeAlias = "Manifold"
Parts: TypeAlias = "list[tuple[Manifold, str]]"
"""Solids of an object, each with the name of its material."""
Builder = Callable[[Rng], Parts]

ANY = tuple(COLOURS)
"""An object that comes in each of the named colours."""

CREASE_DEGREES = 40.0
"""Faces that meet at a smaller angle are shaded as one smooth surface."""
WELD = 7
"""Decimals of a metre to which vertices of a part are equal: a tenth of a micrometre."""


@dataclass(frozen=True, eq=False)
class Part:
    """A closed surface of one material, in the object's frame (metres, z up).

    :param vertices: (V, 3) float64.
    :param faces: (F, 3) int32, anticlockwise from outside.
    :param normals: (F, 3, 3) float32, one for each corner of each face.
    :param material: name of the material; ``main`` takes the object's colour and finish. Empty
        where there is an image.
    :param image: (H, W, 3) uint8 RGB, its texture; None for the objects of the table.
    :param uv: (F, 3, 2) float32, place in the image of each corner: to the right and up, the whole
        image is 0 to 1, and it repeats.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    material: str
    image: NDArray[np.uint8] | None = None
    uv: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    :param name: what a label calls it.
    :param build: makes its parts, with proportions from a random generator.
    :param colours: colours it is offered in; empty where less than half of its surface has the
        object's colour, so that no truth about its colour is given.
    :param natural: its colours are those of food.
    :param lies: it may also rest on another side than the one it is built on.
    :param leans: it may lean on another object.
    :param holds: others may be put in it.
    :param carries: others may be stacked on it.
    :param symmetric: it looks the same from all sides (about z), so that its yaw means nothing.
    """

    name: str
    build: Builder
    colours: tuple[str, ...] = ANY
    natural: bool = False
    lies: bool = False
    leans: bool = False
    holds: bool = False
    carries: bool = False
    symmetric: bool = False


KINDS: dict[str, Kind] = {}
"""The table, by name; ``objects.py`` fills it."""


def kind(
    name: str,
    *,
    colours: tuple[str, ...] = ANY,
    natural: bool = False,
    lies: bool = False,
    leans: bool = False,
    holds: bool = False,
    carries: bool = False,
    symmetric: bool = False,
) -> Callable[[Builder], Builder]:
    """Return a decorator that enters a builder into the table; see :class:`Kind`."""

    def enter(build: Builder) -> Builder:
        KINDS[name] = Kind(name, build, colours, natural, lies, leans, holds, carries, symmetric)
        return build

    return enter


def name_number(name: str) -> int:
    """Return a number for a name, the same in every run."""
    return zlib.crc32(name.encode())


def corner_normals(
    vertices: NDArray[np.float64], faces: NDArray[np.int32], crease: float = CREASE_DEGREES
) -> NDArray[np.float32]:
    """Return a normal for each corner of each face, smooth but across creases.

    :param vertices: (V, 3).
    :param faces: (F, 3).
    :param crease: faces at a vertex are averaged when they meet at less, degrees.
    :returns: (F, 3, 3) unit vectors.
    """
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    weighted = np.cross(b - a, c - a)
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-20)
    corners = faces.ravel()
    order = np.argsort(corners, kind="stable")
    face = order // 3
    start = np.r_[0, np.flatnonzero(np.diff(corners[order])) + 1]
    count = np.diff(np.r_[start, len(order)])
    group = np.repeat(np.arange(len(start)), count)
    # Every pair (i, j) of corners at the same vertex.
    repeats = count[group]
    i = np.repeat(np.arange(len(order)), repeats)
    offset = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    j = start[group][i] + offset
    smooth = (unit[face[i]] * unit[face[j]]).sum(1) > np.cos(np.radians(crease))
    sums = np.zeros((len(order), 3))
    np.add.at(sums, i[smooth], weighted[face[j[smooth]]])
    normals = np.empty_like(sums)
    normals[order] = sums
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    return normals.reshape(-1, 3, 3).astype(np.float32)


def _part(solid: Manifold, material: str) -> Part:
    """Return the surface of a solid, its equal vertices joined."""
    mesh = solid.to_mesh64()
    welded, index = np.unique(
        np.round(mesh.vert_properties[:, :3], WELD), axis=0, return_inverse=True
    )
    faces = index.reshape(-1)[mesh.tri_verts.astype(np.int64)].astype(np.int32)
    a, b, c = faces.T
    faces = np.ascontiguousarray(faces[(a != b) & (b != c) & (a != c)])
    return Part(welded, faces, corner_normals(welded, faces), material)


@lru_cache(maxsize=4096)
def build_object(name: str, variant: int) -> tuple[Part, ...]:
    """Return an object's parts, standing on z = 0 and centred in x and y.

    :param name: in ``KINDS``.
    :param variant: seed of its proportions.
    :raises WorldError: there is no such object, or ``manifold3d`` is missing.
    """
    if name not in KINDS:
        raise WorldError(f"no object {name!r} in the world; there are: {', '.join(KINDS)}")
    rng = np.random.default_rng([name_number(name), variant])
    parts = [_part(solid, material) for solid, material in KINDS[name].build(rng)]
    vertices = np.concatenate([part.vertices for part in parts])
    low, high = vertices.min(0), vertices.max(0)
    foot = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return tuple(
        Part(part.vertices - foot, part.faces, part.normals, part.material) for part in parts
    )
