"""The time of every network that can be chosen, beside the default choice, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import open_clip
import torch

from clip_surgery_ros.benchmark.networks import CLIP_MODEL, CLIP_SIZE, SEED, random_sam
from clip_surgery_ros.benchmark.setting import Row, Setting, random_images
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.devices import PRECISIONS
from clip_surgery_ros.networks.sam.segmenters import SEGMENTERS

CLIPS: Mapping[str, int] = {
    "ViT-B-32-quickgelu": CLIP_SIZE,
    CLIP_MODEL: CLIP_SIZE,
    "ViT-L-14-quickgelu": 504,
    "RN50-quickgelu": CLIP_SIZE,
    "RN101-quickgelu": CLIP_SIZE,
    "RN50x4-quickgelu": CLIP_SIZE,
    "RN50x16-quickgelu": CLIP_SIZE,
    "RN50x64-quickgelu": CLIP_SIZE,
}
"""open_clip's names, and the side of each network's input in pixels: a multiple of its patch."""
SAM = "vit_b"


def models(setting: Setting) -> Iterator[Row]:
    """Time every CLIP's forward pass with surgery, and every segmenter's encoder."""
    baseline = _clip_forward(CLIP_MODEL, setting)
    for name in CLIPS:
        yield _compare(baseline, name, _clip_forward(name, setting), setting)
    baseline = _encode(SAM, setting)
    for name in SEGMENTERS:
        yield _compare(baseline, name, _encode(name, setting), setting)


def _compare(
    baseline: Callable[[], object], name: str, run: Callable[[], object], setting: Setting
) -> Row:
    timings = setting.side_by_side({"baseline": baseline, "this": run}, setting.rounds)
    title = f"CLIP {name} at {CLIPS[name]}" if name in CLIPS else f"segmenter {name}"
    baseline_name = CLIP_MODEL if name in CLIPS else SAM
    return Row(
        f"{title}, image side / {baseline_name}",
        timings.ratio("this", "baseline"),
        seconds={"this": timings.median("this")},
    )


def _clip_forward(name: str, setting: Setting) -> Callable[[], object]:
    torch.manual_seed(SEED)
    model = open_clip.create_model(
        name, load_weights=False, pretrained_text=False, force_image_size=CLIPS[name]
    )
    clip = ClipBackend(
        model,
        open_clip.get_tokenizer(name),
        device=setting.device,
        precision=setting.precision,
    )
    pixels = clip.preprocess(next(random_images(1)))
    return lambda: clip.surgery_tokens(pixels)


def _encode(name: str, setting: Setting) -> Callable[[], object]:
    dtype = PRECISIONS[setting.precision]
    network = random_sam(name) if name.startswith("vit_") else SEGMENTERS[name].build()
    segmenter: PromptableSegmenter = SEGMENTERS[name].wrap(
        network, device=setting.device, dtype=dtype
    )
    image = next(random_images(1))
    return lambda: segmenter.encode(image)
