"""Every parameter, once: default, limits, help, reason; and a checked snapshot of them all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clip_surgery_ros.core.errors import ConfigError, QueryError
from clip_surgery_ros.core.near_names import did_you_mean
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.templates import parse_templates
from clip_surgery_ros.parameters.cameras import parse_cameras
from clip_surgery_ros.parameters.thresholds import parse_thresholds
from clip_surgery_ros.weights.catalogue import find_pretrained, suggestion

DEMO = "demo"
"""Name of the small networks that the package ships."""
SEGMENTERS = (
    *(DEMO, "vit_t", "vit_b", "vit_l", "vit_h"),
    *("sam2.1_hiera_tiny", "sam2.1_hiera_small"),
    *("sam2.1_hiera_base_plus", "sam2.1_hiera_large"),
)
"""Networks from points to masks."""
RECIPES = ("reference", "instances")
"""Ways from maps to masks, the published one first."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    :param default: gives the type too: str, float, int, bool or a tuple of str.
    :param help: what it does, with units.
    :param reason: why the default is what it is.
    :param live: takes effect on the next frame; the others are fixed while the node is active.
    :param read_only: read when the node starts and never again.
    :param minimum: smallest value, inclusive.
    :param maximum: largest value, inclusive.
    :param choices: the only values, if not empty.
    """

    name: str
    default: str | float | int | bool | tuple[str, ...]
    help: str
    reason: str
    live: bool = False
    read_only: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "clip_model",
        DEMO,
        "CLIP: 'demo', a name of `clip_surgery weights list` such as 'openai/ViT-B-16', or of a "
        "file: 'openai' (a state dict in OpenAI's layout) or an open_clip model name",
        "works without a download",
    ),
    Parameter(
        "clip_checkpoint",
        "",
        "file with CLIP's weights, or a folder of Hugging Face's with one; empty for the demo, or "
        "for what `clip_surgery weights` fetched",
        "nothing is downloaded",
    ),
    Parameter(
        "clip_sha256",
        "",
        "SHA-256 that clip_checkpoint must have, or the first 8 or more of its hexadecimal digits",
        "not every publisher gives one; empty checks nothing",
    ),
    Parameter(
        "clip_input_size",
        0,
        "side in pixels that images are squashed to for CLIP, a multiple of its patch; 0 takes "
        "the size it was trained at, or for the demo the one that suits it",
        "the trained size is right for zero-shot scores; 512 gives finer maps",
        minimum=0,
        maximum=2048,
    ),
    Parameter(
        "attention",
        "v-v",
        "what surgery's new path attends by: 'v-v' (CLIP Surgery), 'k-k', 'gem' or 'naclip'",
        "the published method; `clip_surgery compare` shows which suits a network",
        choices=("v-v", "k-k", "gem", "naclip"),
    ),
    Parameter(
        "sam_model",
        DEMO,
        "SAM: 'demo', 'vit_b', 'vit_l' or 'vit_h'; MobileSAM: 'vit_t'; SAM 2: "
        "'sam2.1_hiera_tiny', '_small', '_base_plus' or '_large'",
        "works without a download",
        choices=SEGMENTERS,
    ),
    Parameter(
        "sam_checkpoint",
        "",
        "file with SAM's weights; empty for the demo, or for what `clip_surgery weights` fetched",
        "nothing is downloaded",
    ),
    Parameter(
        "sam_sha256",
        "",
        "SHA-256 that sam_checkpoint must have, or the first 8 or more of its hexadecimal digits",
        "not every publisher gives one; empty checks nothing",
    ),
    Parameter(
        "device",
        "auto",
        "'auto' (CUDA if there is one), 'cpu' or 'cuda:N'",
        "a robot with a GPU should use it unasked",
    ),
    Parameter(
        "allow_cpu_fallback",
        False,
        "where the CUDA device asked for is not there, use the CPU and warn in diagnostics",
        "a robot that is ten times too slow in silence is worse than one that says why it waits",
    ),
    Parameter(
        "precision",
        "float32",
        "arithmetic of the networks: float32, bfloat16, float16, or 'auto': half precision where "
        "the hardware is made for it (GPUs; CPUs where a layer takes two thirds of the time or "
        "less), else float32",
        "exact, and the same on every machine, as thresholds want; 'auto' suits real networks",
        choices=("auto", "float32", "bfloat16", "float16"),
    ),
    Parameter(
        "cpu_threads",
        0,
        "threads that the networks compute on, on a CPU; 0 takes one per core, or what "
        "OMP_NUM_THREADS says, and for the demo's small networks at most 4",
        "a robot that does other work keeps cores free with less",
        minimum=0,
        maximum=1024,
    ),
    Parameter(
        "templates",
        ("ensemble",),
        "prompts around a label: 'ensemble' (the published 85), 'single' ('a photo of a {}.') or "
        "templates of your own with {} for the label; a text's features are their mean",
        "the published recipe; 'single' encodes new labels 80 times faster",
    ),
    Parameter(
        "text_cache",
        True,
        "keep features of texts on disk, below CLIP_SURGERY_ROS_HOME; the demo's come with it",
        "a restart with many labels answers at once; false where labels must not be stored",
    ),
    Parameter(
        "image_topics",
        ("image_raw",),
        "a camera's topic, or several; name:=topic gives a camera a name. Several cameras share "
        "the networks in turn, with the results of each below its name",
        "what camera drivers and image_transport call it",
    ),
    Parameter(
        "image_transport",
        "raw",
        "'raw' for the topics themselves, 'compressed' for topic/compressed (JPEG, PNG)",
        "every camera driver publishes raw images",
        choices=("raw", "compressed"),
    ),
    Parameter(
        "autostart",
        True,
        "configure and activate without a lifecycle manager",
        "a plain `ros2 run` should work",
        read_only=True,
    ),
    Parameter(
        "default_query",
        "",
        "query in force until another comes; labels separated by , or ;",
        "no query, no work",
        live=True,
    ),
    Parameter(
        "threshold",
        math.nan,
        "raw similarity below which a token counts as nothing, -1 to 1; NaN sets none",
        "it depends on the network and the data: `clip_surgery calibrate` proposes one",
        live=True,
    ),
    Parameter(
        "label_thresholds",
        "",
        "thresholds of single labels instead, as in 'red mug=0.21; banana=0.19'",
        "labels differ less than networks do; `clip_surgery calibrate --per-label` proposes them",
        live=True,
    ),
    Parameter(
        "presence_threshold",
        0.5,
        "presence from which a label counts as being in the picture, 0 to 1; 0 asks no presence",
        "as likely in the picture as not",
        live=True,
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter(
        "distractors",
        True,
        "let built-in names join the labels, so that one or two have something to differ from",
        "one label alone has no defined label-set similarity",
        live=True,
    ),
    Parameter(
        "recipe",
        "instances",
        "from maps to masks: 'instances' (a click per peak, masks judged by the map, one segment "
        "per object) or 'reference' (the published recipe, one mask per label)",
        "on held-out scenes its masks are better, of a single object as good, and objects are "
        "told apart",
        live=True,
        choices=RECIPES,
    ),
    Parameter(
        "clip_windows",
        True,
        "recipe instances: CLIP looks at four overlapping windows of the picture too, for five "
        "times its own work",
        "small objects are found that the whole picture does not show",
        live=True,
    ),
    Parameter(
        "point_threshold",
        0.8,
        "recipe reference: share of a map's range from which a cell gives a positive point",
        "the published value",
        live=True,
        minimum=0.05,
        maximum=1.0,
    ),
    Parameter(
        "min_area",
        16,
        "smallest segment in pixels of the source image; smaller ones are dropped as specks",
        "4 x 4 pixels: less cannot be grasped or avoided",
        live=True,
        minimum=1,
    ),
    Parameter(
        "still_threshold",
        0.0,
        "largest change of a 16 x 16 block's mean, 0 to 255, at which a frame counts as the same "
        "view again and is answered from what is known of it; 0 never takes one for another",
        "exact; a camera that stands still may take 4, above its noise",
        live=True,
        minimum=0,
        maximum=255,
    ),
    Parameter(
        "max_rate_hz",
        0.0,
        "most frames answered per second; 0 for as many as the networks manage",
        "the newest frame wins anyway",
        live=True,
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        "max_frame_age_s",
        0.0,
        "frames whose stamp is older than this many seconds are dropped; 0 takes any age",
        "recorded bags carry old stamps",
        live=True,
        minimum=0.0,
    ),
    Parameter(
        "image_timeout_s",
        3.0,
        "a camera that sends nothing for so many seconds is warned of in diagnostics; 0 never "
        "warns",
        "longer than the pauses of a slow camera, short enough to be noticed",
        live=True,
        minimum=0.0,
    ),
)

_CHECKSUM = re.compile("[0-9a-fA-F]{8,64}")
_NULLS = ("null", "Null", "NULL", "~")
_LONGEST = 80
"""Characters of a value that a message repeats."""
_CURES: Mapping[type, str] = {
    str: "YAML takes digits, on, off, yes, no, true and false for no text, so quote it: "
    "{name}: '...' in a file, -p \"{name}:='...'\" on a command line",
    float: "write a number, without quotes",
    int: "write a whole number, without quotes",
    bool: "write true or false, without quotes",
}
"""What to do where a value has another type than the table's."""

