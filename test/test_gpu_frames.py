"""Whole frames on a pretended GPU, by every kind of network in the catalogue.

See ``pretended_gpu.py`` for what that shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from pretended_gpu import Counts, PretendedGpu
from small_networks import small_clip, small_mobile_sam, small_sam, small_sam2

from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import UNFITTED, PresenceLevel
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.devices import PRECISIONS
from clip_surgery_ros.networks.sam.segmenters import SEGMENTERS
from clip_surgery_ros.weights.catalogue import CLIP, PRETRAINED, PretrainedNetwork

MAX_WAITS = 4
"""Waits of the host in a frame: for maps, for the segmenter's estimates, for masks on the raster,
and for masks of full size."""
MAX_LAUNCHES = 60
"""Launches of a frame: a graph is one of them."""
GPU = torch.device("cuda:0")

CLIPS: Mapping[str, Callable[[], Any]] = {
    "ViT with QuickGELU": small_clip,
    "ViT with GELU": partial(small_clip, quick_gelu=False),
    "ResNet with QuickGELU": partial(small_clip, resnet=True),
}
"""A small network of each kind, by :func:`kind`."""
SAMS: Mapping[str, Callable[[], Any]] = {
    "build_sam": small_sam,
    "build_mobile_sam": small_mobile_sam,
    "build_sam2": small_sam2,
}
PAIRS = tuple(zip(CLIPS, SAMS, strict=True))
"""Every kind in one of them."""
CLIP_SIZE = 128
"""Pixels: the ResNet's patches have 32, and a grid of 4 x 4 tokens has peaks."""
FLOWS = (
    ("reference", False, UNFITTED),
    ("instances", False, PresenceLevel(offset=0.2)),
    ("instances", True, UNFITTED),
)
"""Recipe, windows, and a presence level that is measured in the image or known."""


def kind(network: PretrainedNetwork) -> str:
    """Return what decides which code computes a network."""
    if network.kind == CLIP:
        config = open_clip.get_model_config(network.architecture)
        tower = "ResNet" if isinstance(config["vision_cfg"]["layers"], list) else "ViT"
        return f"{tower} with {'QuickGELU' if config.get('quick_gelu') else 'GELU'}"
    build: Any = SEGMENTERS[network.name].build
    return str(getattr(build, "func", build).__name__)


def test_every_network_of_the_catalogue_is_of_a_kind_that_is_run_here() -> None:
    kinds = {kind(network) for network in PRETRAINED}
    assert kinds == {*CLIPS, *SAMS} == {each for pair in PAIRS for each in pair}


def networks(
    kinds: tuple[str, str], device: str, precision: str
) -> tuple[ClipBackend, PromptableSegmenter]:
    clip = ClipBackend(
        CLIPS[kinds[0]](),
        open_clip.SimpleTokenizer(),
        device=device,
        precision=precision,
        input_size=CLIP_SIZE,
        graphs=True,
    )
    name = next(network.name for network in PRETRAINED if kind(network) == kinds[1])
    sam = SAMS[kinds[1]]()
    return clip, SEGMENTERS[name].wrap(
        sam, device=device, dtype=PRECISIONS[precision], graphs=True
    )


def smooth_picture() -> NDArray[np.uint8]:
    small = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(cv2.resize(small, (60, 48), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kinds", PAIRS, ids=" and ".join)
def test_frame_needs_few_waits_and_launches_and_gives_the_results_of_the_cpu(
    kinds: tuple[str, str], precision: str
) -> None:
    """With both recipes and with windows."""
    with PretendedGpu() as gpu:
        pairs = {device: networks(kinds, device, precision) for device in ("cpu", "cuda:0")}
        for clip, _ in pairs.values():
            names, _ = random_texts(clip, 5)
        query = query_of(names[:2])
        for recipe, windows, level in FLOWS:
            settings = Settings(
                presence_threshold=0.0,
                min_area=1,
                recipe=RECIPES[recipe],
                windows=windows,
                presence_level=level,
                distractor_names=tuple(names[2:]),
            )
            exact = precision == "float32"  # on CPUs, segmenters may run in float32 instead
            expected = Pipeline(*pairs["cpu"], settings).run(
                smooth_picture(), query, Wanted(segments=exact)
            )
            result, counts = third_frame(gpu, pairs["cuda:0"], settings, query)
            assert counts.waits.total() <= MAX_WAITS, counts.waits
            # The image, and the points of the prompts.
            assert counts.uploads.total() == 2, counts.uploads
            assert counts.bytes_up < smooth_picture().nbytes + 1000
            assert counts.launches.total() <= MAX_LAUNCHES, counts.launches
            assert counts.devices == {GPU}
            assert result.segments
            check_same(result, expected, exact)


def third_frame(
    gpu: PretendedGpu,
    pair: tuple[ClipBackend, PromptableSegmenter],
    settings: Settings,
    query: Query,
) -> tuple[FrameResult, Counts]:
    """Return the result of the third frame and what it asked of the GPU.

    The first makes tables that are kept, the second captures graphs.
    """
    for _ in range(3):
        pipeline = Pipeline(*pair, settings, "cuda:0")
        with gpu.counting() as counts:
            result = pipeline.run(smooth_picture(), query)
    return result, counts


def check_same(found: FrameResult, expected: FrameResult, exact: bool) -> None:
    """Compare a frame with that of the CPU.

    :param exact: also its segments.
    """
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-5)
    np.testing.assert_allclose(found.presence, expected.presence, atol=1e-4)
    if exact:
        for segment, wanted in zip(found.segments, expected.segments, strict=True):
            assert segment.box == wanted.box and (segment.mask == wanted.mask).all()
            assert segment.score == pytest.approx(wanted.score, abs=1e-5)
