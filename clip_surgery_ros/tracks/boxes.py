"""Boxes round the points of remembered objects, computed once for each sighting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.space.boxes import BoxMode, SpaceBox, box_of

Points = NDArray[np.float32]

LEAST_POINTS = 3
"""Points that a box needs."""
MOST_BOXES = 1000
"""Boxes that are kept: twice the objects that a tracker keeps."""


class TrackBoxes:
    """The boxes of objects. Most objects that are remembered are not seen, and their boxes stay.

    :param mode: of the boxes.
    :param up: (3,) against gravity; None if it is not known.
    """

    def __init__(self, mode: BoxMode = "upright", up: NDArray[np.float64] | None = None) -> None:
        self.mode, self.up = mode, up
        self._known: dict[int, tuple[Points, SpaceBox]] = {}

    def of(self, number: int, points: Points) -> SpaceBox | None:
        """Return the box round an object's points, (P, 3) metres; None without enough of them.

        :param number: of the object.
        """
        if len(points) < LEAST_POINTS:
            return None
        known = self._known.get(number)
        if known is not None and known[0] is points:
            return known[1]
        box = box_of(points, self.mode, self.up, None)
        if len(self._known) >= MOST_BOXES:
            self._known.clear()
        self._known[number] = points, box
        return box