_BY_NAME = {entry.name: entry for entry in PARAMETERS}


@dataclass(frozen=True)
class Config:
    """A checked snapshot of all parameters; fields are documented in the table."""

    clip_model: str
    clip_checkpoint: str
    clip_sha256: str
    clip_input_size: int
    attention: str
    sam_model: str
    sam_checkpoint: str
    sam_sha256: str
    device: str
    allow_cpu_fallback: bool
    precision: str
    cpu_threads: int
    templates: tuple[str, ...]
    text_cache: bool
    image_topics: tuple[str, ...]
    image_transport: str
    autostart: bool
    default_query: str
    threshold: float
    label_thresholds: str
    presence_threshold: float
    distractors: bool
    recipe: str
    clip_windows: bool
    point_threshold: float
    min_area: int
    still_threshold: float
    max_rate_hz: float
    max_frame_age_s: float
    image_timeout_s: float

    @classmethod
    def from_values(cls, values: Mapping[str, Any] | None = None) -> Config:
        """Defaults overridden by ``values``.

        :raises ConfigError: for an unknown name, a wrong type, a value out of range, or values
            that cannot work together.
        """
        values = values or {}
        unknown = sorted(set(values) - set(_BY_NAME))
        if unknown:
            raise ConfigError(f"there is no parameter '{unknown[0]}'; see docs/parameters.md")
        checked = {e.name: _checked(e, values.get(e.name, e.default)) for e in PARAMETERS}
        config = cls(**checked)
        _check_together(config)
        return config

    @property
    def windows(self) -> bool:
        """Whether CLIP looks at windows: ``clip_windows``, where the recipe knows them."""
        return self.clip_windows and self.recipe == "instances"


