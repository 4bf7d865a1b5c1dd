"""The numbers of objects: each is given once."""

from __future__ import annotations

from collections.abc import Iterable

from clip_surgery_ros.core.masks import instance_value
from clip_surgery_ros.tracks.types import NO_ID


class Numbers:
    """Numbers from 1, none of them twice; several trackers may share them.

    A picture of 16 bits shows a number as its :func:`~clip_surgery_ros.core.masks.instance_value`.
    A number whose value an object has that is remembered still is left out, so that no picture
    shows two objects as one.

    :param last: the last number that was given.

    >>> numbers = Numbers()
    >>> numbers.next(()), numbers.next((1,))
    (1, 2)
    >>> Numbers(last=65_535).next((1, 2))  # 65,536 would look like 1
    65538
    """

    def __init__(self, last: int = NO_ID) -> None:
        self.last = last

    def next(self, remembered: Iterable[int]) -> int:
        """Return a new number.

        :param remembered: numbers of the objects that may be in a picture with the new one.
        """
        taken = {instance_value(number) for number in remembered}
        self.last += 1
        while instance_value(self.last) in taken:
            self.last += 1
        return self.last
