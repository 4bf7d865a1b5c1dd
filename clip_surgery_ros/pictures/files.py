"""The pictures that the demo and ``clip_surgery segment`` write."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.files import written_together
from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.pictures import render
from clip_surgery_ros.pictures.image_files import UPRIGHT, read_picture


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture file, as it is stored.

    As the node takes a camera's images: what it finds is at the same place here. A file that asks
    for a turn (Exif) is noted.

    :raises ImageError: when it is not there or not a picture.
    """
    picture = read_picture(Path(path))
    if picture.turn != UPRIGHT:
        print(
            f"note: {path} asks to be turned (Exif); it is taken as stored, as the node takes it. "
            "`mogrify -auto-orient` turns files for good",
            file=sys.stderr,
        )
    return picture.image_rgb


def check_picture_name(path: Path) -> None:
    """Refuse a name whose ending is no picture format's.

    :raises ImageError: naming an ending.
    """
    if not (path.suffix and cv2.haveImageWriter(f"x{path.suffix}")):
        raise ImageError(f"cannot write {path}: take an ending such as .png")


def write_image(path: str | Path, image_rgb: NDArray[np.uint8]) -> None:
    """Write a picture, whole or not at all, making its folder.

    :raises ImageError: when the file's ending names no picture format.
    """
    path = Path(path)
    check_picture_name(path)
    # In memory first: OpenCV does not say when a disk is full.
    encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise ImageError(f"cannot write {path}: {path.suffix} takes no such picture")
    with written_together(path.parent) as unfinished:
        (unfinished / path.name).write_bytes(data.tobytes())


def story(image_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """One picture of a frame: what came in, plain CLIP beside CLIP Surgery per label, points on
    the way, masks at the end.
    """
    found = {segment.label for segment in result.segments}
    points, masks = image_rgb.copy(), render.draw_segments(image_rgb, result.segments)
    for segment in result.segments:
        render.draw_points(points, segment.points)
    render.draw_absent(masks, [label.name for label in result.absent])
    panels = [("camera", image_rgb), ("prompt points", points), ("masks", masks)]
    if result.plain_similarity is not None:
        panels.append(("", np.full_like(image_rgb, 255)))  # maps start on a row of their own
        # One scale for all labels, or the map of a label that is not there would glow too.
        shared = (min(0.0, float(result.similarity.min())), float(result.similarity.max()))
        for index, name in enumerate(result.query.names):
            state = "" if index in found else " (not found)"
            panels += [
                (f"CLIP: {name}", render.map_picture(image_rgb, result.plain_similarity[index])),
                (
                    f"CLIP Surgery: {name}{state}",
                    render.map_picture(image_rgb, result.similarity[index], shared),
                ),
            ]
    return render.strip(panels)
