"""What is measured: each function times one thing side by side and returns its rows."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.backends.factory import load_networks
from clip_surgery_ros.benchmark.networks import (
    CLIP_SIZE,
    Pair,
    build_stock,
    build_this,
    random_texts,
)
from clip_surgery_ros.benchmark.timing import side_by_side
from clip_surgery_ros.core.config import Config
from clip_surgery_ros.core.geometry import paste
from clip_surgery_ros.core.heatmap import feature_surgery
from clip_surgery_ros.core.pipeline import Pipeline, Settings
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import FrameResult, PointPrompts, Wanted

SIZE_HW = (720, 1280)
LABELS = 5


@dataclass(frozen=True)
class Row:
    """One figure beside what is wanted of it.

    :param value: in ``unit``; a ratio where the unit is empty.
    :param seconds: median seconds behind the figure, by what took them.
    """

    what: str
    value: float
    wanted: str = ""
    unit: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What all measurements share.

    :param rounds: each way is run so often, in turns with the others.
    """

    pair: Pair
    precision: str
    rounds: int

    def pipeline(self, **changes: object) -> Pipeline:
        """The pipeline measured, asking only the labels of the query, all of them present."""
        settings = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
        return Pipeline(self.pair.clip, self.pair.segmenter, replace(settings, **changes))  # type: ignore[arg-type]


def frames(count: int, size_hw: tuple[int, int] = SIZE_HW) -> Iterator[NDArray[np.uint8]]:
    """Smooth random pictures, no two the same: (H, W, 3) uint8."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        small = generator.integers(0, 255, (9, 16, 3), dtype=np.uint8)
        yield np.asarray(cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def endless() -> Callable[[], NDArray[np.uint8]]:
    """Gives another picture at every call."""
    return iter(frames(sys.maxsize)).__next__


def end_to_end(setting: Setting) -> list[Row]:
    """Image array to masks: all labels present, and few of many."""
    pair, image = setting.pair, next(frames(1))
    names, features = random_texts(pair.clip, 100)
    few, many = query_of(names[:LABELS]), query_of(names)
    pipeline = setting.pipeline()
    shown = endless()
    presence = pipeline.run(image, many, Wanted(segments=False)).presence
    rare = setting.pipeline(presence_threshold=float(np.sort(presence)[-LABELS]))

    masks = pair.stock.run(image, features[:LABELS])
    alike = least_overlap(setting.pipeline().run(image, few), masks)
    five = side_by_side(
        {
            "stock": lambda: pair.stock.run(shown(), features[:LABELS]),
            "this": lambda: pipeline.run(shown(), few),
        },
        setting.rounds,
    )
    # The same image all the time, so that the same five stay present; seen is forgotten.
    hundred = side_by_side(
        {
            "stock": lambda: pair.stock.run(image, features),
            "this": lambda: fresh(rare).run(image, many),
        },
        max(1, setting.rounds // 2),
    )
    wanted = "at least 1.8" if setting.precision == "float32" else "at least 4.5"
    return [
        Row(
            f"end to end, {LABELS} labels present: stock / this",
            five.ratio("stock", "this"),
            wanted,
            seconds={way: five.median(way) for way in five.seconds},
        ),
        Row(f"{LABELS} labels: least IoU with the stock flow's", alike, "at least 0.999"),
        Row(
            f"end to end, 100 labels of which {LABELS} are present: stock / this",
            hundred.ratio("stock", "this"),
            "at least 5",
            seconds={way: hundred.median(way) for way in hundred.seconds},
        ),
    ]


def fresh(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, having seen nothing."""
    return Pipeline(pipeline._clip, pipeline._segmenter, pipeline._settings)


def least_overlap(result: FrameResult, masks: Sequence[NDArray[np.bool_]]) -> float:
    """Least intersection over union of the segments with each label's mask; 0 for one missing."""
    overlaps = []
    for label, mask in enumerate(masks):
        own = np.zeros(result.size_hw, np.bool_)
        for segment in result.segments:
            if segment.label == label:
                paste(own, segment.mask, segment.box, True)
        union = int((own | mask).sum())
        overlaps.append(int((own & mask).sum()) / union if union else 1.0)
    return min(overlaps)


