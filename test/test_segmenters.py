"""MobileSAM and SAM 2 give the same results as their own packages.

Real architectures with random weights; each image is encoded once for all tests.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from small_networks import small_clip
from torch import nn

from clip_surgery_ros.benchmark.networks import random_texts
from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.core.interfaces import PromptableSegmenter
from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.core.types import PointPrompts
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.networks.sam import stock_encoder
from clip_surgery_ros.networks.sam.build import load_weights
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.networks.sam.mobile_sam import TinyEncoder
from clip_surgery_ros.networks.sam.sam2 import HieraEncoder, build_sam2
from clip_surgery_ros.networks.sam.segmenters import SEGMENTERS, load_segmenter
from clip_surgery_ros.parameters.config import DEMO, Config
from clip_surgery_ros.parameters.config import SEGMENTERS as CHOICES
from clip_surgery_ros.weights.catalogue import PRETRAINED, SAM, find_pretrained
from clip_surgery_ros.weights.fetching import download_path
from clip_surgery_ros.weights.layouts import SAM_MARKERS
from clip_surgery_ros.weights.state_dicts import ignore_warnings

NAMES = ("vit_t", "sam2.1_hiera_tiny")
SIZE_HW = (90, 140)
PROMPTS = [
    PointPrompts(np.array([[70, 40]], np.int32), np.array([True])),
    PointPrompts(np.array([[5, 80], [139, 0], [60, 89]], np.int32), np.array([True, False, True])),
    PointPrompts(np.array([[20, 20]], np.int32), np.array([True])),
]


@dataclass(frozen=True)
class SegmenterPair:
    """A network in the predictor of its own package, and in this package."""

    path: Path
    network: nn.Module
    predictor: Any
    segmenter: PromptableSegmenter


def picture() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    image.flags.writeable = False  # like the data of an image message
    return image


def randomize(network: nn.Module) -> nn.Module:
    """Change weights and statistics so that none is exactly zero or one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        for name, statistic in network.named_buffers():
            if name.endswith("running_var"):
                statistic.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                statistic.normal_(std=0.1)
    return network.eval()


def own_package(name: str) -> tuple[nn.Module, Any]:
    with ignore_warnings():
        if name == "vit_t":
            from mobile_sam import SamPredictor, sam_model_registry

            network = randomize(sam_model_registry[name]())
            return network, SamPredictor(network)
        from sam2.build_sam import build_sam2
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        size = name.rsplit("_", 1)[1][0]
        network = build_sam2(f"configs/sam2.1/sam2.1_hiera_{size}.yaml", device="cpu")
        return network, SAM2ImagePredictor(randomize(network))


@pytest.fixture(scope="module", params=NAMES)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SegmenterPair:
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pt"
    network, predictor = own_package(request.param)
    state = network.state_dict()
    torch.save(state if request.param == "vit_t" else {"model": state}, path)
    predictor.set_image(np.array(picture()))
    return SegmenterPair(
        path, network, predictor, CachingSegmenter(load_segmenter(request.param, path))
    )


def test_masks_scores_and_logits_equal_the_original_package(pair: SegmenterPair) -> None:
    embedding = pair.segmenter.encode(picture())
    found = pair.segmenter.decode(embedding, PROMPTS)
    assert len(found) == len(PROMPTS)
    for prompt, candidates in zip(PROMPTS, found, strict=True):
        masks, scores, logits = pair.predictor.predict(
            prompt.xy.astype(np.float32), prompt.positive.astype(np.int32), multimask_output=True
        )
        scale = np.abs(logits).max()
        assert scale > 0.1 and 0 < masks.mean() < 1  # or else the comparison would be empty
        logits_here = candidates.logits.clamp(-32, 32).numpy()  # as SAM 2's predictor returns them
        np.testing.assert_allclose(logits_here, logits, atol=1e-4 * scale)
        np.testing.assert_allclose(candidates.quality, scores, atol=1e-4)
        enlarged = pair.segmenter.full_size(embedding, candidates.logits)
        assert enlarged.shape == masks.shape == (3, *SIZE_HW)
        assert (enlarged == masks).mean() > 0.999


def test_embedding_has_the_size_of_the_image_inside_the_square(pair: SegmenterPair) -> None:
    embedding = pair.segmenter.encode(picture())
    assert embedding.size_hw == SIZE_HW
    # SAM pads the picture to a square; SAM 2 resizes it to a square.
    assert embedding.inner_hw == ((165, 256) if pair.path.stem == "vit_t" else (256, 256))


def test_pipeline_makes_segments_with_every_segmenter(pair: SegmenterPair) -> None:
    clip = ClipBackend(small_clip(), open_clip.SimpleTokenizer())
    names, _ = random_texts(clip, 2)
    for recipe in ("reference", "instances"):
        settings = Settings(
            presence_threshold=0.0, distractor_names=(), min_area=1, recipe=RECIPES[recipe]
        )
        result = Pipeline(clip, pair.segmenter, settings).run(picture(), query_of(names))
        assert result.segments
        for segment in result.segments:
            assert 0 <= segment.score <= 1 and segment.mask.any()


