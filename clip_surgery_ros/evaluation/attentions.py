"""Compare the results of plain CLIP and of each attention of CLIP Surgery for one picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.networks.clip.surgery import ATTENTIONS
from clip_surgery_ros.networks.factory import LoadedNetworks, settings_of
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.pictures import render

Panel = tuple[str, NDArray[np.uint8]]


def results_by_attention(
    networks: LoadedNetworks, config: Config, image_rgb: NDArray[np.uint8], query: Query
) -> dict[str, FrameResult]:
    """Run the pipeline with each attention; the segmenter encodes the image once.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :return: the result by name of the attention.
    """
    segmenter = CachingSegmenter(networks.sam)
    windows = networks.windows(config)
    # All with windows or all without, so that the attentions are compared.
    config = replace(config, clip_windows="always" if windows else "never")
    results = {}
    for attention in tqdm(ATTENTIONS, unit="attention"):
        clip = networks.clip.with_attention(attention)
        profile = networks.profile(replace(config, attention=attention))
        settings = settings_of(config, clip, windows, profile)
        pipeline = Pipeline(clip, segmenter, settings, networks.device)
        results[attention] = pipeline.run(image_rgb, query, Wanted(plain_similarity=True))
    return results


def comparison_picture(
    image_rgb: NDArray[np.uint8], query: Query, results: dict[str, FrameResult], share: float
) -> NDArray[np.uint8]:
    """Draw maps, points and masks side by side, one column per attention.

    :param image_rgb: (H, W, 3) uint8 RGB.
    :param results: by name of the attention.
    :param share: threshold of the second row of maps, as a share of each map's range.
    :return: (H', W', 3) uint8 RGB.
    """
    panels = [*_panels(image_rgb, query, results, share)]
    return render.panel_grid(panels, columns=2 + len(ATTENTIONS), width=240)


def _panels(
    image_rgb: NDArray[np.uint8], query: Query, results: dict[str, FrameResult], share: float
) -> Iterator[Panel]:
    """Yield, per label, a row of maps and a row of thresholded maps; then points and masks."""
    blank = np.full_like(image_rgb, 255)
    for index, name in enumerate(query.names):
        maps = _maps(results, index)
        yield (name, image_rgb)
        for title, label_map in maps.items():
            yield (title, render.map_picture(image_rgb, label_map))
        yield ("", blank)
        for label_map in maps.values():
            yield (
                f"above {share:.0%} of its range",
                render.threshold_picture(image_rgb, label_map, share),
            )
    for title, draw in (("points", _points), ("masks", _masks)):
        yield (title, blank)
        yield ("", blank)
        for attention, result in results.items():
            yield (attention, draw(image_rgb, result))


def _maps(results: dict[str, FrameResult], index: int) -> dict[str, NDArray[np.float32]]:
    """Return the (h, w) maps of a label by title, plain CLIP's first."""
    plain = next(iter(results.values())).plain_similarity
    maps = {} if plain is None else {"CLIP": plain[index]}
    return maps | {attention: result.similarity[index] for attention, result in results.items()}


def _points(image_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    drawn = image_rgb.copy()
    for segment in result.segments:
        render.draw_points(drawn, segment.points)
    return drawn


def _masks(image_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    drawn = render.draw_segments(image_rgb, result.segments)
    render.draw_absent(drawn, [label.name for label in result.absent])
    return drawn
