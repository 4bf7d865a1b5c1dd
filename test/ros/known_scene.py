"""A scene that the demo networks segment well, and the comparison of masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from clip_surgery_ros.msg import SegmentArray
from numpy.typing import NDArray

from clip_surgery_ros.world.recorded import RecordedFrame, read_orbit

VIEW = ("--views", "1")
"""Options with which the demo's camera shows the scene."""
KNOWN = ("teapot", "bowl")
"""Two separate objects whose boxes are exact to a few pixels."""
MIN_IOU = 0.7


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about some of its objects.

    :param image: (H, W, 3) uint8 RGB.
    :param names: labels, each of one object or several.
    :param masks: (H, W) bool, what each label means.
    """

    image: NDArray[np.uint8]
    names: tuple[str, ...]
    masks: tuple[NDArray[np.bool_], ...]

    def label_mask(self, name: str) -> NDArray[np.bool_]:
        """Return what a label means, (H, W)."""
        return self.masks[self.names.index(name)]


def known_scene() -> Scene:
    """Return the first view of the recorded orbit, 640 x 480, with the labels :data:`KNOWN`."""
    frame = read_orbit().frame(0)
    return Scene(frame.rgb, KNOWN, tuple(_mask(frame, name) for name in KNOWN))


def recorded_scenes(count: int) -> Iterator[Scene]:
    """Yield the first views of the recorded orbit, with all names of what each shows."""
    orbit = read_orbit()
    for number in range(count):
        frame = orbit.frame(number)
        names = tuple(dict.fromkeys(each.name for each in frame.objects if each.pixels))
        yield Scene(frame.rgb, names, tuple(_mask(frame, name) for name in names))


def _mask(frame: RecordedFrame, name: str) -> NDArray[np.bool_]:
    meant = [each.instance for each in frame.objects if each.name == name]
    return np.isin(frame.ids, meant)


def overlaps(message: SegmentArray, scene: Scene) -> dict[str, float]:
    """Return the intersection over union of each label's best segment; 0 if it was not found."""
    return {
        name: max(
            (
                _overlap_of(segment, scene.label_mask(name))
                for segment in message.segments
                if segment.label == name
            ),
            default=0.0,
        )
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
