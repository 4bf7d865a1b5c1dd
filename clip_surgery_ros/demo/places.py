"""What the demo prints of places in space, beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clip_surgery_ros.msg import Segment as SegmentMessage
from clip_surgery_ros.msg import SegmentArray


def place_lines(segments: SegmentArray, truth: Mapping[str, Any]) -> list[str]:
    """Return a line for each segment: its id, where it is and how far from the truth, or why not.

    :param segments: with places in the frame of the truth.
    :param truth: as docs/world.md describes it.
    """
    return [
        f"  place      {one.track_id or one.label:<18} {_said(one, truth)}"
        for one in segments.segments
    ]


def _said(segment: SegmentMessage, truth: Mapping[str, Any]) -> str:
    place = segment.place
    if not place.has_box:
        return f"unknown: {place.message}" if place.reason else "not asked for"
    position, size = place.box.position, place.size
    centre = np.array([position.x, position.y, position.z])
    text = f"at ({centre[0]:.3f}, {centre[1]:.3f}, {centre[2]:.3f}) m in {place.header.frame_id}, "
    text += f"{1000 * size.x:.0f} x {1000 * size.y:.0f} x {1000 * size.z:.0f} mm"
    away = [
        float(np.linalg.norm(centre - one["upright"]["position"]))
        for one in truth["objects"]
        if segment.label.lower() in (one["name"], f"{one['colour']} {one['name']}")
    ]
    if away:
        text += f"; {1000 * min(away):.0f} mm from the truth"
    return text + (f" (a lower bound: {place.message})" if place.is_lower_bound else "")
