"""The table of result topics: name, message type, quality of service and builder.

A new result topic is one more row of :data:`OUTPUTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Classification, Detection2DArray, Detection3DArray
from visualization_msgs.msg import MarkerArray

from clip_surgery_ros.core import masks
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.msg import HeatmapArray, SegmentArray, TextQuery, TrackArray
from clip_surgery_ros.parameters.cameras import CameraTopic
from clip_surgery_ros.pictures import render
from clip_surgery_ros.ros import messages, qos, space_messages, track_messages
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.space.objects import ObjectsInSpace, background_points, object_points
from clip_surgery_ros.tracks.types import Remembered, shown_id


@dataclass(frozen=True)
class Frame:
    """A camera frame and its result.

    :param image_rgb: (H, W, 3) uint8, the source image.
    :param header: of the source image; every message about the frame gets it.
    :param query: the message of ``result.query``.
    :param space: where the objects are; None if that was not asked for.
    :param remembered: all objects that are followed over time, which then give the segments of
        ``result`` their ids; None where that was not asked for.
    """

    result: FrameResult
    image_rgb: NDArray[np.uint8]
    header: Header
    query: TextQuery
    space: ObjectsInSpace | None = None
    remembered: Remembered | None = None


@dataclass(frozen=True)
class Output:
    """One result topic.

    :param name: topic below the camera's name; or below the node's own name, with ``~/``, or from
        the root, for what all cameras publish together.
    :param message_type: class of its messages.
    :param build: builds the message of a frame; None if there is nothing to say.
    :param needs_segments: whether its message shows segments, which the segmenter must compute.
    :param make_qos: returns a new profile of the topic's quality of service.
    :param in_space: whether it shows places in space, of cameras that have depth.
    :param shows_ids: whether it shows ids of objects, which last where they are followed.
    """

    name: str
    message_type: type
    build: Callable[[Frame], Any]
    needs_segments: bool = True
    make_qos: Callable[[], QoSProfile] = qos.result
    in_space: bool = False
    shows_ids: bool = False


def _segments(frame: Frame) -> SegmentArray:
    return messages.segment_array(
        frame.result, frame.header, frame.query, frame.space, frame.remembered
    )


def _detections(frame: Frame) -> Detection2DArray:
    return messages.detection_array(frame.result, frame.header, frame.remembered)


def _mask(frame: Frame) -> Image:
    pixels = masks.class_mask(frame.result.segments, frame.result.size_hw)
    return image_message(pixels, "mono8", frame.header)


def _instances(frame: Frame) -> Image:
    pixels = masks.instance_map(frame.result.segments, frame.result.size_hw)
    return image_message(pixels, "mono16", frame.header)


def _confidence(frame: Frame) -> Image:
    pixels = masks.confidence_map(frame.result.segments, frame.result.size_hw)
    return image_message(pixels, "mono8", frame.header)


def _heatmap(frame: Frame) -> Image:
    return image_message(masks.combined_heatmap(frame.result), "32FC1", frame.header)


def _heatmaps(frame: Frame) -> HeatmapArray:
    return messages.heatmap_array(frame.result, frame.header)


def _overlay(frame: Frame) -> Image:
    result, remembered = frame.result, frame.remembered
    if remembered is not None:
        named = (replace(s, name=shown_id(s, remembered) or s.name) for s in result.segments)
        result = replace(result, segments=tuple(named))
    return image_message(render.overlay(frame.image_rgb, result), "rgb8", frame.header)


def _classification(frame: Frame) -> Classification:
    return messages.classification(frame.result, frame.header)


def _detections_3d(frame: Frame) -> Detection3DArray | None:
    if frame.space is None:
        return None
    return space_messages.detection_array(
        frame.result, frame.space, frame.header, frame.remembered
    )


def _points(frame: Frame) -> PointCloud2 | None:
    if frame.space is None or frame.space.depth is None:
        return None
    points, ids = object_points(frame.result, frame.space, frame.space.depth)
    return space_messages.cloud(points, frame.image_rgb, ids, frame.header)


def _background_points(frame: Frame) -> PointCloud2 | None:
    if frame.space is None or frame.space.depth is None:
        return None
    points = background_points(frame.result, frame.space, frame.space.depth)
    ids = np.zeros(frame.result.size_hw, np.uint32)
    return space_messages.cloud(points, frame.image_rgb, ids, frame.header)


def _markers(frame: Frame) -> MarkerArray | None:
    if frame.space is None:
        return None
    return space_messages.markers(frame.result, frame.space, frame.header, frame.remembered)


def _transforms(frame: Frame) -> TFMessage | None:
    message = frame.space and space_messages.transforms(frame.result, frame.space, frame.header)
    return message if message and message.transforms else None


def _tracks(frame: Frame) -> TrackArray | None:
    if frame.remembered is None:
        return None
    return track_messages.track_array(frame.remembered, frame.header)


OUTPUTS = (
    Output("segments", SegmentArray, _segments, in_space=True, shows_ids=True),
    Output("detections", Detection2DArray, _detections, shows_ids=True),
    Output("mask", Image, _mask),
    Output("instances", Image, _instances, shows_ids=True),
    Output("confidence", Image, _confidence),
    Output("heatmap", Image, _heatmap, needs_segments=False),
    Output("heatmaps", HeatmapArray, _heatmaps, needs_segments=False),
    Output("overlay", Image, _overlay, make_qos=qos.newest_image, shows_ids=True),
    Output("classification", Classification, _classification, needs_segments=False),
)
"""All results of a frame."""
SPACE_OUTPUTS = (
    Output("detections_3d", Detection3DArray, _detections_3d, in_space=True, shows_ids=True),
    Output("points", PointCloud2, _points, in_space=True, shows_ids=True),
    Output("background_points", PointCloud2, _background_points, in_space=True),
    Output("markers", MarkerArray, _markers, in_space=True, shows_ids=True),
)
"""More results, of cameras with depth."""
TRANSFORMS = Output(
    "/tf", TFMessage, _transforms, make_qos=qos.transforms, in_space=True, shows_ids=True
)
"""One more, of cameras with depth, with the parameter ``publish_tf``."""
TRACKS = Output("~/tracks", TrackArray, _tracks, shows_ids=True)
"""One more, with the parameter ``tracking``."""


def outputs_of(camera: CameraTopic) -> tuple[Output, ...]:
    """Return the results of a camera."""
    outputs = [*OUTPUTS]
    if camera.space is not None:
        outputs += [*SPACE_OUTPUTS, *([TRANSFORMS] if camera.space.publish_tf else [])]
    return (*outputs, *([TRACKS] if camera.tracking else []))


def wanted_work(subscribed: Collection[Output], tracking: bool = False) -> Wanted | None:
    """Return the work that these outputs need; None when nothing is needed.

    :param tracking: objects are followed over time, for outputs that show their ids.
    """
    if not subscribed:
        return None
    return Wanted(
        segments=any(output.needs_segments for output in subscribed),
        appearance=tracking and any(output.shows_ids for output in subscribed),
    )
