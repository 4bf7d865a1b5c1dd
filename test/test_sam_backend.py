"""SAM: published sizes, and one image embedding for all prompts of a frame."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from small_networks import SMALL, small_sam

from clip_surgery_ros.core.errors import ImageError, WeightsError
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.build import SPECS, build_sam
from clip_surgery_ros.networks.sam.full_size import full_size_masks
from clip_surgery_ros.networks.sam.segmenters import load_segmenter


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def prompt(*points: tuple[int, int, bool]) -> PointPrompts:
    return PointPrompts(
        np.array([(x, y) for x, y, _ in points], np.int32),
        np.array([positive for _, _, positive in points], np.bool_),
    )


def masks_of(backend: SamBackend, image: np.ndarray, prompts: list[PointPrompts]) -> np.ndarray:
    """Return the masks of all candidates, (K, 3, H, W)."""
    embedding = backend.encode(image)
    found = backend.decode(embedding, prompts)
    return np.stack([backend.full_size(embedding, candidates.logits) for candidates in found])


PROMPTS = [
    prompt((5, 5, True)),
    prompt((30, 20, True), (2, 38, False), (55, 3, False)),
    prompt((59, 39, True), (10, 30, True)),
]


@pytest.mark.parametrize("name", sorted(SPECS))
def test_published_sam_has_the_shapes_of_segment_anything(name: str) -> None:
    with torch.device("meta"):
        ours = build_sam(SPECS[name]).state_dict()
        theirs = sam_model_registry[name]().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_masks_of_batched_prompts_equal_single_predictions() -> None:
    sam, image = small_sam(), picture()
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    backend = SamBackend(sam, chunk=2)
    embedding = backend.encode(image)
    found = backend.decode(embedding, PROMPTS)
    assert len(found) == len(PROMPTS)
    for points, candidates in zip(PROMPTS, found, strict=True):
        enlarged = backend.full_size(embedding, candidates.logits)
        masks, scores, _ = predictor.predict(
            points.xy.astype(np.float64), points.positive.astype(np.int32), multimask_output=True
        )
        assert enlarged.shape == (3, 40, 60)
        assert (enlarged == masks).mean() > 0.999
        np.testing.assert_allclose(candidates.quality, scores, atol=1e-4)


def test_image_is_encoded_once_for_all_prompts() -> None:
    backend = SamBackend(small_sam())
    encoder, runs = backend._encoder, []
    backend._encoder = lambda *given: runs.append(1) or encoder(*given)
    backend.decode(backend.encode(picture()), PROMPTS)
    assert len(runs) == 1


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("count", [1, 5, 20])
def test_any_number_of_prompts_equals_segment_anything(count: int, chunk: int) -> None:
    sam, image, rng = small_sam(), picture(50, 70), np.random.default_rng(count)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    xy = rng.integers(0, 50, (count, 3, 2), np.int32)
    positive = rng.random((count, 3)) < 0.7
    backend = SamBackend(sam, chunk=chunk)
    embedding = backend.encode(image)
    prompts = [PointPrompts(*points) for points in zip(xy, positive, strict=True)]
    found = backend.decode(embedding, prompts)

    points = torch.from_numpy(predictor.transform.apply_coords(xy, image.shape[:2]))
    masks, scores, logits = predictor.predict_torch(points, torch.from_numpy(positive).int())
    best = torch.stack([candidates.logits[candidates.quality.argmax()] for candidates in found])
    expected = masks[torch.arange(count), scores.argmax(dim=1)].numpy()
    assert (backend.full_size(embedding, best) == expected).mean() > 0.9999
    np.testing.assert_allclose(
        np.stack([candidates.quality for candidates in found]), scores, atol=1e-4
    )
    torch.testing.assert_close(torch.stack([x.logits for x in found]), logits, atol=1e-3, rtol=0)


def test_prompt_with_many_points_equals_segment_anything() -> None:
    """With more tokens than channels, attention from image to tokens uses another order."""
    sam, image = small_sam(), picture()
    xy = np.random.default_rng(1).integers(0, 40, (30, 2), np.int32)
    predictor, backend = SamPredictor(sam), SamBackend(sam)
    predictor.set_image(image)
    _, scores, logits = predictor.predict(xy.astype(np.float64), np.ones(30, np.int32))
    (found,) = backend.decode(backend.encode(image), [PointPrompts(xy, np.ones(30, np.bool_))])
    np.testing.assert_allclose(found.logits, logits, atol=1e-3)
    np.testing.assert_allclose(found.quality, scores, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(64, 64), (40, 60), (90, 31), (7, 64), (720, 1280)])
def test_full_size_masks_equal_segment_anything(size_hw: tuple[int, int]) -> None:
    sam = small_sam()
    logits = torch.randn(4, 16, 16)
    inner = ResizeLongestSide.get_preprocess_shape(*size_hw, 64)
    expected = sam.postprocess_masks(logits[None], inner, size_hw)[0] > 0
    assert torch.equal(full_size_masks(logits, 64, inner, size_hw), expected)


def test_backend_does_not_change_the_given_network() -> None:
    sam = small_sam()
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    backend = SamBackend(sam, dtype=torch.bfloat16)
    backend.decode(backend.encode(picture()), PROMPTS)
    after = sam.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in sam.parameters())


def test_no_prompts_give_no_masks() -> None:
    backend = SamBackend(small_sam())
    assert backend.decode(backend.encode(picture()), []) == []


def test_bfloat16_masks_are_close_to_float32() -> None:
    image = picture()
    exact, half = SamBackend(small_sam()), SamBackend(small_sam(), dtype=torch.bfloat16)
    assert (masks_of(exact, image, PROMPTS) == masks_of(half, image, PROMPTS)).mean() > 0.9


def test_checkpoint_of_wrong_or_unknown_sizes_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    torch.save(small_sam().state_dict(), path)
    with pytest.raises(WeightsError, match="does not fit SAM vit_b; it looks like a Segment"):
        load_segmenter("vit_b", path)
    with pytest.raises(WeightsError, match="does not contain its sizes"):
        SamBackend.from_file(path)


def test_sizes_are_read_from_the_metadata_of_the_file(tmp_path: Path) -> None:
    path, sam, image = tmp_path / "sam.safetensors", small_sam(), picture()
    save_file(sam.state_dict(), path, {"sam_spec": json.dumps(asdict(SMALL))})
    loaded, original = SamBackend.from_file(path), SamBackend(sam)
    assert np.array_equal(
        masks_of(loaded, image, PROMPTS[:1]), masks_of(original, image, PROMPTS[:1])
    )


@pytest.mark.parametrize("spec", ["{oops", "{}", "3", '{"global_attn_indexes": [], "wings": 2}'])
def test_invalid_sizes_in_the_metadata_are_rejected(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "sam.safetensors"
    save_file({"a": torch.ones(1)}, path, {"sam_spec": spec})
    with pytest.raises(WeightsError, match="sam_spec"):
        SamBackend.from_file(path)


@pytest.mark.parametrize("size_hw", [(8, 2000), (2000, 8)])
def test_too_narrow_image_is_rejected(size_hw: tuple[int, int]) -> None:
    # 8 * 64 / 2000 is a quarter of a pixel.
    with pytest.raises(ImageError, match="too narrow"):
        SamBackend(small_sam()).encode(picture(*size_hw))


def test_image_of_the_input_size_is_not_resized() -> None:
    backend = SamBackend(build_sam(replace(SMALL, image_size=32)))
    embedding = backend.encode(picture(32, 32))
    assert embedding.size_hw == (32, 32)
    assert embedding.features.input_hw == (32, 32)
