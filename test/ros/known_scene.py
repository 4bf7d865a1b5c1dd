"""A held-out scene whose masks the demo networks are known to find, and the comparison."""

from __future__ import annotations

import numpy as np
from clip_surgery_ros.msg import SegmentArray
from numpy.typing import NDArray

from clip_surgery_ros.world.scenes import SPLITS, Scene, SceneGenerator, SceneStyle

SCENE = 55
"""Two objects that do not touch, whose boxes come out to a pixel."""
SIZE_HW = (240, 320)
LEAST_IOU = 0.7


def known_scene() -> Scene:
    """The scene, 320 x 240."""
    generator = SceneGenerator(SceneStyle(size_hw=SIZE_HW))
    return generator.scene(SPLITS["held_out"].start + SCENE)


def overlaps(message: SegmentArray, scene: Scene) -> dict[str, float]:
    """Intersection over union of each object of the scene; 0 for one that was not found."""
    found = {segment.label: segment for segment in message.segments}
    return {
        name: _overlap_of(found[name], scene.label_mask(name)) if name in found else 0.0
        for name in scene.names
    }


def _overlap_of(segment: object, truth: NDArray[np.bool_]) -> float:
    return overlap(whole_mask(segment, truth.shape), truth)


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one size."""
    return float((mask & truth).sum() / (mask | truth).sum())


def whole_mask(segment: object, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool of a segment's mask, which is cropped to its box."""
    box = segment.box
    whole = np.zeros(size_hw, np.bool_)
    crop = np.frombuffer(segment.mask.data, np.uint8).reshape(box.height, box.width)
    whole[box.y_offset :, box.x_offset :][: box.height, : box.width] = crop > 0
    return whole
