"""Provenance of a CLIP checkpoint: activation and normalisation of its training."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from checkpoints import cache, describe, hollow, save_as_openai, shapes_of
from small_networks import small_clip

from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.loading import build_open_clip_model
from clip_surgery_ros.networks.clip.surgery import SurgeryVit
from clip_surgery_ros.weights.catalogue import CLIP, PRETRAINED, PretrainedNetwork
from clip_surgery_ros.weights.files import demo_weights
from clip_surgery_ros.weights.provenance import find_provenance

CLIPS = [network for network in PRETRAINED if network.kind == CLIP]


def uses_quick_gelu(clip: ClipBackend) -> bool:
    """Return whether the network uses QuickGELU; it must not mix activations."""
    text = str(clip.text.model)
    assert ("QuickGELU()" in text) != ("GELU(approximate" in text)
    quick = "QuickGELU()" in text
    if isinstance(clip._encoder, SurgeryVit):  # a ResNet uses ReLU
        activations = {block.mlp.expand.activation for block in clip._encoder._blocks}
        assert activations == {"swish" if quick else "gelu"}
    return quick


@pytest.mark.parametrize("model", CLIPS, ids=lambda model: model.name)
def test_pretrained_clip_is_built_with_the_activation_of_its_training(
    model: PretrainedNetwork,
) -> None:
    provenance = find_provenance(Path("weights") / model.file_name, {})
    assert (
        "QuickGELU()" in str(build_open_clip_model(model.architecture))
    ) == provenance.quick_gelu
    assert provenance.quick_gelu or not model.name.startswith("openai/")


def test_provenance_is_known_for_all_checkpoints_of_open_clip() -> None:
    for pair in open_clip.list_pretrained():
        config = open_clip.get_pretrained_cfg(*pair)
        paths = []
        if config["hf_hub"]:
            organisation, name = config["hf_hub"].split("/")[:2]
            snapshot = Path("hub", f"models--{organisation}--{name}", "snapshots", "0a1b")
            paths = [snapshot / "open_clip_model.safetensors", Path(name, "open_clip_model.bin")]
        if config["url"] and "openaipublic" not in config["url"]:
            paths.append(Path("downloads", config["url"].rsplit("/", 1)[1]))
        assert paths
        for path in paths:
            provenance = find_provenance(path, {})
            assert provenance.quick_gelu == config.get("quick_gelu", False), path
            assert (provenance.mean, provenance.std) == (config["mean"], config["std"]), path


def test_provenance_of_a_user_file_is_unknown() -> None:
    assert find_provenance(Path("runs/epoch_32.pt"), {}).quick_gelu is None
    assert find_provenance(Path("runs/ViT-B-16.pt"), {}).quick_gelu is None


@pytest.mark.parametrize("resnet", [False, True])
def test_openai_archive_loads_with_quick_gelu(tmp_path: Path, resnet: bool) -> None:
    network = small_clip(resnet=resnet)
    rounded = {k: v.half().float() for k, v in network.state_dict().items()}
    save_as_openai(network.state_dict(), tmp_path / "clip.pt", 64)
    clip = ClipBackend.from_file(tmp_path / "clip.pt")
    assert uses_quick_gelu(clip)
    pixels = torch.randn(1, 3, 64, 64)
    expected = ClipBackend.from_state_dict(rounded).surgery_tokens(pixels)
    assert torch.equal(clip.surgery_tokens(pixels), expected)


def test_openai_archive_is_rejected_for_a_model_with_gelu(
    tmp_path: Path,
) -> None:
    tensors = hollow(shapes_of("ViT-B-32")) | {"input_resolution": torch.tensor(224)}
    path = tmp_path / "clip.pt"
    torch.save(tensors, path)
    with pytest.raises(ConfigError, match="set clip_model to 'ViT-B-32-quickgelu'") as caught:
        ClipBackend.from_open_clip("ViT-B-32", path)
    assert f"{path} was trained with QuickGELU" in str(caught.value)
    assert uses_quick_gelu(ClipBackend.from_open_clip("ViT-B-32-quickgelu", path))


@pytest.mark.parametrize("trained", [True, False, None])
def test_openai_layout_uses_the_activation_in_open_clip_config(
    tmp_path: Path, trained: bool | None
) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    describe(tmp_path, trained)
    assert uses_quick_gelu(ClipBackend.from_file(tmp_path)) == bool(trained)


@pytest.mark.parametrize(
    ("trained", "name", "expected"),
    [
        (True, "ViT-B-16", "ViT-B-16-quickgelu"),
        (False, "ViT-B-16-quickgelu", "ViT-B-16"),
        (True, "ViT-B-16-plus-240", "openai"),
    ],
)
def test_model_name_unlike_open_clip_config_is_rejected_with_the_correct_name(
    tmp_path: Path, trained: bool, name: str, expected: str
) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    describe(tmp_path, trained)
    with pytest.raises(
        ConfigError, match=rf"open_clip_config\.json.*set clip_model to '{expected}'"
    ):
        ClipBackend.from_open_clip(name, tmp_path)


def test_invalid_open_clip_config_is_an_error(tmp_path: Path) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    for content in ("{", "[]", "{}", '{"model_cfg": 1}'):
        (tmp_path / "open_clip_config.json").write_text(content)
        with pytest.raises(WeightsError, match="no description of an open_clip model"):
            ClipBackend.from_file(tmp_path)


def test_images_are_normalised_by_open_clip_config(tmp_path: Path) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    describe(tmp_path, True, mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])
    clip = ClipBackend.from_file(tmp_path)
    assert torch.equal(
        clip.preprocess(np.full((8, 8, 3), 255, np.uint8)).unique(), torch.tensor([2.0])
    )


def test_unknown_activation_in_openai_layout_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine.pt"
    torch.save(small_clip().state_dict(), path)
    with caplog.at_level(logging.WARNING):
        assert uses_quick_gelu(ClipBackend.from_file(path))
    assert f"the activation of weight file {path} is unknown" in caplog.text
    caplog.clear()
    ClipBackend.from_file(demo_weights("clip_demo"))
    assert caplog.text == ""


def test_logit_scale_of_shape_1_is_accepted() -> None:
    tensors = small_clip().state_dict()
    tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
    assert ClipBackend.from_state_dict(tensors).input_size == 64


def test_cached_checkpoint_is_rejected_for_the_wrong_model_name(tmp_path: Path) -> None:
    link = cache(tmp_path, "apple/DFN2B-CLIP-ViT-B-16", "open_clip_pytorch_model.bin", b"")
    torch.save(small_clip().state_dict(), link)
    with pytest.raises(ConfigError, match="set clip_model to 'ViT-B-16-quickgelu'"):
        ClipBackend.from_open_clip("ViT-B-16", link)


@pytest.mark.parametrize("name", ["ViT-H-14", "ViT-bigG-14-worldwide"])
def test_openai_layout_rejects_networks_with_other_settings(name: str) -> None:
    with pytest.raises(WeightsError, match=rf"{name}|knows \d+ tokens"):
        ClipBackend.from_state_dict(shapes_of(name))
