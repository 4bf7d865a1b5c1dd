"""Reads one textured model, OBJ or GLB, as parts of an object. ``trimesh`` parses the files."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.catalogue import Part, corner_normals
from clip_surgery_ros.world.vectors import lengths
from clip_surgery_ros.world.wheels import trimesh

LEAST_SIZE, LARGEST_SIZE = 0.004, 1.5
"""Metres along the longest side: what is smaller or larger is in another unit."""
MOST_TRIANGLES = 400_000
MOST_AT_A_POINT = 20_000_000
"""Pairs of triangles that meet at a point, over all points; a fan of 4,000 triangles has 16
million."""
MOST_TEXELS = 1024
"""Sides of a texture beyond this are reduced: it would only alias."""
LARGEST_FILE = 2**29
"""Bytes of a file that is read."""
THIN = 1e-3
"""Least extent over the longest: a plane has no volume, but a box of cereal has."""
WELD = 6
"""Decimals of a metre to which vertices are one, so that normals are smooth across the seams of
a texture."""
PLAIN = (180, 180, 180)
"""sRGB of a part without any colour."""

PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    SyntaxError,  # Pillow's, of a broken PNG
    TypeError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)
"""What trimesh and Pillow raise for damaged files: they do not check before they read."""


class ModelError(WorldError):
    """A model cannot be used; the message names its file."""


@dataclass(frozen=True)
class _Mesh:
    """One mesh of a file: V vertices, F triangles.

    :param image: (H, W, 3) uint8; one pixel if it has no texture.
    :param uv: (F, 3, 2).
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    image: NDArray[np.uint8]
    uv: NDArray[np.float32]
    textured: bool


@dataclass(frozen=True)
class _NamedFiles:
    """Finds the files that a model names, as trimesh's resolvers do; never outside of its folders.

    :param folders: beside it, and where Google Scanned Objects keeps textures.
    """

    folders: tuple[Path, ...]

    def get(self, name: str) -> bytes:
        """Return the content of a file.

        :raises FileNotFoundError: it is in none of the folders.
        """
        for folder in self.folders:
            path = (folder / name.replace("\\", "/")).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                return path.read_bytes()
        raise FileNotFoundError(name)

    def __getitem__(self, name: str) -> bytes:
        """Return the content of a file, see :meth:`get`."""
        return self.get(name)


def read_model(file: Path, up: str, scale: float) -> tuple[Part, ...]:
    """Return the parts of a model in metres, z up, standing on z = 0, centred in x and y.

    :param up: the file's axis that points up: ``x``, ``y`` or ``z``.
    :param scale: metres of one unit of the file.
    :raises ModelError: it is damaged, has no texture, no volume, or a size that no object has.
    :raises WorldError: trimesh is not installed.
    """
    meshes = _meshes(file)
    if not any(mesh.textured for mesh in meshes):
        raise ModelError(
            f"{file} has no texture: an OBJ needs a MTL with map_Kd, whose picture lies beside "
            "it, and texture coordinates; a GLB has its pictures in itself"
        )
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = np.concatenate([m.faces + at for m, at in zip(meshes, offsets, strict=False)])
    vertices = _standing(file, vertices, faces, up, scale)
    welded, index = np.unique(np.round(vertices, WELD), axis=0, return_inverse=True)
    faces = index.reshape(-1)[faces].astype(np.int32)
    a, b, c = (welded[faces[:, k]] for k in range(3))
    good = lengths(np.cross(b - a, c - a)) > 1e-14
    counts = np.bincount(faces[good].ravel(), minlength=1).astype(np.float64)
    if (counts**2).sum() > MOST_AT_A_POINT:
        raise ModelError(f"{file} is degenerate: thousands of its triangles meet at one point")
    if good.sum() < 4:
        raise ModelError(f"{file} is degenerate: {int(good.sum())} of its triangles have an area")
    normals = np.zeros((len(faces), 3, 3), np.float32)
    normals[good] = corner_normals(welded, np.ascontiguousarray(faces[good]))
    ends = np.cumsum([0, *(len(mesh.faces) for mesh in meshes)])
    parts = [
        _part(welded, faces[first:last], normals[first:last], good[first:last], mesh)
        for mesh, first, last in zip(meshes, ends, ends[1:], strict=False)
    ]
    return tuple(part for part in parts if len(part.faces))


def _part(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    normals: NDArray[np.float32],
    good: NDArray[np.bool_],
    mesh: _Mesh,
) -> Part:
    """Return the part of one mesh: its good triangles and the vertices that they use."""
    used, index = np.unique(faces[good], return_inverse=True)
    own = index.reshape(-1, 3).astype(np.int32)
    return Part(vertices[used], own, normals[good], "", mesh.image, mesh.uv[good])


