"""The table of result topics: name, message type, quality of service and builder.

A new result topic is one more row of :data:`OUTPUTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Classification, Detection2DArray

from clip_surgery_ros.core import masks
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.msg import HeatmapArray, SegmentArray, TextQuery
from clip_surgery_ros.pictures import render
from clip_surgery_ros.ros import messages, qos
from clip_surgery_ros.ros.images import image_message


@dataclass(frozen=True)
class Frame:
    """A camera frame and its result.

    :param image_rgb: (H, W, 3) uint8, the source image.
    :param header: of the source image; every message about the frame gets it.
    :param query: the message of ``result.query``.
    """

    result: FrameResult
    image_rgb: NDArray[np.uint8]
    header: Header
    query: TextQuery


@dataclass(frozen=True)
class Output:
    """One result topic.

    :param name: topic below the node's own name.
    :param message_type: class of its messages.
    :param build: builds the message of a frame.
    :param needs_segments: whether its message shows segments, which the segmenter must compute.
    :param make_qos: returns a new profile of the topic's quality of service.
    """

    name: str
    message_type: type
    build: Callable[[Frame], Any]
    needs_segments: bool = True
    make_qos: Callable[[], QoSProfile] = qos.result


def _segments(frame: Frame) -> SegmentArray:
    return messages.segment_array(frame.result, frame.header, frame.query)


def _detections(frame: Frame) -> Detection2DArray:
    return messages.detection_array(frame.result, frame.header)


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
    return image_message(render.overlay(frame.image_rgb, frame.result), "rgb8", frame.header)


def _classification(frame: Frame) -> Classification:
    return messages.classification(frame.result, frame.header)


OUTPUTS = (
    Output("segments", SegmentArray, _segments),
    Output("detections", Detection2DArray, _detections),
    Output("mask", Image, _mask),
    Output("instances", Image, _instances),
    Output("confidence", Image, _confidence),
    Output("heatmap", Image, _heatmap, needs_segments=False),
    Output("heatmaps", HeatmapArray, _heatmaps, needs_segments=False),
    Output("overlay", Image, _overlay, make_qos=qos.newest_image),
    Output("classification", Classification, _classification, needs_segments=False),
)
"""All results of a frame."""


def wanted_work(subscribed: Collection[Output]) -> Wanted | None:
    """Return the work that these outputs need; None when nothing is needed."""
    if not subscribed:
        return None
    return Wanted(segments=any(output.needs_segments for output in subscribed))
