"""From parameters to networks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clip_surgery_ros.networks.slim_imports import import_slim

import_slim()  # before the imports below do it whole

from clip_surgery_ros.arithmetic.layers import bfloat16_gain
from clip_surgery_ros.arithmetic.threads import set_thread_count
from clip_surgery_ros.core.errors import ConfigError, DeviceError
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import DISTRACTORS
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.templates import TEMPLATES, parse_templates
from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.networks.clip.backend import PRECISIONS, ClipBackend
from clip_surgery_ros.networks.clip.text_features import load_text_features
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.segmenters import load_segmenter
from clip_surgery_ros.parameters.config import DEMO, Config
from clip_surgery_ros.parameters.thresholds import parse_thresholds
from clip_surgery_ros.weights.catalogue import find_pretrained
from clip_surgery_ros.weights.fetching import weights_folder, weights_path
from clip_surgery_ros.weights.files import check_sha256, checkpoint_file, demo_weights


@dataclass(frozen=True)
class LoadedNetworks:
    """Both networks on their device.

    :param device: where they run.
    :param precision: in which arithmetic.
    :param config: the configuration that they were loaded for.
    """

    clip: ClipBackend
    sam: PromptableSegmenter
    device: str
    precision: str
    config: Config

    @property
    def sources(self) -> str:
        """Which networks these are, and of which files, for people."""
        config = self.config
        clip = _source(config.clip_model, config.clip_checkpoint)
        return f"CLIP {clip}; SAM {_source(config.sam_model, config.sam_checkpoint)}"

    @property
    def know_demo_only(self) -> bool:
        """Whether one of them is the demo's, which knows generated scenes only."""
        return DEMO in (self.config.clip_model, self.config.sam_model)

    @property
    def multilingual(self) -> bool:
        """Whether CLIP reads other scripts than the Latin."""
        return self.clip.traits.multilingual

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that CLIP knows, where it does not know language at large."""
        return self.clip.vocabulary

    @property
    def fell_back(self) -> bool:
        """Whether CUDA was asked for and the CPU is used."""
        return self.device == "cpu" and self.config.device.startswith("cuda")

    @property
    def text_counts(self) -> TextCounts:
        """How many texts went through the text tower, and how many came from the cache."""
        return self.clip.text_counts

    def pipeline(self, config: Config) -> Pipeline:
        """These networks under the live parameters of ``config``; cheap."""
        return Pipeline(self.clip, self.sam, settings_of(config, self.clip))


def settings_of(config: Config, clip: ClipBackend) -> Settings:
    """The live parameters, with what this CLIP knows of itself."""
    names = clip.vocabulary.names or DISTRACTORS
    return Settings(
        presence_level=clip.presence(config.windows),
        presence_threshold=config.presence_threshold,
        threshold=None if math.isnan(config.threshold) else config.threshold,
        label_thresholds=parse_thresholds(config.label_thresholds),
        distractor_names=names if config.distractors else (),
        recipe=RECIPES[config.recipe],
        windows=config.windows,
        point_threshold=config.point_threshold,
        min_area=config.min_area,
        still_threshold=config.still_threshold,
        vocabulary=clip.vocabulary,
    )


def load_networks(config: Config) -> LoadedNetworks:
    """Load what a configuration names.

    :raises DeviceError: when the device is not there.
    :raises WeightsError: when a weight file cannot be used.
    :raises ConfigError: when a model is unknown or not fit for surgery.
    """
    device = resolve_device(config.device, config.allow_cpu_fallback)
    precision = resolve_precision(config.precision, device)
    if device == "cpu" and precision == "float16":
        raise ConfigError(
            f"precision is float16, which is for GPUs, but device '{config.device}' is the CPU "
            "here; set precision to auto, float32 or bfloat16"
        )
    if config.clip_sha256:
        check_sha256(checkpoint_file(config.clip_checkpoint), config.clip_sha256)
    if config.sam_sha256:
        check_sha256(checkpoint_file(config.sam_checkpoint), config.sam_sha256)
    set_thread_count(config.cpu_threads, small=config.clip_model == config.sam_model == DEMO)
    meant = replace(config, precision=precision)
    return LoadedNetworks(_clip(meant, device), _sam(meant, device), device, precision, config)


def release_memory() -> None:
    """Give memory that nothing holds any longer back to the system and the GPU.

    Freed tensors stay with the allocators otherwise, and a node that was cleaned up would look
    as large as a running one.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def resolve_device(asked: str, allow_cpu_fallback: bool = False) -> str:
    """``auto`` to a device that is there; anything else is taken at its word.

    :param allow_cpu_fallback: take the CPU where the CUDA device is not there.
    :raises DeviceError: when CUDA, or that CUDA device, is not there.
    """
    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if asked == "cpu":
        return asked
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = asked.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= count:
        if allow_cpu_fallback:
            return "cpu"
        raise DeviceError(
            f"device '{asked}' was asked for, but torch sees {count} CUDA devices; set device to "
            "cpu or auto, set allow_cpu_fallback, or check the driver with nvidia-smi"
        )
    return f"cuda:{index}"


