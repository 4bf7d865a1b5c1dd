"""Draws the picture of docs/world.md: ``python -m clip_surgery_ros.world.sheet FILE.png``."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.geometry import mask_box
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.world.frame import Box, Frame
from clip_surgery_ros.world.scene import CLUTTER, SHELVES, TABLE, make_scene
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.sequences import drive_past
from clip_surgery_ros.world.view import choose_camera, view

Picture = NDArray[np.uint8]

SIZE = (400, 300)
"""Width and height of a picture, pixels."""
EDGES = [(i, j) for i in range(8) for j in range(i) if bin(i ^ j).count("1") == 1]
"""Pairs of a box's corners that an edge joins."""


def _tones(count: int) -> Picture:
    """Return a distinct colour for each instance, black for none, (count, 3)."""
    hue = (np.arange(count) * 67) % 180
    row = np.stack([hue, np.full(count, 150), np.full(count, 235)], 1).astype(np.uint8)
    tones = np.array(cv2.cvtColor(row[None], cv2.COLOR_HSV2RGB)[0])
    tones[0] = 20
    return tones


def _draw_box(picture: Picture, box: Box, frame: Frame, tone: NDArray[np.uint8]) -> None:
    """Draw the edges of a box."""
    pixels, depth = frame.camera.project(box.corners())
    if (depth < 0.05).any():
        return
    points = np.round(pixels * 8).astype(int)
    for i, j in EDGES:
        a, b = tuple(points[i].tolist()), tuple(points[j].tolist())
        cv2.line(picture, a, b, tone.tolist(), 1, cv2.LINE_AA, 3)


def truth_pictures(frame: Frame) -> tuple[Picture, Picture, Picture]:
    """Return pictures of a frame's upright boxes, of its ids and of the sensor's depth."""
    tones = _tones(int(max(t.instance for t in frame.objects)) + 1)
    boxes = frame.rgb.copy()
    for truth in frame.objects:
        if truth.pixels:
            _draw_box(boxes, truth.upright, frame, tones[truth.instance])
    depth = frame.sensor_depth
    near, far = np.percentile(depth[depth > 0], (1, 90))
    level = (np.clip((far - depth) / (far - near), 0, 1) * 255).astype(np.uint8)
    tinted = np.asarray(
        cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    )
    tinted = np.where((depth > 0)[..., None], tinted, 0).astype(np.uint8)
    return boxes, tones[frame.ids], tinted


def outlined(frame: Frame, size: tuple[int, int]) -> Picture:
    """Return a frame's picture with outlines and names of what is seen.

    :param size: width and height, pixels.
    """
    picture = np.array(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA))
    ids = cv2.resize(frame.ids, size, interpolation=cv2.INTER_NEAREST)
    tones = _tones(int(ids.max()) + 1)
    for truth in frame.objects:
        mask = ids == truth.instance
        box = mask_box(mask)
        if box is None:
            continue
        tone = tones[truth.instance].tolist()
        pixels = mask.astype(np.uint8)
        outline, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, tone, 1)
        words, x, y = f"{truth.colour} {truth.name}".strip(), box.x, max(12, box.y - 3)
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)):  # readable on any ground
            ink = (0, 0, 0) if dx or dy else tone
            place, font = (x + dx, y + dy), cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(picture, words, place, font, 0.4, ink, 1, cv2.LINE_AA)
    return picture


def contact_sheet() -> Picture:
    """Return three views, and boxes, ids and measured depth of the last, (H, W, 3)."""
    first = SPLITS["development"].start
    table, clutter = make_scene(first + 3, TABLE), make_scene(first + 5, CLUTTER)
    rng = np.random.default_rng(2)
    clock_rng = np.random.default_rng(1)  # the camera sees the face of the table's clock
    recording = drive_past(first + 9, SHELVES, size=SIZE)
    camera = recording.camera.at(recording.path(recording.duration * 0.5))
    crowded = view(clutter, choose_camera(clutter, rng, *SIZE, (30, 50)))
    top = [
        view(table, choose_camera(table, clock_rng, *SIZE, (25, 45))).rgb,
        view(recording.scene, camera).rgb,
        crowded.rgb,
    ]
    return np.vstack([np.hstack(top), np.hstack(truth_pictures(crowded))])


def main(arguments: list[str]) -> int:
    """Write the sheet; the exit status is 2 if the arguments or the packages are missing."""
    if len(arguments) != 1:
        print("usage: python -m clip_surgery_ros.world.sheet FILE.png", file=sys.stderr)
        return 2
    try:
        picture = contact_sheet()
    except WorldError as error:
        print(error, file=sys.stderr)
        return 2
    Path(arguments[0]).write_bytes(encode_image(".png", picture))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
