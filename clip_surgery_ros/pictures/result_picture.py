"""One picture that shows how a result was made: the image, points, masks and maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.pictures import render


def result_picture(image_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """Draw the camera's image, the prompt points and the masks; below them, per label, the map of
    plain CLIP beside that of CLIP Surgery.

    :param image_rgb: (H, W, 3) uint8 RGB, the frame.
    :return: (H', W', 3) uint8 RGB. Without ``result.plain_similarity`` it has no maps.
    """
    found = {segment.label for segment in result.segments}
    points, masks = image_rgb.copy(), render.draw_segments(image_rgb, result.segments)
    for segment in result.segments:
        render.draw_points(points, segment.points)
    render.draw_absent(masks, [label.name for label in result.absent])
    panels = [("camera", image_rgb), ("prompt points", points), ("masks", masks)]
    if result.plain_similarity is not None:
        panels.append(("", np.full_like(image_rgb, 255)))  # maps start in a new row
        # One scale for all labels; otherwise the map of an absent label would look hot too.
        shared = (min(0.0, float(result.similarity.min())), float(result.similarity.max()))
        for index, name in enumerate(result.query.names):
            note = "" if index in found else " (not found)"
            panels += [
                (f"CLIP: {name}", render.map_picture(image_rgb, result.plain_similarity[index])),
                (
                    f"CLIP Surgery: {name}{note}",
                    render.map_picture(image_rgb, result.similarity[index], shared),
                ),
            ]
    return render.panel_grid(panels)
