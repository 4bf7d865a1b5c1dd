"""SAM: the published sizes, and one embedding for all prompts of a frame."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from clip_surgery_ros.backends.sam import SPECS, SamBackend, SamSpec, build_sam
from clip_surgery_ros.core.errors import ConfigError, ImageError, WeightsError
from clip_surgery_ros.core.types import PointPrompts

SMALL = SamSpec(
    image_size=64,
    patch_size=16,
    encoder_dim=32,
    encoder_depth=2,
    encoder_heads=2,
    global_attn_indexes=(1,),
    window_size=2,
    prompt_dim=32,
    decoder_heads=2,
    mlp_dim=32,
)


def small_sam() -> Sam:
    torch.manual_seed(0)
    sam = build_sam(SMALL)
    for parameter in sam.parameters():  # as a trained one: nothing is exactly zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return sam.eval()


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def prompt(*points: tuple[int, int, bool]) -> PointPrompts:
    return PointPrompts(
        np.array([(x, y) for x, y, _ in points], np.int32),
        np.array([positive for _, _, positive in points], np.bool_),
    )


PROMPTS = [
    prompt((5, 5, True)),
    prompt((30, 20, True), (2, 38, False), (55, 3, False)),
    prompt((59, 39, True), (10, 30, True)),
]


@pytest.mark.parametrize("name", sorted(SPECS))
def test_published_models_have_the_published_shapes(name: str) -> None:
    with torch.device("meta"):
        ours = build_sam(SPECS[name]).state_dict()
        theirs = sam_model_registry[name]().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_masks_decoded_together_equal_those_of_one_predict_each() -> None:
    sam, image = small_sam(), picture()
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    backend = SamBackend(sam, chunk=2)
    found = backend.decode(backend.encode(image), PROMPTS)
    assert len(found) == len(PROMPTS)
    for points, candidates in zip(PROMPTS, found, strict=True):
        masks, scores, _ = predictor.predict(
            points.xy.astype(np.float64), points.positive.astype(np.int32), multimask_output=True
        )
        assert candidates.masks.shape == (3, 40, 60)
        assert (candidates.masks == masks).mean() > 0.999
        np.testing.assert_allclose(candidates.scores, scores, atol=1e-4)


def test_the_image_is_encoded_once_for_all_prompts() -> None:
    sam = small_sam()
    runs: list[int] = []
    sam.image_encoder.register_forward_hook(lambda *_: runs.append(1))
    backend = SamBackend(sam, chunk=1)
    backend.decode(backend.encode(picture()), PROMPTS)
    assert len(runs) == 1


def test_no_prompts_give_no_masks() -> None:
    backend = SamBackend(small_sam())
    assert backend.decode(backend.encode(picture()), []) == []


def test_bfloat16_masks_stay_near_float32() -> None:
    image = picture()
    exact, half = SamBackend(small_sam()), SamBackend(small_sam(), dtype=torch.bfloat16)
    one = exact.decode(exact.encode(image), PROMPTS)
    other = half.decode(half.encode(image), PROMPTS)
    for a, b in zip(one, other, strict=True):
        assert (a.masks == b.masks).mean() > 0.9


def test_a_checkpoint_loads_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    torch.save(small_sam().state_dict(), path)
    with pytest.raises(WeightsError, match="does not fit SAM vit_b"):
        SamBackend.from_file(path, "vit_b")
    with pytest.raises(WeightsError, match="does not tell its sizes"):
        SamBackend.from_file(path)
    with pytest.raises(ConfigError, match="none of vit_b"):
        SamBackend.from_file(path, "vit_x")


def test_sizes_are_read_from_the_file(tmp_path: Path) -> None:
    path, sam, image = tmp_path / "sam.safetensors", small_sam(), picture()
    save_file(sam.state_dict(), path, {"sam_spec": json.dumps(asdict(SMALL))})
    one, other = SamBackend.from_file(path), SamBackend(sam)
    (found,) = one.decode(one.encode(image), PROMPTS[:1])
    (expected,) = other.decode(other.encode(image), PROMPTS[:1])
    assert np.array_equal(found.masks, expected.masks)


@pytest.mark.parametrize("spec", ["{oops", "{}", "3", '{"global_attn_indexes": [], "wings": 2}'])
def test_sizes_that_cannot_be_read_are_refused(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "sam.safetensors"
    save_file({"a": torch.ones(1)}, path, {"sam_spec": spec})
    with pytest.raises(WeightsError, match="sam_spec"):
        SamBackend.from_file(path)


@pytest.mark.parametrize("size_hw", [(8, 2000), (2000, 8)])
def test_an_image_too_narrow_for_the_network_is_refused(size_hw: tuple[int, int]) -> None:
    # 8 * 64 / 2000 is a quarter of a pixel.
    with pytest.raises(ImageError, match="too narrow"):
        SamBackend(small_sam()).encode(picture(*size_hw))


def test_an_image_as_large_as_the_input_is_not_resized() -> None:
    backend = SamBackend(build_sam(replace(SMALL, image_size=32)))
    embedding = backend.encode(picture(32, 32))
    assert embedding.size_hw == (32, 32)
    assert embedding.features.input_hw == (32, 32)
