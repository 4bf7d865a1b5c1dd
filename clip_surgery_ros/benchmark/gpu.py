"""What a GPU is asked for, and whether it computes correctly: times, waits, memory, precision."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import cycle

import numpy as np
import open_clip
import torch
from torch import Tensor

from clip_surgery_ros.benchmark.networks import CLIP_MODEL, random_texts
from clip_surgery_ros.benchmark.setting import (
    LABELS,
    SIZE_HW,
    Row,
    Setting,
    random_images,
    unseen_images,
)
from clip_surgery_ros.benchmark.timing import median_event_seconds
from clip_surgery_ros.core.errors import ConfigError, DeviceError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.points import MAX_PEAKS
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.text import PromptEnsemble
from clip_surgery_ros.core.types import FrameResult, Query

CLICKS = LABELS * MAX_PEAKS
"""Most clicks of a frame by the recipe ``instances``."""
ENCODER_MS: Mapping[str, str] = {"vit_b": "at most 3.5", "vit_h": "at most 13"}
"""Wanted of SAM's encoder on an H100, by network."""
WARM_UP_FRAMES = 20
"""Until then tables of both sizes of images are made, and their graphs are captured."""
OTHER_SIZE_HW, EVERY = (480, 640), 10
"""Every tenth image has another size, as those of a second camera."""
HUGE_HW = (4320, 7680)
"""An image whose copies in float32 do not fit into :data:`MARGIN_BYTES`."""
MARGIN_BYTES = 2**26
"""Memory that is left above that of ordinary frames before one is processed that needs more."""


def frames(setting: Setting) -> Iterator[Row]:
    """Time frames by both recipes, and the reference, from an array to segments on the host."""
    _check_gpu(setting)
    names, features = random_texts(setting.networks[0], LABELS)
    query, next_image, pipelines = query_of(names), unseen_images(SIZE_HW), _pipelines(setting)

    def run(what: str) -> FrameResult:
        return pipelines[what].run(next_image(), query)

    timings = setting.side_by_side(
        {
            **{what: partial(run, what) for what in pipelines},
            "reference": lambda: setting.reference.run(next_image(), features),
        },
        2 * setting.rounds,
    )
    for what, wanted in zip(pipelines, ("at most 12", "at most 15"), strict=True):
        yield Row(f"a frame, {what}", 1e3 * timings.median(what), wanted, "ms")
    seconds = timings.medians()
    for what in pipelines:
        ratio = timings.ratio("reference", what)
        yield Row(f"a frame: reference / {what}", ratio, "at least 6", seconds=seconds)


def encoders(setting: Setting) -> Iterator[Row]:
    """Time both image encoders by the GPU's events, from the image on the GPU to features."""
    _check_gpu(setting)
    clip, segmenter = setting.networks
    image = torch.from_numpy(next(random_images(1, SIZE_HW))).to(setting.device)
    wanted = ENCODER_MS.get(setting.sam_model, "")
    runs: list[tuple[str, Callable[[], object], str]] = [
        (f"SAM's encoder {setting.sam_model}", lambda: segmenter.encode(image), wanted),
        ("CLIP, the image", lambda: clip.image_tokens(image, windows=False), "at most 0.8"),
        (
            "CLIP, the image and four windows",
            lambda: clip.image_tokens(image, windows=True),
            "at most 2.5",
        ),
    ]
    for what, run, limit in runs:
        seconds = median_event_seconds(run, setting.device, 4 * setting.rounds)
        yield Row(f"{what}, by events", 1e3 * seconds, limit, "ms")


def waits(setting: Setting) -> Iterator[Row]:
    """Count how often the host waits for the GPU in a frame, by torch's own reports."""
    _check_gpu(setting)
    names, _ = random_texts(setting.networks[0], LABELS)
    query, next_image = query_of(names), unseen_images(SIZE_HW)
    for what, pipeline in _pipelines(setting).items():
        for _ in range(2):  # the first makes tables, the second captures graphs
            pipeline.run(next_image(), query)
        with reported_waits() as reports:
            pipeline.run(next_image(), query)
        for line, count in Counter(f"{x.filename}:{x.lineno}" for x in reports).items():
            print(f"the host waits at {line}: {count}", file=sys.stderr)
        yield Row(f"host waits of a frame, {what}", len(reports), "at most 4")