def _standing(
    file: Path,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    up: str,
    scale: float,
) -> NDArray[np.float64]:
    """Return vertices in metres, z up, standing and centred.

    :raises ModelError: the size is not that of an object, or there is no volume.
    """
    turned = {
        "x": vertices[:, [1, 2, 0]],
        "y": vertices[:, [2, 0, 1]],
        "z": vertices,
    }[up] * scale
    used = turned[np.unique(faces)]
    low, high = used.min(0), used.max(0)
    size = high - low
    longest = float(size.max())
    if not LEAST_SIZE <= longest <= LARGEST_SIZE:
        raise ModelError(_size_message(file, longest, scale))
    if size.min() < THIN * longest:
        raise ModelError(f"{file} is degenerate: flat, {size.min():.2g} m thin")
    return turned - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])


def _size_message(file: Path, longest: float, scale: float) -> str:
    """Return what is wrong with a size, and which scale would be right."""
    hint = "give its scale, the metres of one unit, in objects.json"
    for unit, metres in (("mm", 0.001), ("cm", 0.01), ("inches", 0.0254)):
        if 0.02 <= longest / scale * metres <= LARGEST_SIZE / 2:
            hint += f'; files in {unit} want "scale": {metres}'
            break
    limits = f"{LEAST_SIZE * 1000:.0f} mm to {LARGEST_SIZE} m"
    return f"{file} is {longest:.3g} m across, but objects are {limits}: {hint}"


def _meshes(file: Path) -> list[_Mesh]:
    """Return the meshes of a file, in its own unit and axes.

    :raises ModelError: it is damaged or empty.
    """
    library = trimesh()
    named = _NamedFiles((file.parent, file.parent.parent / "materials" / "textures"))
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{file} is larger than {LARGEST_FILE >> 20} MiB")
        scene = library.load_scene(
            io.BytesIO(file.read_bytes()),
            file_type=file.suffix.lower().removeprefix("."),
            resolver=named,
            process=False,
        )
        placed = [
            (scene.geometry[name], np.asarray(matrix, np.float64))
            for matrix, name in map(scene.graph.get, scene.graph.nodes_geometry)
        ]
        meshes = [
            _mesh(geometry, matrix)
            for geometry, matrix in placed
            if isinstance(geometry, library.Trimesh) and len(geometry.faces)
        ]
    except PARSER_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ModelError(f"{file} is damaged or not a model: {reason}") from error
    if not meshes:
        raise ModelError(f"{file} has no triangles")
    _check(file, meshes)
    return meshes


def _check(file: Path, meshes: Sequence[_Mesh]) -> None:
    """Check numbers that a parser does not.

    :raises ModelError: one is wrong.
    """
    count = sum(len(mesh.faces) for mesh in meshes)
    if count > MOST_TRIANGLES:
        raise ModelError(
            f"{file} has {count} triangles, at most {MOST_TRIANGLES} can be used; simplify it"
        )
    for mesh in meshes:
        if not (np.isfinite(mesh.vertices).all() and np.isfinite(mesh.uv).all()):
            raise ModelError(f"{file} has vertices or texture coordinates that are no numbers")
        if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
            raise ModelError(f"{file} has triangles between vertices that are not there")


def _mesh(geometry: Any, matrix: NDArray[np.float64]) -> _Mesh:
    """Return a mesh of trimesh's, moved to its place in the file's scene."""
    vertices = np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    faces = np.asarray(geometry.faces, np.int64)
    material = getattr(geometry.visual, "material", None)
    picture = getattr(material, "baseColorTexture", None)
    drawn = getattr(material, "image", None)
    if drawn is not None and "file_path" in drawn.info:  # not one that trimesh has made itself
        picture = drawn
    uv = getattr(geometry.visual, "uv", None)
    if picture is None or uv is None or len(uv) != len(vertices):
        colour = getattr(material, "main_color", PLAIN)
        image = np.asarray(colour, np.uint8)[:3].reshape(1, 1, 3)
        return _Mesh(vertices, faces, image, np.zeros((len(faces), 3, 2), np.float32), False)
    image = np.asarray(picture.convert("RGB"), np.uint8)
    factor = getattr(material, "baseColorFactor", None)
    if factor is not None:
        tint = np.asarray(factor, np.float64)[:3]
        tint = tint / 255 if tint.max() > 1 else tint
        image = np.round(image * tint).astype(np.uint8)
    return _Mesh(vertices, faces, _reduced(image), np.asarray(uv, np.float32)[faces], True)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a texture whose sides are at most ``MOST_TEXELS``."""
    height, width = image.shape[:2]
    factor = MOST_TEXELS / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
