"""The demo's picture of several views side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.pictures import render

WIDTH = 400
"""Of each panel, pixels."""


@dataclass(frozen=True)
class Sight:
    """A view and what was found in it.

    :param view: number of the view.
    :param image_rgb: (H, W, 3) uint8 RGB.
    :param depth: (H, W) float32, metres, 0 where there is none; None without a depth camera.
    """

    view: int
    image_rgb: NDArray[np.uint8]
    result: FrameResult
    depth: NDArray[np.float32] | None


def sights_picture(sights: Sequence[Sight]) -> NDArray[np.uint8]:
    """Return a column for each view: masks with names, the map of each label, depth.

    :param sights: at least one, all with the same query.
    :return: (H', W', 3) uint8 RGB.
    """
    panels = []
    for sight in sights:
        masks = render.draw_segments(sight.image_rgb, sight.result.segments)
        render.draw_absent(masks, [label.name for label in sight.result.absent])
        panels.append((f"view {sight.view + 1}", masks))
    for index, name in enumerate(sights[0].result.query.names):
        # One scale for all views and labels, or the map of what is not there would glow too.
        maps = np.concatenate([sight.result.similarity.ravel() for sight in sights])
        shared = (min(0.0, float(maps.min())), float(maps.max()))
        for sight in sights:
            similarity = sight.result.similarity[index]
            picture = render.map_picture(sight.image_rgb, similarity, shared)
            panels.append((f"CLIP Surgery: {name}", picture))
    for sight in sights:
        if sight.depth is not None:
            panels.append(("depth, near is red", render.depth_picture(sight.depth)))
    return render.panel_grid(panels, columns=len(sights), width=WIDTH)