def resolve_precision(asked: str, device: str) -> str:
    """``auto`` to the fastest that the device computes natively; anything else as it is."""
    if asked != "auto":
        return asked
    if device != "cpu":
        return gpu_precision(torch.cuda.get_device_capability(device))
    return cpu_precision(bfloat16_gain())


def cpu_precision(gain: float) -> str:
    """bfloat16 where it is worth its coarser numbers: AMX and AVX-512's own instructions double
    the speed and more; without them it is slower than float32.

    :param gain: how many times as fast layers are in bfloat16.
    """
    return "bfloat16" if gain >= 1.5 else "float32"


def gpu_precision(capability: tuple[int, int]) -> str:
    """The half precision of a GPU: bfloat16, with float32's range, from Ampere on."""
    return "bfloat16" if capability >= (8, 0) else "float16"


def _clip(config: Config, device: str) -> ClipBackend:
    size = config.clip_input_size or None
    options = {
        "device": device,
        "precision": config.precision,
        "input_size": size,
        "attention": config.attention,
        "templates": parse_templates(config.templates),
    }
    if config.clip_model == DEMO:
        clip = ClipBackend.from_file(demo_weights("clip_demo"), **options)
        if options["templates"] == TEMPLATES:  # what the features that come along are of
            clip.add_text_features(load_text_features(demo_weights("clip_demo_texts")))
        return clip
    architecture, checkpoint = _named(config.clip_model, config.clip_checkpoint)
    if architecture == "openai":
        clip = ClipBackend.from_file(checkpoint, **options)
    else:
        clip = ClipBackend.from_open_clip(architecture, checkpoint, **options)
    if config.text_cache:
        clip.open_text_cache(weights_folder() / "texts")
    return clip


def _sam(config: Config, device: str) -> PromptableSegmenter:
    dtype = PRECISIONS[config.precision]
    if config.sam_model == DEMO:
        return SamBackend.from_file(demo_weights("sam_demo"), device=device, dtype=dtype)
    architecture, checkpoint = _named(config.sam_model, config.sam_checkpoint)
    return load_segmenter(architecture, checkpoint, device=device, dtype=dtype)


def _source(model: str, checkpoint: str) -> str:
    """A network by its name and file."""
    if model == DEMO:
        return f"'{DEMO}', which comes with the package"
    return f"'{model}' from {_named(model, checkpoint)[1]}"


def _named(model: str, checkpoint: str) -> tuple[str, str | Path]:
    """Architecture and file of a model parameter and its checkpoint.

    :raises WeightsError: when the weights of a published network are not in place.
    """
    listed = find_pretrained(model)
    if listed is None:
        return model, checkpoint
    return listed.architecture, checkpoint or weights_path(listed)