def clip_forward(setting: Setting) -> list[Row]:
    """CLIP's image side, with surgery and as it comes."""
    pair = setting.pair
    pixels = pair.clip.preprocess(next(frames(1)))
    timings = side_by_side(
        {
            "open_clip": inference(lambda: pair.stock.bare(pixels)),
            "this": lambda: pair.clip.surgery_tokens(pixels),
            "explicit attention": inference(lambda: pair.stock.tokens(pixels)),
        },
        2 * setting.rounds,
    )
    return [
        Row(
            f"surgery forward at {CLIP_SIZE}: this / open_clip's bare encode_image",
            timings.ratio("this", "open_clip"),
            "at most 1.05",
            seconds={way: timings.median(way) for way in timings.seconds},
        )
    ]


def sam_encoder(setting: Setting) -> list[Row]:
    """SAM's image encoder, and how far its features are from the stock ones."""
    pair, image = setting.pair, next(frames(1))
    timings = side_by_side(
        {
            "segment-anything": inference(lambda: pair.stock.look(image)),
            "this": lambda: pair.segmenter.encode(image),
        },
        setting.rounds,
    )
    wanted = "at most 0.55" if setting.precision == "float32" else "at most 0.38"
    return [
        Row(
            "SAM encoder: this / segment-anything",
            timings.ratio("this", "segment-anything"),
            wanted,
            seconds={way: timings.median(way) for way in timings.seconds},
        )
    ]


def frame_parts(setting: Setting) -> list[Row]:
    """Where a frame's time goes, and frames that need less than all of it."""
    names, _ = random_texts(setting.pair.clip, LABELS)
    query, other = query_of(names), query_of(names[::-1])
    pipeline, still = setting.pipeline(), setting.pipeline(still_threshold=255.0)
    absent = setting.pipeline(presence_threshold=1.0)
    shown, image = endless(), next(frames(1))
    still.run(image, query)
    stages: list[Mapping[str, float]] = []

    def full() -> None:
        stages.append(pipeline.run(shown(), query).stage_seconds)

    def asked_again() -> None:
        again = fresh(pipeline)
        again.run(image, query)
        start_s = time.perf_counter()
        result = again.run(image, other)
        spent = time.perf_counter() - start_s
        seen_s.append(spent - result.stage_seconds["sam decoder"])

    seen_s: list[float] = []
    timings = side_by_side(
        {
            "full frame": full,
            "surgery forward": lambda: setting.pair.clip.surgery_tokens(
                setting.pair.clip.preprocess(image)
            ),
            "no label present": lambda: absent.run(shown(), query),
            "heatmap only": lambda: pipeline.run(shown(), query, Wanted(segments=False)),
            "same view again": lambda: still.run(shown(), query),
        },
        setting.rounds,
    )
    side_by_side({"another query": asked_again}, 1)
    rest = [1 - (one["clip"] + one["sam encoder"]) / sum(one.values()) for one in stages]
    nothing = timings.ratio("no label present", "surgery forward")
    heatmap = timings.ratio("heatmap only", "surgery forward")
    return [
        Row("all that is neither encoder, of a frame", float(np.median(rest)), "at most 0.08"),
        Row("no label present / surgery forward", nothing, "at most 1.03"),
        Row("heatmap only / surgery forward", heatmap, "at most 1.03"),
        Row(
            "another query on a frame seen, but for decoding / full frame",
            float(np.median(seen_s)) / timings.median("full frame"),
            "at most 0.03",
        ),
        Row(
            "the same view again / full frame",
            timings.ratio("same view again", "full frame"),
            "at most 0.05",
            seconds={way: timings.median(way) for way in timings.seconds},
        ),
        *(
            Row(f"stage: {name}", float(np.median([one[name] for one in stages])), unit="s")
            for name in stages[0]
        ),
    ]


