"""The node's messages as results, which pictures and summaries are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import AbsentLabel, Box, FrameResult, PointPrompts, Query, Segment
from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.msg import HeatmapArray, SegmentArray
from clip_surgery_ros.msg import Segment as SegmentMessage
from clip_surgery_ros.networks.clip.backend import ClipBackend

Rgb = NDArray[np.uint8]


def result_of(
    query: Query,
    size_hw: tuple[int, int],
    segments: SegmentArray,
    heatmaps: HeatmapArray,
    plain: NDArray[np.float32],
) -> FrameResult:
    """The node's messages as the pictures want them.

    :param plain: (T, h, w) plain CLIP similarity, which the node does not publish.
    """
    grid = (len(heatmaps.labels), heatmaps.height, heatmaps.width)
    none = np.zeros(len(query.labels), np.float32)
    return FrameResult(
        query=query,
        size_hw=size_hw,
        similarity=np.array(heatmaps.values, np.float32).reshape(grid),
        presence=none,
        probabilities=none,
        thresholds=np.array(heatmaps.thresholds, np.float32),
        segments=tuple(_segment(one) for one in segments.segments),
        absent=tuple(AbsentLabel(one.label, one.reason) for one in segments.absent),
        stage_seconds=dict(zip(segments.stage_names, segments.stage_seconds, strict=True)),
        plain_similarity=plain,
    )


def _segment(message: SegmentMessage) -> Segment:
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


def plain_similarity(clip: ClipBackend, image_rgb: Rgb, query: Query) -> NDArray[np.float32]:
    """(T, h, w) similarity of unmodified CLIP, to show beside CLIP Surgery's: the same looks."""
    tokens, grid_hw = encode_image(clip, clip.plain_tokens, image_rgb, windows=True)
    texts = clip.text_features(query.names)
    return (tokens[0, 1:] @ texts.T).T.unflatten(-1, grid_hw).numpy()
