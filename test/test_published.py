"""Pretrained networks: their catalogue, and CLIP Surgery on every OpenAI architecture."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import open_clip
import pytest
import torch
from small_networks import small_sam

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.loading import load_openai_model
from clip_surgery_ros.networks.clip.traits import ClipTraits
from clip_surgery_ros.networks.sam.build import SPECS, load_weights
from clip_surgery_ros.networks.sam.segmenters import SEGMENTERS
from clip_surgery_ros.weights.catalogue import CLIP, PRETRAINED, SAM, PretrainedNetwork

CLIPS = [network for network in PRETRAINED if network.kind == CLIP]
OPENAI = [network for network in CLIPS if network.name.startswith("openai/")]


def millions_of_parameters(module: torch.nn.Module) -> float:
    return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1)


@pytest.mark.parametrize("model", CLIPS, ids=lambda model: model.name)
def test_clip_has_the_parameters_and_input_size_of_the_catalogue(
    model: PretrainedNetwork,
) -> None:
    network = network_of(model)
    assert millions_of_parameters(network) == model.parameters
    size = network.visual.image_size
    assert (size if isinstance(size, int) else size[0]) == model.input_size


@pytest.mark.parametrize(
    "model",
    [network for network in PRETRAINED if network.kind == SAM],
    ids=lambda model: model.name,
)
def test_sam_has_the_parameters_of_the_catalogue_and_is_recognised(
    model: PretrainedNetwork,
) -> None:
    # The packages of SAM 2 and MobileSAM compute with values in their constructors.
    device = torch.device("meta") if model.name in SPECS else contextlib.nullcontext()
    with device:
        network = SEGMENTERS[model.architecture].build()
    assert millions_of_parameters(network) == model.parameters
    with pytest.raises(WeightsError, match=f"looks like {model.name}: set sam_model to that"):
        load_weights(small_sam(), network.state_dict(), "sam.pt", "another")


def test_catalogue_has_unique_names_and_files_and_valid_checksums() -> None:
    assert len({network.name for network in PRETRAINED}) == len(PRETRAINED)
    assert len({network.file_name for network in PRETRAINED}) == len(PRETRAINED)
    assert len(OPENAI) == 9
    for network in PRETRAINED:
        assert network.address.startswith("https://")
        assert network.sha256 in network.address
        assert re.fullmatch("[0-9a-f]{6,64}|", network.sha256)


@pytest.mark.parametrize("model", CLIPS, ids=lambda model: model.name)
def test_clip_of_the_catalogue_agrees_with_the_table_of_open_clip(
    model: PretrainedNetwork,
) -> None:
    name = model.architecture
    configs = [
        open_clip.get_pretrained_cfg(name, tag)
        for tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    repository = model.address.removeprefix("https://huggingface.co/").split("/resolve/")[0]
    (config,) = [
        c for c in configs if c["url"] == model.address or c["hf_hub"] == f"{repository}/"
    ]
    assert config["hf_hub"] == f"{model.hub}/"
    assert config.get("quick_gelu", False) == name.endswith("-quickgelu")
    assert open_clip.get_model_config(name).get("quick_gelu", False) == config.get(
        "quick_gelu", False
    )
    assert (config["mean"], config["std"]) == (ClipTraits().mean, ClipTraits().std)


def network_of(model: PretrainedNetwork) -> torch.nn.Module:
    """Build open_clip's network without memory for its weights."""
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(model.architecture))


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    """Random numbers for the largest tensor, the token embedding of RN50x64, and 50,000 more."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.empty(49408 * 1024 + 50_000).uniform_(-(3**0.5), 3**0.5, generator=generator)
    return noise.half()


def random_weights(network: torch.nn.Module, noise: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return random float16 weights whose activations keep their scale with depth."""
    tensors = {}
    for name, empty in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if empty.ndim > 1:
            start = 97 * len(tensors) % 50_000
            inputs = 1 if "positional" in name else empty[0].numel()
            tensors[name] = noise[start : start + empty.numel()].view(empty.shape) * inputs**-0.5
        elif name.endswith((".weight", "running_var")):
            # Weights of normalisations are 1, but small at the end of a branch.
            tensors[name] = torch.full(empty.shape, 0.1 if "bn3." in name else 1.0)
        else:
            tensors[name] = torch.zeros(empty.shape)
    return tensors


def heads(network: torch.nn.Module) -> dict[str, int]:
    """Return the number of heads of every attention."""
    return {k: m.num_heads for k, m in network.named_modules() if hasattr(m, "num_heads")}


@pytest.mark.parametrize("model", OPENAI, ids=lambda model: model.name)
def test_surgery_runs_on_openai_architecture_at_full_size(
    model: PretrainedNetwork, noise: torch.Tensor
) -> None:
    expected = network_of(model)
    built = load_openai_model(random_weights(expected, noise))
    # Layers have the types, sizes and activations of open_clip; attentions have as many heads.
    assert str(built) == str(expected)
    assert heads(built) == heads(expected)
    assert "QuickGELU()" in str(built)
    clip = ClipBackend(built, open_clip.SimpleTokenizer())
    assert clip.input_size == model.input_size

    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    pixels = clip.preprocess(image)
    rows, columns = clip.grid_hw(pixels)
    tokens = clip.surgery_tokens(pixels)
    channels = open_clip.get_model_config(model.architecture)["embed_dim"]
    assert tokens.shape == (1, 1 + rows * columns, channels)
    assert tokens.isfinite().all()

    part = pixels[..., : pixels.shape[2] // rows * 3, : pixels.shape[3] // columns * 4]
    plain, surgery = clip.plain_tokens(part), clip.surgery_tokens(part)
    assert plain.shape == surgery.shape == (1, 1 + 3 * 4, channels)
    assert plain.isfinite().all()
    assert not torch.allclose(surgery[:, 1:], plain[:, 1:], atol=1e-3)
    if model.parameters < 200:  # larger text towers take seconds
        assert clip.text_features(["mug"]).shape == (1, channels)
    if model.name.startswith("openai/ViT"):  # surgery does not change CLS of a ViT
        torch.testing.assert_close(surgery[:, 0], plain[:, 0], atol=1e-4, rtol=1e-4)


def test_attention_pool_of_a_resnet_has_a_head_per_64_channels(noise: torch.Tensor) -> None:
    for model in OPENAI:
        config = open_clip.get_model_config(model.architecture)["vision_cfg"]
        if isinstance(config["layers"], list):
            pool = heads(network_of(model))["visual.attnpool"]
            assert pool == config["width"] * 32 // 64
