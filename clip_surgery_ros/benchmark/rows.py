"""What is measured of whole frames: each function times one thing side by side."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clip_surgery_ros.arithmetic.layers import ComputeTarget, is_onednn_available, onednn_product
from clip_surgery_ros.benchmark.networks import CLIP_SIZE, build_stock, build_this, random_texts
from clip_surgery_ros.benchmark.setting import LABELS, Row, Setting, endless, frames, inference
from clip_surgery_ros.benchmark.timing import side_by_side
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.geometry import paste
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.points import MAX_PEAKS
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.evaluation.outcome import found_mask, iou
from clip_surgery_ros.networks.clip.backend import PRECISIONS
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.world.scenes import SceneGenerator

AGREEMENT_SCENES = 100
PRODUCT = 4096
"""Side of the square matrices that tell how fast a processor multiplies: SAM's tokens."""


def end_to_end(setting: Setting) -> list[Row]:
    """Image array to masks: all labels present, and few of many; the published flow is float32."""
    image = next(frames(1))
    names, features = random_texts(setting.own[0], 100)
    few, many = query_of(names[:LABELS]), query_of(names)
    pipeline = setting.pipeline()
    presence = pipeline.run(image, many, Wanted(segments=False)).presence
    least = float(np.sort(presence)[-LABELS])
    shown = endless()
    five = side_by_side(
        {
            "published": lambda: setting.published.run(shown(), features[:LABELS]),
            "this": lambda: pipeline.run(shown(), few),
        },
        setting.rounds,
    )
    # The same image all the time, so that the same five stay present; new pipelines have not
    # seen it.
    hundred = side_by_side(
        {
            "published": lambda: setting.published.run(image, features),
            "this": lambda: setting.pipeline(presence_threshold=least).run(image, many),
        },
        max(1, setting.rounds // 3),
    )
    exact = setting.precision == "float32"
    rows = [
        Row(
            f"end to end, {LABELS} labels present: published / this",
            five.ratio("published", "this"),
            "at least 1.8" if exact else "at least 4.5",
            seconds={way: five.median(way) for way in five.seconds},
        ),
        Row(
            f"end to end, 100 labels of which {LABELS} are present: published / this",
            hundred.ratio("published", "this"),
            "at least 5",
            seconds={way: hundred.median(way) for way in hundred.seconds},
        ),
    ]
    if exact:
        alike = least_overlap(
            setting.pipeline().run(image, few), setting.published.run(image, features[:LABELS])
        )
        rows.append(Row(f"{LABELS} labels: least IoU with the published", alike, "at least 0.999"))
    return rows


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
    """CLIP's image side, with surgery and as it comes; and with windows beside the picture."""
    clip, image = setting.own[0], next(frames(1))
    pixels = clip.preprocess(image)
    timings = side_by_side(
        {
            "open_clip": inference(lambda: setting.stock.bare(pixels)),
            "this": lambda: clip.surgery_tokens(pixels),
            "explicit attention": inference(lambda: setting.stock.tokens(pixels)),
            "whole": lambda: encode_image(clip, clip.surgery_tokens, image, windows=False),
            "with windows": lambda: encode_image(clip, clip.surgery_tokens, image, windows=True),
        },
        2 * setting.rounds,
    )
    return [
        Row(
            f"surgery forward at {CLIP_SIZE}: this / open_clip's bare encode_image",
            timings.ratio("this", "open_clip"),
            "at most 1.05",
            seconds={way: timings.median(way) for way in timings.seconds},
        ),
        Row(
            f"the picture and four windows at {CLIP_SIZE} each / the picture alone",
            timings.ratio("with windows", "whole"),
        ),
    ]


def sam_encoder(setting: Setting) -> list[Row]:
    """SAM's image encoder, and how far its features are from the stock ones."""
    image = next(frames(1))
    timings = side_by_side(
        {
            "segment-anything": inference(lambda: setting.stock.look(image)),
            "this": lambda: setting.own[1].encode(image),
        },
        setting.rounds,
    )
    wanted = "at most 0.55" if setting.precision == "float32" else "at most 0.38"
    least_s = arithmetic_seconds(setting, inference(lambda: setting.stock.look(image)))
    return [
        Row(
            "SAM encoder: this / segment-anything",
            timings.ratio("this", "segment-anything"),
            "" if setting.sam_model == "vit_t" else wanted,  # which runs its own package's
            seconds={way: timings.median(way) for way in timings.seconds},
        ),
        Row(
            "SAM encoder: this / its arithmetic at the rate of one large product",
            timings.median("this") / least_s,
            seconds={"this": timings.median("this"), "arithmetic": least_s},
        ),
    ]


def arithmetic_seconds(setting: Setting, work: Callable[[], object]) -> float:
    """Seconds of the work's products and convolutions, were all of them one matrix product, by
    torch or by oneDNN, whichever is faster.

    A bound: softmax, norms and all traffic of memory would cost nothing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    device, dtype = setting.device, PRECISIONS[setting.precision]
    one, other = (torch.randn(PRODUCT, PRODUCT, device=device, dtype=dtype) for _ in range(2))
    products: dict[str, Callable[[], object]] = {"torch": lambda: one @ other}
    if is_onednn_available(ComputeTarget(torch.device(device), dtype)):
        products["oneDNN"] = lambda: onednn_product(one, other)
    timings = side_by_side(products, 2 * setting.rounds)
    best_s = min(second for seconds in timings.seconds.values() for second in seconds)
    return counter.get_total_flops() * best_s / (2 * PRODUCT**3)


def frame_parts(setting: Setting) -> list[Row]:
    """Where a frame's time goes, as published and here."""
    names, features = random_texts(setting.own[0], LABELS)
    query, shown = query_of(names), endless()
    stages: dict[str, list[Mapping[str, float]]] = {"published": []}

    def published() -> None:
        clock = Stages()
        setting.published.run(shown(), features, clock)
        stages["published"].append(clock.seconds)

    def this(way: str, pipeline: Pipeline) -> Callable[[], None]:
        runs = stages.setdefault(way, [])
        return lambda: runs.append(pipeline.run(shown(), query).stage_seconds)

    by_peaks = "this, recipe instances"
    ways = {
        "this": this("this", setting.pipeline()),
        by_peaks: this(by_peaks, setting.pipeline(recipe="instances")),
    }
    side_by_side({"published": published, **ways}, setting.rounds)
    medians = {
        way: {name: float(np.median([one[name] for one in runs])) for name in runs[0]}
        for way, runs in stages.items()
    }
    return [
        Row("all that is neither encoder, of a frame", _rest(stages["this"]), "at most 0.08"),
        Row(
            f"the same, recipe instances: up to {MAX_PEAKS} clicks a label",
            _rest(stages[by_peaks]),
        ),
        *(
            Row(f"a frame, {way}", sum(one.values()), unit="s", seconds=one, series="stages")
            for way, one in medians.items()
        ),
    ]


def _rest(frames_seconds: Sequence[Mapping[str, float]]) -> float:
    """Median share of frames' time that goes into neither encoder."""
    spent = [1 - (one["clip"] + one["sam encoder"]) / sum(one.values()) for one in frames_seconds]
    return float(np.median(spent))


def lesser_frames(setting: Setting) -> list[Row]:
    """Frames that need less than all of it."""
    names, _ = random_texts(setting.own[0], LABELS)
    query, clip = query_of(names), setting.own[0]
    pipeline, absent = setting.pipeline(), setting.pipeline(presence_threshold=1.0)
    still = setting.pipeline(still_threshold=255.0)
    shown, image = endless(), next(frames(1))
    still.run(image, query)
    asked_again_s: list[float] = []
    timings = side_by_side(
        {
            "full frame": lambda: pipeline.run(shown(), query),
            "surgery forward": lambda: clip.surgery_tokens(clip.preprocess(shown())),
            "no label present": lambda: absent.run(shown(), query),
            "heatmap only": lambda: pipeline.run(shown(), query, Wanted(segments=False)),
            "same view again": lambda: still.run(shown(), query),
            "another query": lambda: asked_again_s.append(_asked_again(setting, image, names)),
        },
        setting.rounds,
    )
    again = float(np.median(asked_again_s)) / timings.median("full frame")
    return [
        Row(
            f"{way} / {whole}",
            timings.ratio(way, whole),
            wanted,
            seconds={one: timings.median(one) for one in (way, whole)},
        )
        for way, whole, wanted in (
            ("no label present", "surgery forward", "at most 1.03"),
            ("heatmap only", "surgery forward", "at most 1.03"),
            ("same view again", "full frame", "at most 0.05"),
        )
    ] + [Row("another query on a frame seen, but for decoding / full frame", again, "under 0.03")]


def _asked_again(setting: Setting, image: NDArray[np.uint8], names: list[str]) -> float:
    """Seconds of a new query on a frame already seen, without those of decoding."""
    pipeline = setting.pipeline()
    pipeline.run(image, query_of(names))
    start_s = time.perf_counter()
    result = pipeline.run(image, query_of(names[::-1]))
    return time.perf_counter() - start_s - result.stage_seconds["sam decoder"]


def precision_agreement(setting: Setting) -> list[Row]:
    """Masks of the demo networks on their scenes in bfloat16, against those in float32.

    The networks of the setting are random, whose masks no precision agrees on.
    """
    overlaps = []
    pipelines = {}
    for precision in ("float32", "bfloat16"):
        config = Config.from_values({"precision": precision})
        pipelines[precision] = load_networks(config).pipeline(config)
    for scene in SceneGenerator().scenes("held_out", AGREEMENT_SCENES):
        query = query_of(sorted(set(scene.names)))
        exact = pipelines["float32"].run(scene.image, query)
        coarse = pipelines["bfloat16"].run(scene.image, query)
        overlaps += [
            iou(found_mask(exact, name), found_mask(coarse, name)) for name in query.names
        ]
    what = "demo networks, IoU of masks in bfloat16 with those in float32"
    return [
        Row(f"{what}: mean", float(np.mean(overlaps)), "at least 0.98"),
        Row(f"{what}: median", float(np.median(overlaps))),
        Row(f"{what}: share of at least 0.95", float(np.mean(np.array(overlaps) >= 0.95))),
    ]


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
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise ClipSurgeryError(f"the process whose memory is measured ended: {why}")
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
    print(_peak_kilobytes() / 1e3)


def _peak_kilobytes() -> float:
    """Of this process; getrusage would tell the peak of its parent where that is higher."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return 1.024 * int(line.split()[1])


if __name__ == "__main__":
    _one_frame(*sys.argv[1:])
