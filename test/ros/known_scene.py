"""A held-out scene that the demo networks segment well, and the comparison of masks."""

from __future__ import annotations

import numpy as np
from clip_surgery_ros.msg import SegmentArray
from numpy.typing import NDArray

from clip_surgery_ros.world.scenes import SPLITS, Scene, SceneGenerator, SceneStyle

SCENE = 55
"""Two separate objects whose boxes are exact to a pixel."""
SIZE_HW = (240, 320)
MIN_IOU = 0.7


def known_scene() -> Scene:
    """Return the scene, 320 x 240."""
    generator = SceneGenerator(SceneStyle(size_hw=SIZE_HW))
    return generator.scene(SPLITS["held_out"].start + SCENE)


def overlaps(message: SegmentArray, scene: Scene) -> dict[str, float]:
    """Return the intersection over union of each object; 0 if it was not found."""
    found = {segment.label: segment for segment in message.segments}
    return {
        name: _overlap_of(found[name], scene.label_mask(name)) if name in found else 0.0
        for name in scene.names
    }


def _overlap_of(segment: object, truth: NDArray[np.bool_]) -> float:
    return overlap(full_mask(segment, truth.shape), truth)


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks of the same size."""
    return float((mask & truth).sum() / (mask | truth).sum())


def full_mask(segment: object, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a segment's mask in the size of the image, (H, W) bool."""
    box = segment.box
    full = np.zeros(size_hw, np.bool_)
    crop = np.frombuffer(segment.mask.data, np.uint8).reshape(box.height, box.width)
    full[box.y_offset :, box.x_offset :][: box.height, : box.width] = crop > 0
    return full
