"""Errors suggest the network with a similar name."""

from __future__ import annotations

import pytest

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.near_names import did_you_mean, nearest
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.weights.catalogue import PRETRAINED, suggestion


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-B/16", "openai/ViT-B-16"),
        ("ViT-B-16", "openai/ViT-B-16"),
        ("vit-b-16", "openai/ViT-B-16"),
        ("ViTB16", "openai/ViT-B-16"),
        ("ViT-B-16-openai", "openai/ViT-B-16"),
        ("openai/clip-vit-base-16", "openai/ViT-B-16"),
        ("OpenAI/ViT-B-32", "openai/ViT-B-32"),
        ("ViT-L/14@336px", "openai/ViT-L-14-336px"),
        ("laion2b ViT-B-16", "laion2b/ViT-B-16"),
        ("RN50", "openai/RN50"),
        ("vit-b", "vit_b"),
        ("VIT_H", "vit_h"),
        ("sam_vit_b", "vit_b"),
        ("sam_vit_b_01ec64", "vit_b"),
        ("sam_vit_h_4b8939.pth", "vit_h"),
        ("mobile_sam", "vit_t"),
        ("MobileSAM", "vit_t"),
        ("sam2.1_hiera_tny", "sam2.1_hiera_tiny"),
        ("sam2_hiera_large", "sam2.1_hiera_large"),
        ("hiera_small", "sam2.1_hiera_small"),
    ],
)
def test_similar_name_suggests_the_pretrained_network(name: str, expected: str) -> None:
    assert suggestion(name).startswith(f"; did you mean '{expected}'")


def test_exact_name_suggests_only_itself() -> None:
    for network in PRETRAINED:
        assert suggestion(network.name) == f"; did you mean '{network.name}'?"


@pytest.mark.parametrize("name", ["", "mug", "💡", "-", "x" * 1000])
def test_unlike_name_has_no_suggestion(name: str) -> None:
    assert suggestion(name) == ""


def test_at_most_three_names_are_suggested_in_order() -> None:
    assert nearest("a", ["a-1", "a-2", "b", "a-3", "a-4"]) == ["a-1", "a-2", "a-3"]
    assert did_you_mean("a-1", ["a_1", "b"]) == "; did you mean 'a_1'?"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clip_model": "ViT-B/16"}, "did you mean 'openai/ViT-B-16' or"),
        ({"clip_model": "vit_b"}, "did you mean 'openai/ViT-B-"),  # a name of a SAM
        ({"sam_model": "vit-b"}, "did you mean 'vit_b'"),
        ({"sam_model": "sam2_hiera_tiny"}, "did you mean 'sam2.1_hiera_tiny'"),
        ({"image_transport": "compresed"}, "did you mean 'compressed'"),
    ],
)
def test_invalid_parameter_value_suggests_similar_names(
    values: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_values(values)
    assert message in str(caught.value)
