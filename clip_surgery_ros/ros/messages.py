"""Converts results and queries to ROS messages. No node, no arithmetic on images.

Messages about an image get the header of its message, unchanged.
"""

from __future__ import annotations

import array
import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Classification,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)

from clip_surgery_ros.core.types import (
    AbsentLabel,
    Box,
    Calibration,
    FrameResult,
    PointPrompts,
    Query,
    Segment,
)
from clip_surgery_ros.msg import AbsentLabel as AbsentLabelMessage
from clip_surgery_ros.msg import HeatmapArray, PromptPoint, SegmentArray, TextQuery
from clip_surgery_ros.msg import Segment as SegmentMessage
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.space_messages import place
from clip_surgery_ros.space.objects import ObjectsInSpace
from clip_surgery_ros.tracks.types import Remembered, shown_id

NO_THRESHOLD = math.nan
"""In a message: this label uses the node's threshold."""


def time_message(stamp_ns: int) -> Time:
    """Return a stamp of nanoseconds since 1970; seconds before that are negative."""
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def query_message(query: Query, stamp: Time) -> TextQuery:
    """Return the message of a query.

    :param stamp: when the query was made.
    """
    thresholds = [
        NO_THRESHOLD if label.threshold is None else label.threshold for label in query.labels
    ]
    return TextQuery(
        header=Header(stamp=stamp),
        labels=list(query.names),
        thresholds=thresholds,
        sequence=query.sequence,
    )


def segment_array(
    result: FrameResult,
    header: Header,
    query: TextQuery,
    space: ObjectsInSpace | None = None,
    remembered: Remembered | None = None,
) -> SegmentArray:
    """Return the whole result of a frame as one message.

    :param query: the message of ``result.query``.
    :param space: where the objects are; None if that was not asked for.
    :param remembered: all objects, where they are followed over time; else None.
    """
    segments = [_segment(segment, header) for segment in result.segments]
    for message in segments:
        track = remembered.of(message.id) if remembered is not None else None
        if track is not None:
            message.track_id = track.id
            message.track_score, message.track_presence = track.score, track.presence
    if space is not None:
        for message, lifted in zip(segments, space.lifted, strict=True):
            message.place = place(lifted, space.frame, header)
    return SegmentArray(
        header=header,
        query=query,
        segments=segments,
        absent=[_absent(label) for label in result.absent],
        stage_names=list(result.stage_seconds),
        stage_seconds=list(result.stage_seconds.values()),
        **_calibration(result.calibration),
    )


def _absent(label: AbsentLabel) -> AbsentLabelMessage:
    return AbsentLabelMessage(
        label=label.name,
        reason=label.reason,
        presence=math.nan if label.presence is None else label.presence,
        presence_threshold=(
            math.nan if label.presence_threshold is None else label.presence_threshold
        ),
    )


def _calibration(calibration: Calibration | None) -> dict[str, Any]:
    """Return the fields of a SegmentArray that say what presence and score were fitted on."""
    if calibration is None:
        unknown = {"presence_error": math.nan, "score_error": math.nan}
        return {"calibration_pictures": SegmentArray.UNCALIBRATED, **unknown}
    return {
        "calibration_pictures": calibration.pictures,
        "presence_error": calibration.presence_error,
        "score_error": calibration.score_error,
    }


def _segment(segment: Segment, header: Header) -> SegmentMessage:
    box = segment.box
    return SegmentMessage(
        id=segment.id,
        label=segment.name,
        label_id=segment.label,
        score=float(segment.score),
        presence=float(segment.presence),
        similarity=float(segment.similarity),
        agreement=float(segment.agreement),
        box=RegionOfInterest(x_offset=box.x, y_offset=box.y, height=box.height, width=box.width),
        mask=image_message(segment.mask.astype(np.uint8) * 255, "mono8", header),
        points=_points(segment.points),
    )


def _points(points: PointPrompts) -> list[PromptPoint]:
    return [
        PromptPoint(x=x, y=y, positive=positive)
        for (x, y), positive in zip(points.xy.tolist(), points.positive.tolist(), strict=True)
    ]


def detection_array(
    result: FrameResult, header: Header, remembered: Remembered | None = None
) -> Detection2DArray:
    """Return the segments as boxes with a label and a score; empty when nothing was found.

    :param remembered: all objects, where they are followed over time; else None.
    """
    return Detection2DArray(
        header=header,
        detections=[
            _detection(segment, shown_id(segment, remembered), header)
            for segment in result.segments
        ],
    )


def _detection(segment: Segment, object_id: str, header: Header) -> Detection2D:
    hypothesis = ObjectHypothesis(class_id=segment.name, score=float(segment.score))
    return Detection2D(
        header=header,
        results=[ObjectHypothesisWithPose(hypothesis=hypothesis)],
        bbox=_centred_box(segment.box),
        id=object_id,
    )


def _centred_box(box: Box) -> BoundingBox2D:
    """Return a box given by its centre; a pixel covers x to x + 1."""
    message = BoundingBox2D(size_x=float(box.width), size_y=float(box.height))
    message.center.position.x = box.x + box.width / 2
    message.center.position.y = box.y + box.height / 2
    return message


def heatmap_array(result: FrameResult, header: Header) -> HeatmapArray:
    """Return every label's raw similarity on the token grid."""
    height, width = result.size_hw
    grid_height, grid_width = result.similarity.shape[1:]
    return HeatmapArray(
        header=header,
        sequence=result.query.sequence,
        labels=list(result.query.names),
        height=grid_height,
        width=grid_width,
        image_height=height,
        image_width=width,
        values=_floats(result.similarity),
        thresholds=_floats(result.thresholds),
    )


def _floats(values: NDArray[np.float32]) -> array.array[float]:
    """Return row-major float32[] as ``array.array``, which rclpy takes without a slow check."""
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())


def classification(result: FrameResult, header: Header) -> Classification:
    """Return the zero-shot probability of every label, in the query's order."""
    return Classification(
        header=header,
        results=[
            ObjectHypothesis(class_id=name, score=float(probability))
            for name, probability in zip(result.query.names, result.probabilities, strict=True)
        ],
    )


def label_info(query: Query, stamp: Time, threshold: float) -> LabelInfo:
    """Return the key of the class mask: label index to name.

    :param threshold: the score from which a pixel gets a label.
    """
    return LabelInfo(
        header=Header(stamp=stamp),
        class_map=[
            VisionClass(class_id=index, class_name=name) for index, name in enumerate(query.names)
        ],
        threshold=threshold,
    )