def memory(setting: Setting, frame_count: int = 1000) -> Iterator[Row]:
    """Measure how much memory frames leave behind, and what happens when it runs out."""
    _check_gpu(setting)
    names, _ = random_texts(setting.networks[0], LABELS)
    query, device = query_of(names), torch.device(setting.device)
    *_, pipeline = _pipelines(setting).values()
    sources = cycle([*[unseen_images(SIZE_HW)] * (EVERY - 1), unseen_images(OTHER_SIZE_HW)])
    for _ in range(WARM_UP_FRAMES):
        pipeline.run(next(sources)(), query)
    before = _used_bytes(device)
    for _ in range(frame_count):
        pipeline.run(next(sources)(), query)
    for what, after in _used_bytes(device).items():
        growth = (after - before[what]) / 1e6
        yield Row(f"memory {what}, growth over {frame_count} frames", growth, "0", "MB")
    survived = survives_shortage(pipeline, query, device)
    yield Row("memory runs out: said, dropped, and the next frame is right", survived, "1")


def survives_shortage(pipeline: Pipeline, query: Query, device: torch.device) -> bool:
    """Whether a frame that needs too much memory is told and dropped, and the next one is right.

    torch may use little more than an ordinary frame does, while an image comes that needs more.
    """
    first, second = random_images(2, SIZE_HW)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    expected = pipeline.run(first, query)
    pipeline.run(second, query)
    limit = torch.cuda.max_memory_reserved(device) + MARGIN_BYTES
    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / whole), device)
    try:
        pipeline.run(next(random_images(1, HUGE_HW)), query)
    except DeviceError as error:
        print(f"the frame was dropped: {error}", file=sys.stderr)
        found = pipeline.run(first, query)
        return len(found.segments) == len(expected.segments) and all(
            np.array_equal(a.mask, b.mask)
            for a, b in zip(found.segments, expected.segments, strict=True)
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    return False


def exactness(setting: Setting) -> Iterator[Row]:
    """Compare what the networks compute with the reference in float64 on the CPU."""
    image, text = next(random_images(1, SIZE_HW)), ["red mug"]
    (clip, segmenter), exact = setting.networks, setting.exact
    tokenize = open_clip.get_tokenizer(CLIP_MODEL)
    with torch.inference_mode():
        exact.encode(image)
        ensemble = PromptEnsemble(
            lambda prompts: exact.encode_text(tokenize(list(prompts))),
            clip.text.ensemble.templates,
        )
        pairs = {
            "CLIP's tokens": (
                clip.surgery_tokens(clip.preprocess(image)),
                exact.tokens(exact.preprocess(image)),
            ),
            "text features": (clip.text_features(text), ensemble(text)),
            "SAM's embedding": (
                segmenter.encode(image).features.image.tokens,
                exact.decoder_input(),
            ),
        }
    wanted = "at most 1e-4" if setting.precision == "float32" else ""
    for what, (found, expected) in pairs.items():
        yield Row(f"{what}: error against float64 on the CPU", error_of(found, expected), wanted)


def error_of(found: Tensor, expected: Tensor) -> float:
    """Return the relative error in norm of a tensor of any device; NaN if it has one."""
    difference = found.cpu().double() - expected.double()
    return float(difference.norm() / expected.double().norm())


@contextmanager
def reported_waits() -> Iterator[list[warnings.WarningMessage]]:
    """Yield a list to which torch adds a warning each time that the host waits for a GPU.

    It does not report a wait for an event or for the whole device; a frame has none.
    """
    with warnings.catch_warnings(record=True) as reports:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield reports
        finally:
            torch.cuda.set_sync_debug_mode("default")
        reports[:] = [report for report in reports if "synchroniz" in str(report.message)]


def _pipelines(setting: Setting) -> Mapping[str, Pipeline]:
    """Return a pipeline for each recipe, as users run it, by its name for rows."""
    return {
        f"recipe reference, {LABELS} labels": setting.pipeline(),
        f"recipe instances with windows, up to {CLICKS} clicks": setting.pipeline(
            RECIPES["instances"], windows=True
        ),
    }


def _used_bytes(device: torch.device) -> Mapping[str, int]:
    return {
        "in use": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
    }


def _check_gpu(setting: Setting) -> None:
    """Check that a GPU is measured.

    :raises ConfigError: when it is the CPU.
    """
    if setting.device == "cpu":
        raise ConfigError(
            "this measurement needs a GPU, but the device is the CPU; set --device cuda:0"
        )