def defaults() -> dict[str, Any]:
    """Default of every parameter, by name."""
    return {entry.name: entry.default for entry in PARAMETERS}


def _checked(entry: Parameter, value: Any) -> Any:
    kind: type = type(entry.default)
    if kind is tuple:
        return _checked_texts(entry, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(
            f"parameter '{entry.name}' wants {kind.__name__}, got {_shown(value)}; "
            + (_CURES[kind].format(name=entry.name) if _is_one(value) else "write one value")
        )
    if kind is str:
        _refuse_null(entry, str(value))
    if entry.choices and value not in entry.choices:
        raise ConfigError(
            f"parameter '{entry.name}' is '{value}', but must be one of "
            f"{', '.join(entry.choices)}{did_you_mean(str(value), entry.choices)}"
        )
    if kind in (int, float):
        _check_range(entry, value)
    return value


def _check_range(entry: Parameter, number: Any) -> None:
    low, high = entry.minimum, entry.maximum
    # Written so that NaN is out of every range.
    fits = (low is None or number >= low) and (high is None or number <= high)
    if not fits:
        raise ConfigError(f"parameter '{entry.name}' is {number}, but must be {_range(low, high)}")
    if math.isinf(number):
        raise ConfigError(f"parameter '{entry.name}' is {number}, but must be a finite number")


def _checked_texts(entry: Parameter, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ConfigError(
            f"parameter '{entry.name}' wants a list of str, got {_shown(value)}; write a list of "
            f"one: ['{value[:_LONGEST]}']"
        )
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ConfigError(
            f"parameter '{entry.name}' wants a list of str, got {_shown(value)}; quote each: "
            "['...', '...']"
        )
    for text in value:
        _refuse_null(entry, text)
    return tuple(value)


def _refuse_null(entry: Parameter, text: str) -> None:
    """ROS has no null: what YAML means by it arrives as the text that was written."""
    if text in _NULLS:
        raise ConfigError(
            f"parameter '{entry.name}' is {text}, and ROS parameters have no null; leave it out "
            "to have the default, or write '' for none"
        )


def _is_one(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _shown(value: Any) -> str:
    """A value for people, of limited length."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = list(value)
    text = "an empty list" if value in (None, []) else repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"


def _check_together(config: Config) -> None:
    """Refuse values that cannot work together, saying what to do."""
    parse_cameras(config.image_topics)
    parse_templates(config.templates)
    try:
        parse_query(config.default_query)
    except QueryError as error:
        raise ConfigError(f"default_query cannot be asked: {error}") from error
    for model, checkpoint, checksum, kind in (
        (config.clip_model, config.clip_checkpoint, config.clip_sha256, "clip"),
        (config.sam_model, config.sam_checkpoint, config.sam_sha256, "sam"),
    ):
        if checksum and not _CHECKSUM.fullmatch(checksum):
            raise ConfigError(
                f"{kind}_sha256 is '{checksum}', but must be 8 to 64 hexadecimal digits; "
                "sha256sum prints them"
            )
        if checksum and not checkpoint:
            raise ConfigError(
                f"{kind}_sha256 is '{checksum}', but {kind}_checkpoint is empty; name the file "
                "that has this checksum, or leave it out"
            )
        if model == DEMO and checkpoint:
            raise ConfigError(
                f"{kind}_checkpoint is '{checkpoint}', but {kind}_model is '{DEMO}', whose "
                f"weights come with the package; set {kind}_model to the checkpoint's network"
            )
        listed = find_pretrained(model)
        if model != DEMO and not checkpoint and (listed is None or listed.kind != kind):
            raise ConfigError(
                f"{kind}_model is '{model}', but {kind}_checkpoint is empty; name the weight file "
                f"there, or take a name of `clip_surgery weights list`{suggestion(model, kind)}"
            )
    if not math.isnan(config.threshold) and not -1 <= config.threshold <= 1:
        raise ConfigError(
            f"threshold is {config.threshold}, but a cosine lies in -1 to 1; NaN sets none"
        )
    parse_thresholds(config.label_thresholds)
    if config.device not in ("auto", "cpu", "cuda") and not config.device.startswith("cuda:"):
        raise ConfigError(f"device is '{config.device}', but must be auto, cpu or cuda:N")
    if config.precision == "float16" and config.device == "cpu":
        raise ConfigError(
            "float16 is for GPUs; set precision to auto, float32 or bfloat16 on the CPU"
        )


def markdown_table() -> str:
    """The table of parameters as ``docs/parameters.md`` shows it."""
    rows = [
        "| parameter | default | live | meaning | why this default |",
        "| --- | --- | --- | --- | --- |",
    ]
    for entry in PARAMETERS:
        shown = f"`{_as_yaml(entry.default)}`" if entry.default != "" else "empty"
        live = "yes" if entry.live else "at start" if entry.read_only else "no"
        rows.append(f"| `{entry.name}` | {shown} | {live} | {entry.help} | {entry.reason} |")
    return "\n".join(rows)


def _as_yaml(default: Any) -> str:
    if isinstance(default, tuple):
        return f"[{', '.join(default)}]"
    return str(default).lower() if isinstance(default, bool) else str(default)
