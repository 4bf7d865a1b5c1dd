"""The node's messages as results, which drawings and viewers are made of."""

from __future__ import annotations

import math

import numpy as np

from clip_surgery_ros.core.types import AbsentLabel, Box, PointPrompts, Segment
from clip_surgery_ros.msg import AbsentLabel as AbsentLabelMessage
from clip_surgery_ros.msg import Segment as SegmentMessage


def segment_of(message: SegmentMessage) -> Segment:
    r"""Return the segment of a message; its name is its ``track_id`` where it has one.

    :raises ValueError: the mask is not of the box's size.

    >>> from sensor_msgs.msg import Image, RegionOfInterest
    >>> box = RegionOfInterest(x_offset=4, y_offset=2, width=2, height=1)
    >>> message = SegmentMessage(label="mug", box=box, mask=Image(data=b"\x00\xff"))
    >>> segment_of(message).mask.tolist()
    [[False, True]]
    """
    box = Box(message.box.x_offset, message.box.y_offset, message.box.width, message.box.height)
    pixels = np.frombuffer(message.mask.data, np.uint8).reshape(box.height, box.width)
    xy = np.array([(point.x, point.y) for point in message.points], np.int32).reshape(-1, 2)
    positive = np.array([point.positive for point in message.points], np.bool_)
    return Segment(
        id=message.id,
        label=message.label_id,
        name=message.track_id or message.label,
        score=message.score,
        presence=message.presence,
        similarity=message.similarity,
        agreement=message.agreement,
        box=box,
        mask=pixels > 0,
        points=PointPrompts(xy, positive),
    )


def absent_label_of(message: AbsentLabelMessage) -> AbsentLabel:
    """Return the absent label of a message; NaN is None.

    >>> nan = math.nan
    >>> message = AbsentLabelMessage(label="saw", presence=nan, presence_threshold=nan)
    >>> absent_label_of(message).presence is None
    True
    """
    numbers = (message.presence, message.presence_threshold)
    presence, threshold = (None if math.isnan(number) else number for number in numbers)
    return AbsentLabel(message.label, message.reason, presence, threshold)
