"""All objects of a frame in space: from the segments of a result and the depth of its picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.geometry import inside_box, paste, uncrop
from clip_surgery_ros.core.types import FrameResult
from clip_surgery_ros.space.depth import DepthImage
from clip_surgery_ros.space.lifting import Lifted, LiftSettings, lift
from clip_surgery_ros.space.reasons import Finding, Reason
from clip_surgery_ros.space.transforms import Rigid

MARGIN = 0.015
"""By how much masks are grown before the rest counts as background, in widths of the picture: 10
pixels of 640. Masks end up to 6 pixels early, and depth cameras smear edges by a few more."""


@dataclass(frozen=True)
class ObjectsInSpace:
    """What is known of a frame's objects in space.

    :param frame: of the boxes.
    :param lifted: one for each segment of the result, in their order.
    :param depth: registered to the picture; None if there is none.
    :param failure: why no object at all has a place; None if that is not so.
    """

    frame: str
    lifted: tuple[Lifted, ...]
    depth: DepthImage | None = None
    failure: Finding | None = None


def nowhere(count: int, frame: str, reason: Finding, depth: DepthImage | None) -> ObjectsInSpace:
    """Return that none of so many objects has a place, and why."""
    return ObjectsInSpace(frame, (Lifted(None, (reason,)),) * count, depth, reason)


def lift_all(
    result: FrameResult, depth: DepthImage, to_target: Rigid, frame: str, settings: LiftSettings
) -> ObjectsInSpace:
    """Return the objects of a frame in space.

    :param result: of a picture of the depth's size.
    :param depth: registered to the picture.
    :param to_target: takes points of the camera's frame to ``frame``.
    """
    covered = np.zeros(result.size_hw, np.int32)
    for segment in result.segments:
        inside_box(covered, segment.box)[segment.mask] += 1
    others, lifted = covered > 0, []
    for segment in result.segments:
        mask = uncrop(segment.mask, segment.box, result.size_hw)
        clicks = segment.points.xy[segment.points.positive]
        own = inside_box(others, segment.box)
        own[:] = inside_box(covered, segment.box) > segment.mask
        lifted.append(lift(depth, mask, clicks, to_target, others, settings))
        own[:] = inside_box(covered, segment.box) > 0
    last = [one.findings[-1] for one in lifted if one.box is None]
    is_unit = bool(last) and len(last) == len(lifted)
    is_unit = is_unit and all(finding.reason is Reason.UNIT for finding in last)
    return ObjectsInSpace(frame, tuple(lifted), depth, last[0] if is_unit else None)


def object_points(
    result: FrameResult, found: ObjectsInSpace, depth: DepthImage
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return the points of objects, and which object each belongs to.

    :return: (H, W, 3) metres in the camera's frame, NaN outside objects; (H, W) ids of segments,
        0 outside. Where objects share a pixel, the later one of the list has it.
    """
    points = np.full((*result.size_hw, 3), np.nan, np.float32)
    ids = np.zeros(result.size_hw, np.uint32)
    for segment, lifted in zip(result.segments, found.lifted, strict=True):
        rows, columns = lifted.rows, lifted.columns
        points[rows, columns] = depth.points_at(columns, rows)
        ids[rows, columns] = segment.id
    return points, ids


def background_points(
    result: FrameResult, found: ObjectsInSpace, depth: DepthImage
) -> NDArray[np.float32]:
    """Return the scene without the objects, (H, W, 3) metres in the camera's frame.

    NaN where nothing was measured, and on objects, which are grown by :data:`MARGIN`.
    """
    covered = np.zeros(result.size_hw, np.uint8)
    for segment, lifted in zip(result.segments, found.lifted, strict=True):
        paste(covered, segment.mask, segment.box, 1)
        covered[lifted.rows, lifted.columns] = 1
    margin = max(1, round(MARGIN * result.size_hw[1]))
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    points = depth.organised()
    points[cv2.dilate(covered, kernel) > 0] = np.nan
    return points
