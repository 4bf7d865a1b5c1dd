"""ROS messages as JSON for the page, and images as JPEG. No node, no network."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import simplejpeg
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from clip_surgery_ros.core.run_lengths import run_lengths
from clip_surgery_ros.msg import AbsentLabel, HeatmapArray, Place, Segment, SegmentArray, TextQuery
from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb
from clip_surgery_ros.ros.waiting_images import stamp_text

LONGEST_SIDE = 1280
"""Pixels of a picture for the page, which shows no more; a wireless network carries this."""
JPEG_QUALITY = 80
"""Without visible blocks; half as many bytes as 90."""
_DIGITS = 4
_JPEG_START = b"\xff\xd8\xff"


def framed(content: Mapping[str, Any], picture: bytes = b"") -> bytes:
    """Return a binary message: length of the JSON (4 bytes, little endian), JSON, picture."""
    text = as_json(content).encode()
    return struct.pack("<I", len(text)) + text + picture


def as_json(content: Mapping[str, Any]) -> str:
    """Return compact JSON; :func:`number` made a null of each value that JSON does not have."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def number(value: float) -> float | None:
    """Return a number to a few digits; None for NaN and infinity.

    >>> number(0.123456), number(float("nan"))
    (0.1235, None)
    """
    return round(float(value), _DIGITS) if math.isfinite(value) else None


def query_content(query: TextQuery) -> dict[str, Any]:
    """Return a query, with a null for each label without a threshold of its own."""
    thresholds = list(query.thresholds) or [math.nan] * len(query.labels)
    return {
        "labels": list(query.labels),
        "thresholds": [number(threshold) for threshold in thresholds],
        "sequence": query.sequence,
    }


def result_content(message: SegmentArray) -> dict[str, Any]:
    """Return everything about a frame but its picture."""
    calibration = None
    if message.calibration_pictures != SegmentArray.UNCALIBRATED:
        calibration = {
            "pictures": message.calibration_pictures,
            "presence_error": number(message.presence_error),
            "score_error": number(message.score_error),
        }
    return {
        "stamp": stamp_text(message.header.stamp),
        "frame_id": message.header.frame_id,
        "query": query_content(message.query),
        "segments": [_segment(segment) for segment in message.segments],
        "absent": [_absent(absent) for absent in message.absent],
        "stages": [
            [name, number(seconds)]
            for name, seconds in zip(message.stage_names, message.stage_seconds, strict=True)
        ],
        "calibration": calibration,
    }


def _segment(segment: Segment) -> dict[str, Any]:
    box = segment.box
    mask = np.frombuffer(segment.mask.data, np.uint8).reshape(box.height, box.width) > 0
    return {
        "id": segment.id,
        "label": segment.label,
        "label_id": segment.label_id,
        "track_id": segment.track_id,
        "score": number(segment.score),
        "presence": number(segment.presence),
        "similarity": number(segment.similarity),
        "agreement": number(segment.agreement),
        "box": [box.x_offset, box.y_offset, box.width, box.height],
        "runs": run_lengths(mask) if mask.size else [],
        "points": [[point.x, point.y, point.positive] for point in segment.points],
        "place": place_content(segment.place),
    }


def place_content(place: Place) -> dict[str, Any] | None:
    """Return where an object is, metres, or why not; None for a camera without depth."""
    if not place.has_box and not place.reason:
        return None
    content: dict[str, Any] = {
        "reason": place.reason,
        "message": place.message,
        "is_lower_bound": place.is_lower_bound,
        "frame_id": place.header.frame_id,
        "box": None,
    }
    if place.has_box:
        at, turn, size = place.box.position, place.box.orientation, place.size
        content["box"] = {
            "position": [number(value) for value in (at.x, at.y, at.z)],
            "orientation": [number(value) for value in (turn.x, turn.y, turn.z, turn.w)],
            "size": [number(value) for value in (size.x, size.y, size.z)],
        }
    return content


def _absent(absent: AbsentLabel) -> dict[str, Any]:
    return {
        "label": absent.label,
        "reason": absent.reason,
        "presence": number(absent.presence),
        "presence_threshold": number(absent.presence_threshold),
    }


def heatmaps_content(message: HeatmapArray) -> dict[str, Any]:
    """Return the raw similarity of each label on the token grid, row by row."""
    values = np.round(np.array(message.values, np.float64), _DIGITS)
    values = np.nan_to_num(values.reshape(len(message.labels), -1))
    return {
        "stamp": stamp_text(message.header.stamp),
        "sequence": message.sequence,
        "labels": list(message.labels),
        "height": message.height,
        "width": message.width,
        "maps": values.tolist(),
        "thresholds": [number(threshold) for threshold in message.thresholds],
    }


def status_content(name: str, status: DiagnosticStatus) -> dict[str, Any]:
    """Return a diagnostic status.

    :param name: for people.
    """
    return {
        "name": name,
        "level": int.from_bytes(status.level, "little"),
        "message": status.message,
        "values": [[pair.key, pair.value] for pair in status.values],
    }


def statuses_of(
    node: str, statuses: Sequence[DiagnosticStatus]
) -> tuple[DiagnosticStatus | None, dict[str, DiagnosticStatus]]:
    """Return the status of a node, and those of its cameras by their names.

    :param node: full name of the node.
    :param statuses: of any nodes.
    """
    name = node.lstrip("/")
    cameras = {
        "" if (rest := status.name.removeprefix(f"{name}: ")) == "camera" else rest: status
        for status in statuses
        if status.name.startswith(f"{name}: ")
    }
    return next((status for status in statuses if status.name == name), None), cameras


def jpeg_of(message: Image | CompressedImage) -> tuple[bytes, int, int]:
    """Return an image as JPEG, and the width and height of the image itself.

    A JPEG of the camera is passed on as it is, with 0 for width and height: nobody decoded it.

    :raises ImageError: the image cannot be read.
    """
    if isinstance(message, CompressedImage):
        data = bytes(message.data)
        if data.startswith(_JPEG_START) and "bayer" not in message.format.lower():
            return data, 0, 0
        image_rgb = compressed_to_rgb(message)
    else:
        image_rgb = image_to_rgb(message)
    height, width = image_rgb.shape[:2]
    return _jpeg(image_rgb), width, height


def _jpeg(image_rgb: NDArray[np.uint8]) -> bytes:
    height, width = image_rgb.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_rgb = np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    pixels = np.ascontiguousarray(image_rgb)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=JPEG_QUALITY, colorsubsampling="420"))
