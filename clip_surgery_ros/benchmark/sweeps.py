"""How time and memory grow with labels, with prompts and with the size of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.benchmark.reference import literal_feature_surgery
from clip_surgery_ros.benchmark.setting import (
    LABELS,
    SIZE_HW,
    Row,
    Setting,
    random_images,
    unseen_images,
    without_autograd,
)
from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import PointPrompts

LITERAL_LABELS = 100
"""With more labels the literal form would need gigabytes."""
IMAGE_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))


def labels(setting: Setting, counts: Sequence[int] = (1, 10, 100, 1000)) -> Iterator[Row]:
    """Measure feature surgery of many labels: time beside the literal form, and memory."""
    tokens = torch.nn.functional.normalize(torch.randn(1, 1025, 512), dim=-1)
    this_s = {}
    for count in counts:
        # One label has the empty text beside it.
        texts = torch.nn.functional.normalize(torch.randn(max(2, count), 512), dim=-1)
        variants = {"this": without_autograd(partial(feature_surgery, tokens, texts))}
        if count <= LITERAL_LABELS:
            literal = partial(literal_feature_surgery, tokens, texts)
            variants["literal"] = without_autograd(literal)
        seconds = setting.side_by_side(variants, 2 * setting.rounds).medians()
        this_s[count] = seconds["this"]
        what = f"feature surgery, {count} labels"
        milliseconds = 1e3 * seconds["this"]
        yield Row(what, milliseconds, unit="ms", seconds=seconds, series="labels", x=count)
    added_ms = 1e3 * (this_s[100] - this_s[1])
    yield Row("feature surgery, time added from 1 to 100 labels", added_ms, "less than 10", "ms")
    added_mb = output_bytes(tokens, texts) / 1e6
    yield Row(f"feature surgery, memory added by {counts[-1]} labels", added_mb, "under 30", "MB")


def output_bytes(tokens: Tensor, text: Tensor) -> int:
    """Return the peak of bytes that torch allocates for feature surgery, without its inputs."""
    from torch.profiler import ProfilerActivity, profile

    with (
        torch.inference_mode(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run,
    ):
        feature_surgery(tokens, text)
    allocated = peak = 0
    for event in run.profiler.kineto_results.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            peak = max(peak, allocated)
    return peak


def decoding(setting: Setting, counts: Sequence[int] = (1, 5, 20)) -> Iterator[Row]:
    """Time the decoding of several prompts, of three points each, from one embedding."""
    image = next(random_images(1))
    embedding = setting.networks[1].encode(image)
    setting.unmodified.encode(image)
    for count in counts:
        xy, positive = random_points(count)
        prompts = [PointPrompts(*points) for points in zip(xy, positive, strict=True)]
        timings = setting.side_by_side(
            {
                "predict_torch": without_autograd(
                    partial(setting.unmodified.decode, xy, positive)
                ),
                "this": partial(setting.networks[1].decode, embedding, prompts),
            },
            setting.rounds,
        )
        yield Row(
            f"decoding {count} prompts: this / predict_torch",
            timings.ratio("this", "predict_torch"),
            "at most 0.25" if count == 20 else "",
            seconds=timings.medians(),
            series="prompts",
            x=count,
        )


def sizes(setting: Setting) -> Iterator[Row]:
    """Time whole frames of images from small to large; the networks' input sizes are the same."""
    return (_frame_of_size(setting, width, height) for width, height in IMAGE_SIZES)


def _frame_of_size(setting: Setting, width: int, height: int) -> Row:
    names, features = random_texts(setting.networks[0], LABELS)
    query, pipeline, next_image = (
        query_of(names),
        setting.pipeline(),
        unseen_images((height, width)),
    )
    rest_s: list[float] = []

    def run_this() -> None:
        spent = pipeline.run(next_image(), query).stage_seconds
        rest_s.append(sum(spent.values()) - spent["clip"] - spent["sam encoder"])

    variants = {
        "reference": lambda: setting.reference.run(next_image(), features),
        "this": run_this,
    }
    seconds = setting.side_by_side(variants, setting.rounds // 2 + 1).medians()
    seconds["this, without the encoders"] = float(np.median(rest_s))
    return Row(
        f"a frame of {width} x {height}",
        seconds["this"],
        unit="s",
        seconds=seconds,
        series="sizes",
        x=width * height / 1e6,
    )


def random_points(count: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return (count, 3, 2) random x, y inside the image, and (count, 3): two positive, one not."""
    generator = np.random.default_rng(1)
    xy = generator.integers(0, SIZE_HW[0], (count, 3, 2)).astype(np.int32)
    return xy, np.tile([True, True, False], (count, 1))
