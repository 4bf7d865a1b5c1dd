"""The node's messages as results, which pictures and summaries are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.types import FrameResult, Query
from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.msg import HeatmapArray, SegmentArray
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.ros.results import absent_label_of, segment_of

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
        segments=tuple(segment_of(one) for one in segments.segments),
        absent=tuple(absent_label_of(one) for one in segments.absent),
        stage_seconds=dict(zip(segments.stage_names, segments.stage_seconds, strict=True)),
        plain_similarity=plain,
    )


def plain_similarity(clip: ClipBackend, image_rgb: Rgb, query: Query) -> NDArray[np.float32]:
    """(T, h, w) similarity of unmodified CLIP, to show beside CLIP Surgery's: the same looks."""
    tokens, grid_hw = encode_image(clip, clip.plain_tokens, image_rgb, windows=True)
    texts = clip.text_features(query.names)
    return (tokens[0, 1:] @ texts.T).T.unflatten(-1, grid_hw).numpy()
