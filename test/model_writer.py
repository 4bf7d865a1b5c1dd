"""Writes small textured models, as users have them, for tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np

CORNERS = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
QUADS = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (3, 2, 6, 7), (2, 0, 4, 6), (1, 3, 7, 5))
"""Corners of a box's sides, anticlockwise from outside; the second is the upper one."""
SIDE_UV = ((0, 0), (1, 0), (1, 1), (0, 1))
QUARTERS = {"red": (200, 30, 30), "green": (40, 150, 50), "blue": (30, 60, 200)}
QUARTERS["yellow"] = (220, 200, 40)


def quarters(side: int = 64) -> np.ndarray:
    """Return a picture, (side, side, 3): red and green above, blue and yellow below."""
    half = side // 2
    picture = np.zeros((side, side, 3), np.uint8)
    picture[:half, :half], picture[:half, half:] = QUARTERS["red"], QUARTERS["green"]
    picture[half:, :half], picture[half:, half:] = QUARTERS["blue"], QUARTERS["yellow"]
    return picture


def encoded(picture: np.ndarray, suffix: str = ".png") -> bytes:
    """Return the file of a picture."""
    return cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def box_arrays(size: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices (24, 3), texture coordinates (24, 2) and faces (12, 3) of a box; each side
    shows the whole picture.
    """
    vertices = np.concatenate([CORNERS[list(quad)] * size for quad in QUADS])
    uv = np.array(SIDE_UV * 6, float)
    first = 4 * np.arange(6)[:, None]
    faces = np.concatenate([first + np.array(half) for half in ((0, 1, 2), (0, 2, 3))])
    return vertices, uv, faces


def write_obj(
    file: Path,
    size: tuple[float, float, float] = (0.1, 0.08, 0.06),
    texture: str = "texture.png",
    picture: bytes | None = None,
) -> Path:
    """Write a box as OBJ, MTL and picture, and return the OBJ.

    :param picture: content of the texture's file; four quarters by default.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    vertices, uv, faces = box_arrays(size)
    lines = [f"mtllib {file.stem}.mtl", "usemtl skin"]
    lines += [f"v {x} {y} {z}" for x, y, z in vertices]
    lines += [f"vt {u} {v}" for u, v in uv]
    lines += ["f " + " ".join(f"{k + 1}/{k + 1}" for k in face) for face in faces]
    file.write_text("\n".join(lines) + "\n")
    file.with_suffix(".mtl").write_text(f"newmtl skin\nKd 1 1 1\nmap_Kd {texture}\n")
    target = file.parent / texture
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(encoded(quarters(), target.suffix) if picture is None else picture)
    return file


def write_glb(file: Path, size: tuple[float, float, float] = (0.1, 0.08, 0.06)) -> Path:
    """Write a box as GLB, and return it; glTF's textures begin at the upper left corner."""
    file.parent.mkdir(parents=True, exist_ok=True)
    vertices, uv, faces = box_arrays(size)
    chunks = [
        vertices.astype("<f4").tobytes(),
        (uv * [1, -1] + [0, 1]).astype("<f4").tobytes(),
        faces.astype("<u4").tobytes(),
        encoded(quarters()),
    ]
    chunks = [chunk + b"\0" * (-len(chunk) % 4) for chunk in chunks]
    starts = np.cumsum([0, *map(len, chunks)]).tolist()
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 24, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5126, "count": 24, "type": "VEC2"},
        {"bufferView": 2, "componentType": 5125, "count": 36, "type": "SCALAR"},
    ]
    accessors[0] |= {"min": [0, 0, 0], "max": list(size)}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "TEXCOORD_0": 1},
                        "indices": 2,
                        "material": 0,
                    }
                ]
            }
        ],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(chunk)}
            for start, chunk in zip(starts, chunks, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = b"".join(chunks)
    total = 12 + 8 + len(text) + 8 + len(body)
    head = struct.pack("<4sII", b"glTF", 2, total)
    parts = struct.pack("<I4s", len(text), b"JSON"), text, struct.pack("<I4s", len(body), b"BIN\0")
    file.write_bytes(head + b"".join(parts) + body)
    return file
