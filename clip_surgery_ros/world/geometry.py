"""All triangles of a scene in one set, with what shading needs to know of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.world.catalogue import Part
from clip_surgery_ros.world.materials import Material, image_material, object_material
from clip_surgery_ros.world.rigid import transform
from clip_surgery_ros.world.room import Slab
from clip_surgery_ros.world.vectors import cross, dot, lengths
from clip_surgery_ros.world.visibility import EmbreeVisibility, Visibility
from clip_surgery_ros.world.world_object import WorldObject

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """V vertices and F triangles of a scene.

    :param vertices: (V, 3) float64 in the world, metres.
    :param local: (V, 3) float32 in the frame of the vertex's object.
    :param faces: (F, 3) int32.
    :param normals: (F, 3, 3) float32 in the world, one for each corner.
    :param instance: (F,) uint16, 0 for the room.
    :param material: (F,) int32 index into ``materials``.
    :param uv: (F, 3, 2) float32, place of each corner in its material's image; (F, 3, 0) if no
        material has one.
    :param visibility: answers ray queries; its triangles are those of ``faces``.
    """

    vertices: Floats
    local: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    instance: NDArray[np.uint16]
    material: NDArray[np.int32]
    materials: tuple[Material, ...]
    uv: NDArray[np.float32]
    visibility: Visibility

    def depth(self, triangle: NDArray[np.int32], origins: Floats, rays: Floats) -> Floats:
        """Return how far along rays their triangles' planes are, (P,), in double precision.

        Embree finds which triangle is met, in single precision; this is the exact distance.
        """
        corner, normal = (table[:, triangle].T for table in self._planes)
        along = dot(normal, rays)
        safe = np.where(np.abs(along) < 1e-300, 1.0, along)
        return np.asarray(dot(normal, corner - origins) / safe)

    @cached_property
    def _planes(self) -> tuple[Floats, Floats]:
        """First corner and normal of each triangle in the world, (3, F) each."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        return np.ascontiguousarray(a.T), np.ascontiguousarray(cross(b - a, c - a).T)

    @cached_property
    def corner_normals(self) -> NDArray[np.float32]:
        """:attr:`normals` by corner, axis and triangle, (3, 3, F)."""
        return np.ascontiguousarray(self.normals.transpose(1, 2, 0))

    @cached_property
    def corner_uvs(self) -> NDArray[np.float32]:
        """:attr:`uv` by corner, axis and triangle, (3, 2, F) or (3, 0, F)."""
        return np.ascontiguousarray(self.uv.transpose(1, 2, 0))

    @cached_property
    def corner_locals(self) -> NDArray[np.float32]:
        """Corners in their object's frame by corner, axis and triangle, (3, 3, F)."""
        return np.ascontiguousarray(self.local[self.faces].transpose(1, 2, 0))

    @cached_property
    def face_normals(self) -> NDArray[np.float32]:
        """Unit normals of the triangles in their object's frame, (F, 3)."""
        a, b, c = (self.local[self.faces[:, k]] for k in range(3))
        normal = cross(b - a, c - a)
        return np.asarray(normal / np.maximum(lengths(normal), 1e-12)[:, None], np.float32)


def build_geometry(objects: Mapping[int, WorldObject], slabs: Sequence[Slab]) -> Geometry:
    """Return the triangles of objects, by instance from 1 on, and of a room.

    :raises WorldError: ``embreex`` is not installed.
    """
    vertices, local, faces, normals = [], [], [], []
    instances, materials, uvs = [], [], []
    for instance, item in objects.items():
        whole = item.bounds()
        for part in item.parts:
            vertices.append(transform(item.pose, part.vertices))
            local.append(part.vertices)
            faces.append(part.faces)
            normals.append(part.normals @ item.pose[:3, :3].T.astype(np.float32))
            instances.append(instance)
            uvs.append(part.uv)
            materials.append(_part_material(item, part, whole))
    for piece in slabs:
        v, f, n = piece.triangles()
        vertices.append(v)
        local.append(v)
        faces.append(f)
        normals.append(n)
        instances.append(0)
        materials.append(piece.material)
        uvs.append(None)
    counts = [len(f) for f in faces]
    offsets = np.cumsum([0, *(len(v) for v in vertices)])
    all_vertices = np.concatenate(vertices)
    all_faces = np.concatenate(
        [f + offset for f, offset in zip(faces, offsets, strict=False)]
    ).astype(np.int32)
    return Geometry(
        all_vertices,
        np.concatenate(local).astype(np.float32),
        all_faces,
        np.concatenate(normals).astype(np.float32),
        np.repeat(np.array(instances, np.uint16), counts),
        np.repeat(np.arange(len(materials), dtype=np.int32), counts),
        tuple(materials),
        _all_uvs(uvs, counts),
        EmbreeVisibility(all_vertices, all_faces),
    )


def _part_material(item: WorldObject, part: Part, bounds: tuple[Floats, Floats]) -> Material:
    """Return the material of a part.

    :param bounds: of the object; patterns are placed in them, those of a label in its own.
    """
    if part.image is not None:
        return image_material(part.image)
    if part.material == "label":
        bounds = part.vertices.min(0), part.vertices.max(0)
    return object_material(
        part.material, item.colour, item.finish, item.natural, bounds, item.look
    )


def _all_uvs(
    uvs: Sequence[NDArray[np.float32] | None], counts: Sequence[int]
) -> NDArray[np.float32]:
    """Return the places in images of all triangles' corners, (F, 3, 2), or (F, 3, 0) if no part
    has any.

    :param counts: triangles of each part.
    """
    if all(uv is None for uv in uvs):
        return np.zeros((sum(counts), 3, 0), np.float32)
    parts = [
        np.zeros((count, 3, 2), np.float32) if uv is None else uv
        for uv, count in zip(uvs, counts, strict=True)
    ]
    return np.concatenate(parts)
