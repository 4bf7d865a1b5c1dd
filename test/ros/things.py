"""Things before a camera that tests put, move and take away, and a network that finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from ros.depth_scene import FAR, NEAR, SIZE_HW
from ros.fakes import FakeEngine, frame_result

from clip_surgery_ros.core.types import Box, FrameResult, PointPrompts, Query, Wanted

TEXTURE = np.random.default_rng(2).integers(0, 256, (*SIZE_HW, 3), np.uint8)
"""What a camera sees that stands still."""


@dataclass(frozen=True)
class Thing:
    """A board that faces the camera, NEAR in front of it.

    :param box: in the picture of ``SIZE_HW``.
    """

    name: str
    box: Box
    presence: float = 0.8

    def at(self, x: int) -> Thing:
        """Return it in another column."""
        return replace(self, box=replace(self.box, x=x))


MUG = Thing("mug", Box(x=22, y=16, width=12, height=14))
SAW = Thing("saw", Box(x=44, y=18, width=12, height=12))


class ThingsEngine(FakeEngine):
    """Finds the things that are asked for, by their true masks."""

    def __init__(self, *things: Thing) -> None:
        super().__init__()
        self.things: Sequence[Thing] = things

    def run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """Record the request and answer it."""
        super().run(image_rgb, query, wanted)
        result = frame_result(query, image_rgb.shape[:2])
        found = []
        for thing in self.things:
            if thing.name not in query.names or not wanted.segments:
                continue
            box = thing.box
            click = np.array([[box.x + box.width // 2, box.y + box.height // 2]], np.int32)
            segment = replace(
                result.segments[0],
                id=len(found) + 1,
                label=query.names.index(thing.name),
                name=thing.name,
                presence=thing.presence,
                box=box,
                mask=np.ones((box.height, box.width), np.bool_),
                points=PointPrompts(click, np.array([True])),
            )
            found.append(segment)
        return replace(result, segments=tuple(found))


def depth_of(things: Sequence[Thing]) -> NDArray[np.float32]:
    """Return (48, 64) metres: the things in front of a wall."""
    depth = np.full(SIZE_HW, FAR, np.float32)
    for thing in things:
        box = thing.box
        depth[box.y : box.y + box.height, box.x : box.x + box.width] = NEAR
    return depth