def labels(setting: Setting, counts: Sequence[int] = (1, 10, 100, 1000)) -> list[Row]:
    """Maps of many labels: time and memory."""
    tokens = torch.nn.functional.normalize(torch.randn(1, 1025, 512), dim=-1)
    texts = {
        count: torch.nn.functional.normalize(torch.randn(count + 1, 512), dim=-1)
        for count in counts
    }
    ways: dict[str, Callable[[], object]] = {
        str(count): inference(partial(feature_surgery, tokens, texts[count])) for count in counts
    }
    timings = side_by_side(ways, 10 * setting.rounds)
    rows = [
        Row(f"feature surgery, {count} labels", 1e3 * timings.median(str(count)), unit="ms")
        for count in counts
    ]
    growth = 1e3 * (timings.median("100") - timings.median("1"))
    bytes_added = output_bytes(tokens, texts[counts[-1]])
    return [
        *rows,
        Row("growth from 1 to 100 labels", growth, "less than 10", "ms"),
        Row(f"added by {counts[-1]} labels", bytes_added / 1e6, "under 30", "MB"),
    ]


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


def decoding(setting: Setting, counts: Sequence[int] = (1, 5, 20)) -> list[Row]:
    """Masks of several prompts of three points from one embedding."""
    pair, image = setting.pair, next(frames(1))
    embedding = pair.segmenter.encode(image)
    pair.stock.look(image)
    rows = []
    for count in counts:
        xy, positive = random_points(count)
        prompts = [PointPrompts(*one) for one in zip(xy, positive, strict=True)]
        timings = side_by_side(
            {
                "predict_torch": inference(partial(pair.stock.decode, xy, positive)),
                "this": partial(pair.segmenter.decode, embedding, prompts),
            },
            setting.rounds,
        )
        each = {"this, per prompt": timings.median("this") / count}
        rows.append(
            Row(
                f"decoding {count} prompts: this / predict_torch",
                timings.ratio("this", "predict_torch"),
                "at most 0.25" if count == 20 else "",
                seconds={**{way: timings.median(way) for way in timings.seconds}, **each},
            )
        )
    return rows


def random_points(count: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(count, 3, 2) x, y in the picture and (count, 3): two inside, one outside."""
    generator = np.random.default_rng(1)
    xy = generator.integers(0, SIZE_HW[0], (count, 3, 2)).astype(np.int32)
    return xy, np.tile([True, True, False], (count, 1))


def start(setting: Setting) -> list[Row]:
    """From configuring to the first masks, with the demo networks and a warm file cache."""
    config = Config.from_values({"presence_threshold": 0.0})
    image, query = next(frames(1)), query_of(["red apple", "hammer"])

    def first_masks() -> None:
        load_networks(config).pipeline(config).run(image, query)

    timings = side_by_side({"demo networks": first_masks}, setting.rounds)
    seconds = timings.median("demo networks")
    return [Row("configure to first masks, demo networks", seconds, "under 3", "s")]


def peak_memory(sam_model: str, precision: str) -> list[Row]:
    """Most resident memory of a process that answers one frame either way."""
    peaks = {}
    for way in ("stock", "this"):
        command = [sys.executable, "-m", __name__, way, sam_model, precision]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[way] = float(done.stdout.split()[-1])
    return [
        Row(f"peak memory, {sam_model}: stock", peaks["stock"], unit="MB"),
        Row(f"peak memory, {sam_model}: this", peaks["this"], unit="MB"),
        Row(
            f"peak memory saved, {sam_model}",
            peaks["stock"] - peaks["this"],
            "at least 1000" if sam_model == "vit_b" else "",
            "MB",
        ),
    ]


def inference(run: Callable[[], object]) -> Callable[[], object]:
    """The same without autograd's records."""
    return torch.inference_mode()(run)


def _one_frame(way: str, sam_model: str, precision: str) -> None:
    """Answer a frame in a process of its own and print the peak in MB."""
    image = next(frames(1))
    if way == "stock":
        features = torch.nn.functional.normalize(torch.randn(LABELS, 512), dim=-1)
        build_stock(sam_model, precision).run(image, features)
    else:
        clip, segmenter = build_this(sam_model, precision)
        names, _ = random_texts(clip, LABELS)
        settings = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
        Pipeline(clip, segmenter, settings).run(image, query_of(names))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


if __name__ == "__main__":
    _one_frame(*sys.argv[1:])
