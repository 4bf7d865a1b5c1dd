"""Measurements of whole frames and their parts: each function times one thing side by side."""

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
from clip_surgery_ros.benchmark.networks import (
    CLIP_SIZE,
    build_networks,
    build_reference,
    random_texts,
)
from clip_surgery_ros.benchmark.setting import (
    LABELS,
    Row,
    Setting,
    random_images,
    unseen_images,
    without_autograd,
)
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.points import MAX_PEAKS
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.stages import Stages
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.core.windows import encode_image
from clip_surgery_ros.evaluation.outcome import found_mask, iou
from clip_surgery_ros.evaluation.world_scenes import WorldScenes
from clip_surgery_ros.networks.devices import PRECISIONS
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config

AGREEMENT_SCENES = 100
UNMODIFIED, THIS = "unmodified", "this"
"""Whose memory a process of :func:`peak_memory` shows."""
PRODUCT_SIZE = 4096
"""Rows and columns of the matrices whose product gives a processor's speed: SAM's tokens."""


def end_to_end(setting: Setting) -> list[Row]:
    """Time image to masks, with all labels present and with few of many, beside the reference."""
    image = next(random_images(1))
    names, features = random_texts(setting.networks[0], 100)
    few, many = query_of(names[:LABELS]), query_of(names)
    pipeline = setting.pipeline()
    presence = pipeline.run(image, many, Wanted(segments=False)).presence
    threshold = float(np.sort(presence)[-LABELS])
    next_image = unseen_images()
    five = setting.side_by_side(
        {
            "reference": lambda: setting.reference.run(next_image(), features[:LABELS]),
            "this": lambda: pipeline.run(next_image(), few),
        },
    )
    # The same image every time, so that the same five labels are present; every pipeline is new,
    # so that it has no image in its cache.
    hundred = setting.side_by_side(
        {
            "reference": lambda: setting.reference.run(image, features),
            "this": lambda: setting.pipeline(presence_threshold=threshold).run(image, many),
        },
        max(1, setting.rounds // 3),
    )
    exact = setting.precision == "float32"
    rows = [
        Row(
            f"end to end, {LABELS} labels present: reference / this",
            five.ratio("reference", "this"),
            "at least 1.8" if exact else "at least 4.5",
            seconds=five.medians(),
        ),
        Row(
            f"end to end, 100 labels of which {LABELS} are present: reference / this",
            hundred.ratio("reference", "this"),
            "at least 5",
            seconds=hundred.medians(),
        ),
    ]
    if exact:
        overlap = least_overlap(
            setting.pipeline().run(image, few), setting.reference.run(image, features[:LABELS])
        )
        what = f"{LABELS} labels: least IoU with the reference's masks"
        rows.append(Row(what, overlap, "at least 0.999"))
    return rows


def least_overlap(result: FrameResult, masks: Sequence[NDArray[np.bool_]]) -> float:
    """Return the least IoU, over labels, of a label's segments with its mask.

    :param masks: (H, W), one per label. A label without a segment has an IoU of 0.
    """
    names = result.query.names
    return min(
        iou(found_mask(result, name), mask) for name, mask in zip(names, masks, strict=True)
    )


def clip_forward(setting: Setting) -> list[Row]:
    """Time CLIP's image side: with surgery, without it, and with windows beside the image."""
    clip, image = setting.networks[0], next(random_images(1))
    pixels = clip.preprocess(image)
    timings = setting.side_by_side(
        {
            "open_clip": without_autograd(lambda: setting.unmodified.bare(pixels)),
            "this": lambda: clip.surgery_tokens(pixels),
            "explicit attention": without_autograd(lambda: setting.unmodified.tokens(pixels)),
            "whole image": lambda: encode_image(clip, clip.surgery_tokens, image, windows=False),
            "with windows": lambda: encode_image(clip, clip.surgery_tokens, image, windows=True),
        },
        2 * setting.rounds,
    )
    return [
        Row(
            f"CLIP with surgery at {CLIP_SIZE}: this / open_clip's encode_image",
            timings.ratio("this", "open_clip"),
            "at most 1.05",
            seconds=timings.medians(),
        ),
        Row(
            f"CLIP at {CLIP_SIZE}: the whole image and four windows / the whole image alone",
            timings.ratio("with windows", "whole image"),
        ),
    ]


def sam_encoder(setting: Setting) -> list[Row]:
    """Time SAM's image encoder beside segment-anything's, and beside its arithmetic alone."""
    image = next(random_images(1))
    encode = without_autograd(lambda: setting.unmodified.encode(image))
    timings = setting.side_by_side(
        {"segment-anything": encode, "this": lambda: setting.networks[1].encode(image)},
    )
    wanted = "at most 0.55" if setting.precision == "float32" else "at most 0.38"
    least_s = arithmetic_seconds(setting, encode)
    return [
        Row(
            "SAM encoder: this / segment-anything",
            timings.ratio("this", "segment-anything"),
            # MobileSAM's encoder is its own package's here too.
            "" if setting.sam_model == "vit_t" else wanted,
            seconds=timings.medians(),
        ),
        Row(
            "SAM encoder: this / its arithmetic at the speed of one large matrix product",
            timings.median("this") / least_s,
            seconds={"this": timings.median("this"), "arithmetic": least_s},
        ),
    ]


def arithmetic_seconds(setting: Setting, work: Callable[[], object]) -> float:
    """Return how long the matrix products and convolutions of ``work`` would take as one large
    matrix product, with torch or with oneDNN, whichever is faster.

    This is a lower bound: softmax, norms and memory traffic would take no time.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    device, dtype = setting.device, PRECISIONS[setting.precision]
    size = (PRODUCT_SIZE, PRODUCT_SIZE)
    left, right = (torch.randn(size, device=device, dtype=dtype) for _ in range(2))
    products: dict[str, Callable[[], object]] = {"torch": lambda: left @ right}
    if is_onednn_available(ComputeTarget(torch.device(device), dtype)):
        products["oneDNN"] = lambda: onednn_product(left, right)
    timings = setting.side_by_side(products, 2 * setting.rounds)
    best_s = min(second for seconds in timings.seconds.values() for second in seconds)
    return counter.get_total_flops() * best_s / (2 * PRODUCT_SIZE**3)


def frame_parts(setting: Setting) -> list[Row]:
    """Time the stages of a frame, in the reference and here."""
    names, features = random_texts(setting.networks[0], LABELS)
    query, next_image = query_of(names), unseen_images()
    instances = "this, recipe instances"
    stages: dict[str, list[Mapping[str, float]]] = {"reference": [], "this": [], instances: []}

    def run_reference() -> None:
        clock = Stages(setting.device)
        setting.reference.run(next_image(), features, clock)
        stages["reference"].append(clock.seconds)

    def run_this(variant: str, pipeline: Pipeline) -> None:
        stages[variant].append(pipeline.run(next_image(), query).stage_seconds)

    pipeline, instances_pipeline = setting.pipeline(), setting.pipeline(RECIPES["instances"])
    setting.side_by_side(
        {
            "reference": run_reference,
            "this": lambda: run_this("this", pipeline),
            instances: lambda: run_this(instances, instances_pipeline),
        },
    )
    medians = {
        variant: {stage: float(np.median([run[stage] for run in runs])) for stage in runs[0]}
        for variant, runs in stages.items()
    }
    what = "share of a frame outside both encoders"
    clicks = f"recipe instances, up to {MAX_PEAKS} clicks per label"
    return [
        Row(what, _share_outside_encoders(stages["this"]), "at most 0.08"),
        Row(f"{what}, {clicks}", _share_outside_encoders(stages[instances])),
        *(
            Row(f"a frame, {variant}", sum(spent.values()), "", "s", spent, series="stages")
            for variant, spent in medians.items()
        ),
    ]


def _share_outside_encoders(frames: Sequence[Mapping[str, float]]) -> float:
    """Return the median, over frames, of the share of time that neither encoder takes.

    :param frames: seconds by stage, of each frame.
    """
    shares = [1 - (spent["clip"] + spent["sam encoder"]) / sum(spent.values()) for spent in frames]
    return float(np.median(shares))


def lesser_frames(setting: Setting) -> list[Row]:
    """Time frames that need only a part of the work."""
    names, _ = random_texts(setting.networks[0], LABELS)
    query, clip = query_of(names), setting.networks[0]
    pipeline, absent = setting.pipeline(), setting.pipeline(presence_threshold=1.0)
    still = setting.pipeline(still_threshold=255.0)
    next_image, image = unseen_images(), next(random_images(1))
    still.run(image, query)
    new_query_s: list[float] = []
    timings = setting.side_by_side(
        {
            "full frame": lambda: pipeline.run(next_image(), query),
            "CLIP with surgery": lambda: clip.surgery_tokens(clip.preprocess(next_image())),
            "no label present": lambda: absent.run(next_image(), query),
            "heatmap only": lambda: pipeline.run(next_image(), query, Wanted(segments=False)),
            "same view again": lambda: still.run(next_image(), query),
            "new query": lambda: new_query_s.append(_new_query_seconds(setting, image, names)),
        },
    )
    return [
        *(
            Row(
                f"{variant} / {baseline}",
                timings.ratio(variant, baseline),
                wanted,
                seconds={name: timings.median(name) for name in (variant, baseline)},
            )
            for variant, baseline, wanted in (
                ("no label present", "CLIP with surgery", "at most 1.03"),
                ("heatmap only", "CLIP with surgery", "at most 1.03"),
                ("same view again", "full frame", "at most 0.05"),
            )
        ),
        Row(
            "new query on a known frame, without decoding / full frame",
            float(np.median(new_query_s)) / timings.median("full frame"),
            "under 0.03",
        ),
    ]


def _new_query_seconds(setting: Setting, image: NDArray[np.uint8], names: list[str]) -> float:
    """Return the seconds of a new query on an image whose features are cached, less decoding."""
    pipeline = setting.pipeline()
    pipeline.run(image, query_of(names))
    start_s = time.perf_counter()
    result = pipeline.run(image, query_of(names[::-1]))
    return time.perf_counter() - start_s - result.stage_seconds["sam decoder"]


def precision_agreement(setting: Setting, scene_count: int = AGREEMENT_SCENES) -> list[Row]:
    """Compare masks of the demo's networks on their scenes: in bfloat16 with those in float32; on
    a GPU also in float16, and in float32 with the CPU's.

    The setting's own networks are random, and their masks differ in any two precisions.

    :param scene_count: of the held-out split.
    """
    here = setting.device
    pairs = {"bfloat16 masks with float32 masks": ((here, "bfloat16"), (here, "float32"))}
    if here != "cpu":
        pairs["float16 masks with float32 masks"] = ((here, "float16"), (here, "float32"))
        pairs["float32 masks with the CPU's"] = ((here, "float32"), ("cpu", "float32"))
    pipelines = {}
    for device, precision in {each for pair in pairs.values() for each in pair}:
        config = Config.from_values({"precision": precision, "device": device})
        pipelines[device, precision] = load_networks(config).pipeline(config)
    overlaps: dict[str, list[float]] = {what: [] for what in pairs}
    for scene in WorldScenes().examples("mixed", "held_out", scene_count):
        query = query_of(scene.present)
        results = {key: pipeline.run(scene.image, query) for key, pipeline in pipelines.items()}
        for what, (one, other) in pairs.items():
            overlaps[what] += [
                iou(found_mask(results[one], name), found_mask(results[other], name))
                for name in query.names
            ]
    return [row for what in pairs for row in _overlap_rows(what, np.array(overlaps[what]))]


def _overlap_rows(what: str, overlaps: NDArray[np.float64]) -> list[Row]:
    what = f"demo networks, IoU of {what}"
    wanted = "at least 0.99" if "CPU" in what else "at least 0.98"
    return [
        Row(f"{what}: mean", float(overlaps.mean()), wanted),
        Row(f"{what}: median", float(np.median(overlaps))),
        Row(f"{what}: share of at least 0.95", float(np.mean(overlaps >= 0.95))),
    ]


def start(setting: Setting) -> list[Row]:
    """Time configuring up to the first masks, with the demo's networks and a warm file cache."""
    config = Config.from_values({"presence_threshold": 0.0, "device": setting.device})
    image, query = next(random_images(1)), query_of(["apple", "hammer"])

    def first_masks() -> None:
        load_networks(config).pipeline(config).run(image, query)

    timings = setting.side_by_side({"demo networks": first_masks})
    seconds = timings.median("demo networks")
    return [Row("configure to first masks, demo networks", seconds, "under 3", "s")]


def peak_memory(setting: Setting) -> list[Row]:
    """Measure the peak of resident memory of two processes that each compute one frame on the
    CPU: one with the unmodified packages, one with this package.
    """
    sam_model, peaks = setting.sam_model, {}
    for variant in (UNMODIFIED, THIS):
        command = [sys.executable, "-m", __name__, variant, sam_model, setting.precision]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise ClipSurgeryError(f"the process whose memory is measured failed: {reason}")
        peaks[variant] = float(done.stdout.split()[-1])
    return [
        Row(f"peak memory, {sam_model}: unmodified packages", peaks[UNMODIFIED], unit="MB"),
        Row(f"peak memory, {sam_model}: this", peaks[THIS], unit="MB"),
        Row(
            f"peak memory saved, {sam_model}",
            peaks[UNMODIFIED] - peaks[THIS],
            "at least 1000" if sam_model == "vit_b" else "",
            "MB",
        ),
    ]


def _print_peak_memory(variant: str, sam_model: str, precision: str) -> None:
    """Compute a frame and print the peak of this process in MB."""
    image = next(random_images(1))
    if variant == UNMODIFIED:
        features = torch.nn.functional.normalize(torch.randn(LABELS, 512), dim=-1)
        build_reference(sam_model, precision).run(image, features)
    else:
        clip, segmenter = build_networks(sam_model, precision)
        names, _ = random_texts(clip, LABELS)
        settings = Settings(presence_threshold=0.0, distractor_names=(), min_area=1)
        Pipeline(clip, segmenter, settings).run(image, query_of(names))
    print(_peak_kilobytes() / 1e3)


def _peak_kilobytes() -> float:
    """Return the peak of this process. getrusage would return its parent's if that is higher."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return 1.024 * int(line.split()[1])


if __name__ == "__main__":
    _print_peak_memory(*sys.argv[1:])