def test_sam_model_name_loads_the_downloaded_file(
    pair: SegmenterPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    model = find_pretrained(pair.path.stem)
    assert model is not None
    download_path(model).symlink_to(pair.path)
    networks = load_networks(Config.from_values({"sam_model": model.name}))
    assert type(networks.sam).__name__ == (
        "SamBackend" if model.name == "vit_t" else "Sam2Backend"
    )


def test_segmenter_does_not_change_the_given_network() -> None:
    for name in NAMES:
        network = SEGMENTERS[name].build()
        before = {key: value.clone() for key, value in network.state_dict().items()}
        SEGMENTERS[name].wrap(network, device="cpu", dtype=torch.bfloat16)
        after = network.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_bfloat16_features_are_close_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    # Test the precision even where bfloat16 is slow.
    monkeypatch.setattr(stock_encoder, "faster_dtype", lambda name, dtype, *_: dtype)
    torch.manual_seed(1)
    tiny, sam2 = (SEGMENTERS[name].build() for name in NAMES)
    for make, net, side, height in (
        (TinyEncoder, tiny.image_encoder, 1024, [1024]),
        (HieraEncoder, sam2, 256, []),
    ):
        pixels = 0.5 * torch.randn(1, 3, side, side)
        exact, coarse = (
            features_of(make(net, torch.device("cpu"), dtype), pixels, *height)
            for dtype in (torch.float32, torch.bfloat16)
        )
        assert 0 < (coarse - exact).norm() < 0.1 * exact.norm()


def features_of(encoder: Any, pixels: torch.Tensor, *height: int) -> torch.Tensor:
    with torch.inference_mode():
        features = encoder(pixels, *height)
    return features[0] if isinstance(features, tuple) else features.float()


def test_names_agree_in_parameter_catalogue_and_markers() -> None:
    assert {DEMO, *SEGMENTERS} == set(CHOICES)
    assert {network.name for network in PRETRAINED if network.kind == SAM} == set(SEGMENTERS)
    assert {name for name, *_ in SAM_MARKERS} == set(SEGMENTERS)


def test_file_of_another_network_is_named(pair: SegmenterPair) -> None:
    (name,) = set(NAMES) - {pair.path.stem}
    with pytest.raises(WeightsError, match=f"does not fit SAM {name}; .*{pair.path.stem}"):
        load_segmenter(name, pair.path)


@pytest.mark.parametrize(
    ("name", "module", "distribution"),
    [
        ("vit_t", "mobile_sam.modeling.tiny_vit_sam", "mobilesam-mirror"),
        ("sam2.1_hiera_tiny", "sam2.build_sam", "rf-sam-2"),
    ],
)
def test_missing_package_is_an_error_with_the_pip_command(
    name: str, module: str, distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"`pip install {distribution}` has it"):
        SEGMENTERS[name].build()


def test_weights_of_sam_2_0_load() -> None:
    with ignore_warnings():
        from sam2.build_sam import build_sam2 as build

        older = build("configs/sam2/sam2_hiera_t.yaml", device="cpu").state_dict()
    network = build_sam2("sam2.1_hiera_tiny")
    load_weights(network, older, "sam2_hiera_tiny.pt", "sam2.1_hiera_tiny")
    assert all(torch.equal(value, older[key]) for key, value in network.state_dict().items())


def test_building_segmenters_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            SEGMENTERS[name].build()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"adapter.weight": torch.zeros(3)}, r"is of SAM vit_t, but .* unknown adapter\.weight;"),
        (
            {"mask_decoder.iou_token.weight": None},
            r"but .* lacks mask_decoder\.iou_token\.weight;",
        ),
        (
            {"mask_decoder.iou_token.weight": torch.zeros(3)},
            r"another size of mask_decoder\.iou_token\.weight \(\[3\] instead of \[1, 256\]\);",
        ),
    ],
    ids=["unknown", "missing", "wrong size"],
)
def test_file_with_a_wrong_tensor_names_it(
    tmp_path: Path, change: dict[str, torch.Tensor | None], error: str
) -> None:
    tensors = SEGMENTERS["vit_t"].build().state_dict() | change
    torch.save({k: v for k, v in tensors.items() if v is not None}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=error):
        load_segmenter("vit_t", tmp_path / "w.pth")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model.sam."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_prefix_of_a_trainer_is_removed_from_tensor_names(
    tmp_path: Path, prefix: str, suffix: str
) -> None:
    tensors = {f"{prefix}{k}": v for k, v in SEGMENTERS["vit_t"].build().state_dict().items()}
    if suffix == ".safetensors":
        save_file(tensors, tmp_path / "w.safetensors")
    else:
        torch.save({"epoch": 3, "model_state_dict": tensors}, tmp_path / "w.pth")
    load_segmenter("vit_t", tmp_path)


def test_unknown_prefix_of_tensor_names_is_reported(tmp_path: Path) -> None:
    tensors = {f"student.{k}": v for k, v in SEGMENTERS["vit_t"].build().state_dict().items()}
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"the SAM 'vit_t', with 'student\.' before its names"):
        load_segmenter("vit_t", tmp_path / "w.pth")


def test_weights_in_transformers_layout_are_named(tmp_path: Path) -> None:
    sizes = {"shared_image_embedding.positional_embedding": 1, "mask_decoder.iou_token.weight": 1}
    torch.save({name: torch.zeros(size) for name, size in sizes.items()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="a SAM in Transformers' layout, not in Meta's"):
        load_segmenter("vit_t", tmp_path / "w.pth")
