"""How cost grows: with labels, with prompts, with the size of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.benchmark.setting import (
    LABELS,
    SIZE_HW,
    Row,
    Setting,
    endless,
    frames,
    inference,
)
from clip_surgery_ros.benchmark.stock import literal_feature_surgery
from clip_surgery_ros.benchmark.timing import side_by_side
from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import PointPrompts

LITERAL_LABELS = 100
"""More would take the literal form gigabytes."""
IMAGE_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))


def labels(setting: Setting, counts: Sequence[int] = (1, 10, 100, 1000)) -> Iterator[Row]:
    """Maps of many labels: time beside the literal form's, and memory."""
    tokens = torch.nn.functional.normalize(torch.randn(1, 1025, 512), dim=-1)
    this_s = {}
    for count in counts:
        # One label is compared with the empty text.
        texts = torch.nn.functional.normalize(torch.randn(max(2, count), 512), dim=-1)
        ways = {"this": inference(partial(feature_surgery, tokens, texts))}
        if count <= LITERAL_LABELS:
            ways["literal"] = inference(partial(literal_feature_surgery, tokens, texts))
        timings = side_by_side(ways, 2 * setting.rounds)
        seconds = {way: timings.median(way) for way in ways}
        this_s[count] = seconds["this"]
        what = f"feature surgery, {count} labels"
        milliseconds = 1e3 * seconds["this"]
        yield Row(what, milliseconds, unit="ms", seconds=seconds, series="labels", x=count)
    grown_s = this_s[100] - this_s[1]
    yield Row("growth from 1 to 100 labels", 1e3 * grown_s, "less than 10", "ms")
    added = output_bytes(tokens, texts) / 1e6
    yield Row(f"added by {counts[-1]} labels", added, "under 30", "MB")


def output_bytes(tokens: Tensor, text: Tensor) -> int:
    """Bytes that torch allocates at the most for feature surgery, beyond what comes in."""
    from torch.profiler import ProfilerActivity, profile

    with (
        torch.inference_mode(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run,
    ):
        feature_surgery(tokens, text)
    held = most = 0
    for event in run.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def decoding(setting: Setting, counts: Sequence[int] = (1, 5, 20)) -> Iterator[Row]:
    """Masks of several prompts of three points from one embedding."""
    image = next(frames(1))
    embedding = setting.own[1].encode(image)
    setting.stock.look(image)
    for count in counts:
        xy, positive = random_points(count)
        prompts = [PointPrompts(*one) for one in zip(xy, positive, strict=True)]
        timings = side_by_side(
            {
                "predict_torch": inference(partial(setting.stock.decode, xy, positive)),
                "this": partial(setting.own[1].decode, embedding, prompts),
            },
            setting.rounds,
        )
        yield Row(
            f"decoding {count} prompts: this / predict_torch",
            timings.ratio("this", "predict_torch"),
            "at most 0.25" if count == 20 else "",
            seconds={way: timings.median(way) for way in timings.seconds},
            series="prompts",
            x=count,
        )


def sizes(setting: Setting) -> Iterator[Row]:
    """Whole frames of growing images: the networks see the same size of each."""
    return (_of_size(setting, width, height) for width, height in IMAGE_SIZES)


def _of_size(setting: Setting, width: int, height: int) -> Row:
    names, features = random_texts(setting.own[0], LABELS)
    query, pipeline, shown = query_of(names), setting.pipeline(), endless((height, width))
    rest_s: list[float] = []

    def this() -> None:
        spent = pipeline.run(shown(), query).stage_seconds
        rest_s.append(sum(spent.values()) - spent["clip"] - spent["sam encoder"])

    ways = {"published": lambda: setting.published.run(shown(), features), "this": this}
    timings = side_by_side(ways, setting.rounds // 2 + 1)
    seconds = {way: timings.median(way) for way in ways}
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
    """(count, 3, 2) x, y in the picture and (count, 3): two inside, one outside."""
    generator = np.random.default_rng(1)
    xy = generator.integers(0, SIZE_HW[0], (count, 3, 2)).astype(np.int32)
    return xy, np.tile([True, True, False], (count, 1))
