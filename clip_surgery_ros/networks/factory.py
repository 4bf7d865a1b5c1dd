"""Loads the CLIP and the SAM of a configuration, on their device and in their precision."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clip_surgery_ros.networks.slim_imports import import_slim

import_slim()  # before the imports below import these packages completely

from clip_surgery_ros.arithmetic.threads import ThreadsByLoad, set_thread_count
from clip_surgery_ros.core.device_errors import device_errors_explained
from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.presence import DISTRACTORS
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.ranking import RankingModel
from clip_surgery_ros.core.recipes import RECIPES, Recipe
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.templates import TEMPLATES, parse_templates
from clip_surgery_ros.core.text import TextCounts
from clip_surgery_ros.core.types import Calibration, PointPrompts
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.text_features import load_text_features
from clip_surgery_ros.networks.devices import (
    PRECISIONS,
    resolve_device,
    resolve_precision,
    use_tf32,
)
from clip_surgery_ros.networks.profiles import FOLDER, Conditions, Profile, find_profiles
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.prompts import ROUNDED
from clip_surgery_ros.networks.sam.segmenters import load_segmenter
from clip_surgery_ros.parameters.config import DEMO, Config
from clip_surgery_ros.parameters.thresholds import parse_thresholds
from clip_surgery_ros.weights.catalogue import find_pretrained
from clip_surgery_ros.weights.fetching import weights_folder, weights_path
from clip_surgery_ros.weights.files import (
    check_file,
    check_sha256,
    checkpoint_file,
    demo_weights,
)

WARM_UP_HW = (720, 1280)
"""A common size of cameras' images."""


