"""The table of parameters, and the validation of values."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.parameters.config import PARAMETERS, Config, defaults


def test_config_fields_are_the_parameters_in_order() -> None:
    assert [f.name for f in dataclasses.fields(Config)] == [entry.name for entry in PARAMETERS]


def test_defaults_are_valid_and_every_parameter_has_help() -> None:
    config = Config.from_values()
    for name, value in defaults().items():
        kept = getattr(config, name)
        assert kept == value or (math.isnan(kept) and math.isnan(float(value)))
    assert all(entry.help and entry.reason for entry in PARAMETERS)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"nonsense": 1}, "no parameter 'nonsense'"),
        ({"device": "gpu"}, "auto, cpu or cuda:N"),
        ({"precision": "int8"}, "one of auto, float32"),
        ({"precision": "float16", "device": "cpu"}, "float16 is for GPUs"),
        ({"presence_threshold": 1.5}, "0 to 1"),
        ({"presence_threshold": math.nan}, "0 to 1"),
        ({"presence_threshold": "high"}, "wants float"),
        ({"autostart": 1}, "wants bool"),
        ({"threshold": 3.0}, "cosine"),
        ({"min_area": 0}, "at least 1"),
        ({"image_topics": "image_raw"}, "wants a list of str"),
        ({"image_topics": []}, "name at least one"),
        ({"image_topics": ["a b"]}, "'a b' is no topic"),
        ({"templates": "single"}, "wants a list of str"),
        ({"templates": []}, "templates is empty"),
        ({"templates": ["a photo"]}, "'a photo', but must have ensemble, single or"),
        ({"clip_sha256": "12xy"}, "8 to 64 hexadecimal digits"),
        ({"sam_sha256": "0123abcd"}, "sam_checkpoint is empty; name the file"),
        ({"clip_model": "ViT-B-16"}, "clip_checkpoint is empty"),
        ({"clip_model": "vit_b"}, "clip_checkpoint is empty"),
        ({"sam_checkpoint": "sam.pth"}, "whose weights come with the package"),
    ],
)
def test_invalid_values_are_rejected_with_the_reason(values: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Config.from_values(values)


def test_integers_are_accepted_for_float_parameters() -> None:
    assert Config.from_values({"max_rate_hz": 5}).max_rate_hz == 5.0
