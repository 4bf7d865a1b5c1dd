"""Checks of parameters: each value by itself, then all values together."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clip_surgery_ros.core.errors import ConfigError, QueryError
from clip_surgery_ros.core.near_names import did_you_mean
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.templates import parse_templates
from clip_surgery_ros.parameters.cameras import FRAME
from clip_surgery_ros.parameters.table import Parameter
from clip_surgery_ros.parameters.thresholds import parse_thresholds
from clip_surgery_ros.weights.catalogue import find_pretrained, suggestion

if TYPE_CHECKING:
    from clip_surgery_ros.parameters.config import Config

DEMO = "demo"
"""Name of the small networks that are included in the package."""
_CHECKSUM = re.compile("[0-9a-fA-F]{8,64}")
_DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,3}))?", re.ASCII)
"""torch takes no leading zeros."""
_NULLS = ("null", "Null", "NULL", "~")
_MAX_CHARACTERS = 80
"""Characters of a value that a message repeats."""
_HINTS: Mapping[type, str] = {
    str: "YAML takes digits, on, off, yes, no, true and false for no text, so quote it: "
    "{name}: '...' in a file, -p \"{name}:='...'\" on a command line",
    float: "write a number, without quotes",
    int: "write a whole number, without quotes",
    bool: "write true or false, without quotes",
}
"""How to correct a value whose type is not that of the table."""


def check_value(entry: Parameter, value: Any) -> Any:
    """Return the value in the type of the table: a float for 2, a tuple for a list.

    :raises ConfigError: for a wrong type, a value out of range, or one that is no choice.
    """
    expected: type = type(entry.default)
    if expected is tuple:
        return _check_texts(entry, value)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not expected:
        is_single = isinstance(value, str | int | float)
        hint = _HINTS[expected].format(name=entry.name) if is_single else "write one value"
        raise ConfigError(
            f"parameter '{entry.name}' wants {expected.__name__}, got {_shown(value)}; {hint}"
        )
    if expected is str:
        _refuse_null(entry, str(value))
    if entry.choices and value not in entry.choices:
        raise ConfigError(
            f"parameter '{entry.name}' is '{value}', but must be one of "
            f"{', '.join(entry.choices)}{did_you_mean(str(value), entry.choices)}"
        )
    if expected in (int, float):
        _check_range(entry, value)
    return value


def check_together(config: Config) -> None:
    """Refuse values that cannot work together.

    :raises ConfigError: that says what to do.
    """
    cameras = config.cameras
    _check_space(config, any(camera.space is not None for camera in cameras))
    _check_tracks(config)
    parse_templates(config.templates)
    try:
        parse_query(config.default_query)
    except QueryError as error:
        raise ConfigError(f"default_query cannot be used: {error}") from error
    _check_network("clip", config.clip_model, config.clip_checkpoint, config.clip_sha256)
    _check_network("sam", config.sam_model, config.sam_checkpoint, config.sam_sha256)
    if not math.isnan(config.threshold) and not -1 <= config.threshold <= 1:
        raise ConfigError(
            f"threshold is {config.threshold}, but a cosine lies in -1 to 1; write NaN for none"
        )
    parse_thresholds(config.label_thresholds)
    check_device(config.device)
    if config.precision == "float16" and config.device == "cpu":
        raise ConfigError(
            "float16 is for GPUs; set precision to auto, float32 or bfloat16 on the CPU"
        )


def _check_space(config: Config, has_depth: bool) -> None:
    """Check the parameters of objects in space.

    :param has_depth: whether a camera has a depth topic.
    """
    if config.min_depth >= config.max_depth:
        raise ConfigError(
            f"min_depth is {config.min_depth:g} and max_depth {config.max_depth:g}, so no depth "
            "would be used; min_depth must be smaller"
        )
    if config.target_frame and not FRAME.fullmatch(config.target_frame):
        raise ConfigError(
            f"target_frame is {_shown(config.target_frame)}, which is no name of a frame; write "
            "one such as base_link, without a slash at its start"
        )
    if config.publish_tf and not has_depth:
        raise ConfigError("publish_tf is true and no camera has depth; name it in depth_topics")
    is_upright = config.box_mode == "upright" and not config.target_frame
    if has_depth and is_upright and config.support == "none":
        raise ConfigError(
            "box_mode is upright, target_frame is empty and support is none, so nothing says "
            "what is up; set target_frame to a frame with z up, support to plane, or box_mode to "
            "oriented"
        )


def _check_tracks(config: Config) -> None:
    """Check the parameters of ids that last."""
    for name in ("track_missed", "track_empty"):
        if getattr(config, name) > config.track_memory:
            raise ConfigError(
                f"{name} is {getattr(config, name):g} s and track_memory {config.track_memory:g} "
                "s, so objects would be forgotten before they are gone; track_memory must be at "
                "least as long"
            )


def check_device(name: str) -> None:
    """Check the name of a device; whether it exists is another question.

    :raises ConfigError: when it is none of ``auto``, ``cpu``, ``cuda`` and ``cuda:N``.
    """
    if not _DEVICE.fullmatch(name):
        raise ConfigError(
            f"device is '{name}', but must be auto, cpu or cuda:N, with N a whole number such as "
            "0 or 1"
        )


def _check_network(kind: str, model: str, checkpoint: str, checksum: str) -> None:
    """Check the parameters of one network.

    :param kind: ``clip`` or ``sam``.
    """
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


def _check_range(entry: Parameter, number: Any) -> None:
    low, high = entry.minimum, entry.maximum
    # Written so that NaN is out of every range.
    fits = (low is None or number >= low) and (high is None or number <= high)
    if not fits:
        raise ConfigError(f"parameter '{entry.name}' is {number}, but must be {_range(low, high)}")
    if math.isinf(number):
        raise ConfigError(f"parameter '{entry.name}' is {number}, but must be a finite number")


def _check_texts(entry: Parameter, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ConfigError(
            f"parameter '{entry.name}' wants a list of str, got {_shown(value)}; write a list of "
            f"one: ['{value[:_MAX_CHARACTERS]}']"
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
    """Refuse YAML's null: ROS has none, and passes it on as the text that was written."""
    if text in _NULLS:
        raise ConfigError(
            f"parameter '{entry.name}' is {text}, and ROS parameters have no null; leave it out "
            "to have the default, or write '' for none"
        )


def _shown(value: Any) -> str:
    """Return a value for a message, of limited length."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = list(value)
    text = "an empty list" if value in (None, []) else repr(value)
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "..."


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