@dataclass(frozen=True)
class LoadedNetworks:
    """A CLIP and a segmenter on their device.

    :param device: torch device of both.
    :param precision: of CLIP, never ``auto``; where SAM's is another, it is named too.
    :param config: the configuration that they were loaded for.
    :param profiles: what was fitted for this pair, under whatever conditions.
    :param threads: chooses the number of threads of each frame; None leaves it.

    >>> networks = load_networks(Config.from_values({"device": "cpu"}))
    >>> networks.sources
    "CLIP 'demo', which comes with the package; SAM 'demo', which comes with the package"
    >>> networks.know_demo_only, networks.precision
    (True, 'float32')
    """

    clip: ClipBackend
    sam: PromptableSegmenter
    device: str
    precision: str
    config: Config
    profiles: tuple[Profile, ...] = ()
    threads: ThreadsByLoad | None = None

    @property
    def sources(self) -> str:
        """Names and files of the networks, for messages."""
        config = self.config
        clip = _source(config.clip_model, config.clip_checkpoint)
        return f"CLIP {clip}; SAM {_source(config.sam_model, config.sam_checkpoint)}"

    @property
    def know_demo_only(self) -> bool:
        """Whether one of them is the demo's, which was trained on generated scenes only."""
        return DEMO in (self.config.clip_model, self.config.sam_model)

    @property
    def multilingual(self) -> bool:
        """Whether CLIP reads other scripts than Latin."""
        return self.clip.traits.multilingual

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that CLIP was trained on, if it has a closed vocabulary."""
        return self.clip.vocabulary

    @property
    def fell_back(self) -> bool:
        """Whether CUDA was requested and the CPU is used."""
        return self.device == "cpu" and self.config.device.startswith("cuda")

    @property
    def text_counts(self) -> TextCounts:
        """How many texts were encoded, and how many came from the cache."""
        return self.clip.text_counts

    def warm_up(self) -> None:
        """Process pictures of noise, so that a GPU's kernels and libraries are loaded.

        Each is loaded when it is first used, for which the first frame would have to wait. From
        the second picture on, CUDA graphs are captured: for images of :data:`WARM_UP_HW`, and for
        one click in each prompt.
        """
        names = self.vocabulary.names or ("thing",)
        config = replace(
            self.config, presence_threshold=0.0, threshold=math.nan, label_thresholds=""
        )
        pipeline, rng = self.pipeline(config), np.random.default_rng(0)
        for _ in range(2):
            noise = rng.integers(0, 256, (*WARM_UP_HW, 3), np.uint8)
            pipeline.run(noise, query_of(names[:1]))
        embedding = self.sam.encode(noise)
        click = PointPrompts(np.zeros((1, 2), np.int32), np.ones(1, np.bool_))
        for count in [*ROUNDED, *ROUNDED] if config.cuda_graphs else ():
            self.sam.decode(embedding, [click] * count)

    def pipeline(self, config: Config) -> Pipeline:
        """Return a pipeline with the live parameters of a configuration; nothing is loaded."""
        computing = self.threads.frame if self.threads else nullcontext
        return Pipeline(self.clip, self.sam, self.settings(config), self.device, computing)

    def settings(self, config: Config) -> Settings:
        """Return the settings of a pipeline for the live parameters of a configuration."""
        return settings_of(config, self.clip, self.windows(config), self.profile(config))

    def windows(self, config: Config) -> bool:
        """Return whether CLIP encodes windows, see the parameter ``clip_windows``."""
        if not RECIPES[config.recipe].supports_windows:
            return False
        if config.clip_windows != "fitted":
            return config.clip_windows == "always"
        # A CLIP's file may have a level of its own for windows, as the demo's has.
        has_level = self.clip.presence_level(True) != self.clip.presence_level(False)
        return has_level or self._fitted(config, windows=True) is not None

    def profile(self, config: Config) -> Profile | None:
        """Return what was fitted for this pair under the conditions of a configuration."""
        return self._fitted(config, self.windows(config))

    def _fitted(self, config: Config, windows: bool) -> Profile | None:
        conditions = conditions_of(config, self.clip, windows)
        return next((each for each in self.profiles if each.conditions == conditions), None)

    def calibration(self, config: Config) -> Calibration | None:
        """Return what presence and score were fitted on; None where they were not."""
        profile = self.profile(config)
        return _calibration(profile, RECIPES[config.recipe]) if profile else None


def settings_of(
    config: Config, clip: ClipBackend, windows: bool, profile: Profile | None = None
) -> Settings:
    """Return the live parameters of a configuration, with the calibration and names of a CLIP.

    :param windows: whether CLIP encodes windows of the image too.
    :param profile: fitted for CLIP, the segmenter and these parameters; None if there is none.
    """
    names = clip.vocabulary.names or DISTRACTORS
    level = profile.presence if profile else clip.presence_level(windows)
    recipe = RECIPES[config.recipe]
    return Settings(
        presence_level=level,
        ranking=_ranking(config, profile),
        calibration=_calibration(profile, recipe) if profile else None,
        presence_threshold=config.presence_threshold,
        threshold=None if math.isnan(config.threshold) else config.threshold,
        label_thresholds=parse_thresholds(config.label_thresholds),
        distractor_names=names if config.distractors else (),
        recipe=recipe,
        windows=windows,
        point_threshold=config.point_threshold,
        min_area=config.min_area,
        still_threshold=config.still_threshold,
        stage_waits=config.stage_waits,
        vocabulary=clip.vocabulary,
    )


def _ranking(config: Config, profile: Profile | None) -> RankingModel | None:
    """Return the ranking that was fitted for a pair, under whatever conditions; else None."""
    if profile and profile.ranking:
        return profile.ranking
    # The demo's own suits its networks, also without windows or with another attention.
    return RankingModel() if config.clip_model == config.sam_model == DEMO else None


def _calibration(profile: Profile, recipe: Recipe) -> Calibration:
    """Return the calibration of a profile, without that of the score where this is not fitted."""
    if profile.ranking and recipe.score == "probability":
        return profile.calibration
    return replace(profile.calibration, score_error=math.nan)


def conditions_of(config: Config, clip: ClipBackend, windows: bool) -> Conditions:
    """Return the parameters that change what a profile of a CLIP describes.

    :param windows: whether CLIP encodes windows of the image too.
    """
    templates = parse_templates(config.templates)
    return Conditions(clip.input_size, config.attention, windows, templates)


def load_networks(config: Config, threads_by_load: bool = False) -> LoadedNetworks:
    """Load the networks that a configuration names.

    :param threads_by_load: compute frames on fewer threads where that is faster because other
        programs compete for the cores; for small networks on a CPU, if ``cpu_threads`` leaves the
        choice. The last bits of results may then differ from frame to frame.
    :raises DeviceError: when the device does not exist, or has too little memory.
    :raises WeightsError: when a weight file is missing or cannot be used.
    :raises ConfigError: when a model is unknown, or surgery does not support it.

    >>> networks = load_networks(Config.from_values({"sam_model": "demo", "device": "cpu"}))
    >>> pipeline = networks.pipeline(Config.from_values({"threshold": 0.2}))
    """
    device = resolve_device(config.device, config.allow_cpu_fallback)
    if device == "cpu" and config.precision == "float16":
        raise ConfigError(
            f"precision is float16, which is for GPUs, but device '{config.device}' is the CPU "
            "here; set precision to auto, float32 or bfloat16"
        )
    if config.clip_sha256:
        check_sha256(checkpoint_file(config.clip_checkpoint), config.clip_sha256)
    if config.sam_sha256:
        check_sha256(checkpoint_file(config.sam_checkpoint), config.sam_sha256)
    small = config.clip_model == config.sam_model == DEMO
    count = set_thread_count(config.cpu_threads, small)
    varies = threads_by_load and small and device == "cpu" and not config.cpu_threads
    use_tf32(config.allow_tf32)
    shortage = (
        f"out of memory on device {device} while the networks are loaded; set precision to "
        "bfloat16, take smaller networks, or end what else uses the device"
    )
    with device_errors_explained(device, shortage):
        precisions = [
            resolve_precision(config.precision, device, model)
            for model in (config.clip_model, config.sam_model)
        ]
        clip = _load_clip(replace(config, precision=precisions[0]), device)
        sam = _load_sam(replace(config, precision=precisions[1]), device)
        precision = ", SAM ".join(dict.fromkeys(precisions))
        networks = LoadedNetworks(
            clip, sam, device, precision, config, profiles_of(config),
            ThreadsByLoad(count) if varies else None,
        )  # fmt: skip
        if device != "cpu":
            networks.warm_up()
    return networks


def weight_files(config: Config) -> list[Path]:
    """Return the files whose weights decide what a configuration finds; nothing is loaded.

    :raises WeightsError: when the weights of a pretrained network are not installed.

    >>> [file.name for file in weight_files(Config.from_values())]
    ['clip_demo.safetensors', 'clip_demo_texts.safetensors', 'sam_demo.safetensors']
    """
    clip, sam = network_files(config)
    texts = [demo_weights("clip_demo_texts")] if config.clip_model == DEMO else []
    files = [clip, *texts, sam]
    for file in files:
        check_file(file)
    return files


def network_files(config: Config) -> tuple[Path, Path]:
    """Return the files of CLIP and of the segmenter, which may be missing.

    :raises WeightsError: when the weights of a pretrained network are not installed.
    """
    return (
        _network_file(config.clip_model, config.clip_checkpoint, "clip_demo"),
        _network_file(config.sam_model, config.sam_checkpoint, "sam_demo"),
    )


def _network_file(model: str, checkpoint: str, demo: str) -> Path:
    if model == DEMO:
        return demo_weights(demo)
    return checkpoint_file(_resolve_model(model, checkpoint)[1])


def profiles_of(config: Config) -> tuple[Profile, ...]:
    """Return what was fitted for the networks of a configuration; nothing is loaded.

    :raises WeightsError: when a profile is damaged, or weights are not installed.
    """
    # The user's own come before the package's.
    folders = weights_folder() / FOLDER, demo_weights("clip_demo").parent
    return find_profiles(folders, *network_files(config))


def _load_clip(config: Config, device: str) -> ClipBackend:
    options = {
        "device": device,
        "precision": config.precision,
        "input_size": config.clip_input_size or None,
        "attention": config.attention,
        "templates": parse_templates(config.templates),
        "graphs": config.cuda_graphs,
    }
    if config.clip_model == DEMO:
        clip = ClipBackend.from_file(demo_weights("clip_demo"), **options)
        if options["templates"] == TEMPLATES:  # those of the features in the package
            clip.add_text_features(load_text_features(demo_weights("clip_demo_texts")))
        return clip
    architecture, checkpoint = _resolve_model(config.clip_model, config.clip_checkpoint)
    if architecture == "openai":
        clip = ClipBackend.from_file(checkpoint, **options)
    else:
        clip = ClipBackend.from_open_clip(architecture, checkpoint, **options)
    if config.text_cache:
        clip.open_text_cache(weights_folder() / "texts")
    return clip


def _load_sam(config: Config, device: str) -> PromptableSegmenter:
    options: dict[str, Any] = {
        "device": device,
        "dtype": PRECISIONS[config.precision],
        "graphs": config.cuda_graphs,
    }
    if config.sam_model == DEMO:
        return SamBackend.from_file(demo_weights("sam_demo"), **options)
    architecture, checkpoint = _resolve_model(config.sam_model, config.sam_checkpoint)
    return load_segmenter(architecture, checkpoint, **options)


def _source(model: str, checkpoint: str) -> str:
    """Return a network's name and file, for messages."""
    if model == DEMO:
        return f"'{DEMO}', which comes with the package"
    return f"'{model}' from {_resolve_model(model, checkpoint)[1]}"


def _resolve_model(model: str, checkpoint: str) -> tuple[str, str | Path]:
    """Return the architecture and the file for the values of ``*_model`` and ``*_checkpoint``.

    :raises WeightsError: when the weights of a pretrained network are not installed.
    """
    pretrained = find_pretrained(model)
    if pretrained is None:
        return model, checkpoint
    return pretrained.architecture, checkpoint or weights_path(pretrained)
