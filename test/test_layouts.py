"""Weight files of a wrong network: the error names the network, and no file changes."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from checkpoints import cache, hollow, shapes_of
from huggingface_hub import constants
from offline import connections
from safetensors.torch import save, save_file
from small_networks import small_clip, small_sam
from torch import Tensor

from clip_surgery_ros.core.errors import DeviceError, WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.networks.sam.build import SPECS, build_sam
from clip_surgery_ros.networks.slim_imports import import_adapters
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.weights.catalogue import find_pretrained
from clip_surgery_ros.weights.fetching import download_path
from clip_surgery_ros.weights.layouts import guess_network
from clip_surgery_ros.weights.state_dicts import load_state_dict

NAMES = (
    *("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"),
    *("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"),
)
VIT_L = "open_clip's ViT-L-14 or ViT-L-14-quickgelu: CLIP with a ViT of width 1024"


def sam_shapes(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_sam(SPECS[name]).state_dict()


def siglip_shapes() -> dict[str, Tensor]:
    import_adapters()  # timm, which computes its image tower
    with torch.device("meta"):
        model = open_clip.create_model("ViT-B-16-SigLIP", load_weights=False, device="meta")
    return model.state_dict()


def text_tower() -> dict[str, Tensor]:
    shapes = shapes_of("ViT-B-16")
    return {k: v for k, v in shapes.items() if not k.startswith("visual.")}


@pytest.mark.parametrize("name", NAMES)
def test_every_openai_clip_is_recognised(name: str) -> None:
    shapes = shapes_of(name)
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    description = guess_network(shapes)
    assert description.startswith(f"open_clip's {name} or {name}-quickgelu: CLIP with a ")
    assert description.endswith(f"for {size} pixels")


def test_unpublished_clip_is_described_by_its_sizes() -> None:
    description = "CLIP with a ViT of width 64, 8 layers, patch 16, for 64 pixels"
    assert guess_network(small_clip().state_dict()) == description
    description = "CLIP with a ResNet of width 16, stages [1, 1, 1, 1], for 64 pixels"
    assert guess_network(small_clip(resnet=True).state_dict()) == description


@pytest.mark.parametrize(
    ("names", "description"),
    [
        (["image_encoder.patch_embed.seq.0.c.weight", "mask_decoder.x"], "a Segment Anything"),
        (["image_encoder.trunk.pos_embed", "sam_mask_decoder.x"], "SAM 2"),
        (["visual.trunk.cls_token", "logit_bias"], "SigLIP or another"),
        (["vision_model.head.probe", "text_model.head.weight"], "SigLIP in Transformers'"),
        (["visual_projection.weight", "vision_model.x"], "CLIP in Transformers' layout"),
        (["visual.conv1.weight", "visual.proj"], "the image tower of a CLIP"),
        (["token_embedding.weight", "ln_final.bias"], "the text tower of a CLIP"),
        (["text.token_embedding.weight"], "the text tower of a CLIP"),
        (["bert.embeddings.word_embeddings.weight"], "a language model"),
        (["cls_token", "blocks.0.attn.qkv.weight"], "a vision transformer in timm's layout"),
        (["encoder.0.weight"], r"an unknown network, with encoder.0.weight of shape \(2, 3\)"),
    ],
)
def test_other_networks_are_recognised_by_tensor_names(names: list[str], description: str) -> None:
    assert re.match(description, guess_network({name: torch.zeros(2, 3) for name in names}))


@pytest.mark.parametrize("as_model", ["openai", "ViT-B-16"])
@pytest.mark.parametrize(
    ("shapes", "description"),
    [
        (lambda: sam_shapes("vit_b"), "the SAM 'vit_b'"),
        (siglip_shapes, "SigLIP"),
        (text_tower, "the text tower of a CLIP, without an image tower"),
    ],
    ids=["sam", "siglip", "text"],
)
def test_wrong_network_as_clip_checkpoint_is_named(
    tmp_path: Path, as_model: str, shapes: Callable[[], dict[str, Tensor]], description: str
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(hollow(shapes()), path)
    values = {"clip_model": as_model, "clip_checkpoint": str(path)}
    with pytest.raises(WeightsError, match=f"looks? like {description}") as caught:
        load_networks(Config.from_values(values))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("ViT-L-14", VIT_L),
        ("ViT-B-32", "open_clip's ViT-B-32 or"),
        ("RN50", "open_clip's RN50 or RN50-quickgelu: CLIP with a ResNet of width 64"),
        ("240 pixels", "CLIP with a ViT of width 768, 12 layers, patch 16, for 240 pixels"),
    ],
)
def test_clip_checkpoint_of_another_size_is_named(
    tmp_path: Path, name: str, description: str
) -> None:
    tensors = hollow(shapes_of("ViT-B-16" if name == "240 pixels" else name))
    if name == "240 pixels":
        tensors["visual.positional_embedding"] = torch.zeros(1 + 15 * 15, 768)
    path = tmp_path / "weights.bin"
    torch.save({"epoch": 32, "state_dict": {f"module.{k}": v for k, v in tensors.items()}}, path)
    with pytest.raises(WeightsError, match=re.escape(f"looks like {description}")) as caught:
        ClipBackend.from_open_clip("ViT-B-16", path)
    assert f"weight file {path}, as open_clip's ViT-B-16" in str(caught.value)


@pytest.mark.parametrize(
    ("shapes", "description"),
    [
        (lambda: shapes_of("ViT-L-14"), VIT_L),
        (lambda: sam_shapes("vit_h"), "vit_h"),
        (lambda: {"a.weight": torch.zeros(2)}, "a.weight"),
    ],
    ids=["clip", "larger sam", "anything"],
)
def test_wrong_network_as_sam_checkpoint_is_named(
    tmp_path: Path, shapes: Callable[[], dict[str, Tensor]], description: str
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(hollow(shapes()), path)
    values = {"sam_model": "vit_b", "sam_checkpoint": str(path)}
    with pytest.raises(WeightsError, match=f"{path}.*{description}"):
        load_networks(Config.from_values(values))


def test_pretrained_name_rejects_weights_of_another_size(tmp_path: Path) -> None:
    torch.save(hollow(shapes_of("ViT-L-14")), tmp_path / "ViT-B-16.pt")
    values = {"clip_model": "openai/ViT-B-16", "clip_checkpoint": str(tmp_path / "ViT-B-16.pt")}
    with pytest.raises(WeightsError, match=re.escape(f"looks like {VIT_L}")):
        load_networks(Config.from_values(values))


def test_safetensors_are_read_with_any_file_suffix(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(save({"a": torch.ones(2)}))
    tensors, _ = load_state_dict(tmp_path / "weights.bin")
    assert torch.equal(tensors["a"], torch.ones(2))


def test_file_without_tensors_is_an_error(tmp_path: Path) -> None:
    save_file({}, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="holds no tensors"):
        load_state_dict(tmp_path / "weights.safetensors")


def test_truncated_archive_is_an_error(tmp_path: Path) -> None:
    torch.save(small_sam().state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    (tmp_path / "weights.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"weights\.pth is truncated; copy or download"):
        load_state_dict(tmp_path / "weights.pth")


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return contents and modification times of all files."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "values",
    [
        {"clip_model": "openai/ViT-B-16"},
        {"clip_model": "laion2b/ViT-B-32"},
        {"clip_model": "datacomp/ViT-B-16"},
        {"sam_model": "vit_b"},
        {"clip_model": "metaclip/ViT-B-32"},
        {"device": "cuda:99"},
    ],
    ids=[
        "another network",
        "truncated",
        "damaged in the cache",
        "web page",
        "too small",
        "device",
    ],
)
def test_loading_error_changes_no_file_and_makes_no_connection(
    values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    torch.save(small_sam().state_dict(), download_path(find_pretrained("openai/ViT-B-16")))
    download_path(find_pretrained("laion2b/ViT-B-32")).write_bytes(
        save(small_clip().state_dict())[:-9]
    )
    cache(
        tmp_path / "hub",
        find_pretrained("datacomp/ViT-B-16").hub,
        "open_clip_model.safetensors",
        b"x",
    )
    download_path(find_pretrained("vit_b")).write_text("<html>")
    torch.save(small_clip().state_dict(), download_path(find_pretrained("metaclip/ViT-B-32")))
    before = files_of(tmp_path)
    with connections() as attempts, pytest.raises((WeightsError, DeviceError)):
        load_networks(Config.from_values(values))
    assert attempts == []
    assert files_of(tmp_path) == before


def test_cuda_error_changes_no_file_and_makes_no_connection(tmp_path: Path) -> None:
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    before = files_of(tmp_path)
    with (
        connections() as attempts,
        pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"),
    ):
        ClipBackend.from_file(tmp_path / "clip.pt", device="cuda:99")
    assert attempts == []
    assert files_of(tmp_path) == before


def test_connection_attempts_are_recorded() -> None:
    with connections() as attempts, pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", 9, timeout=1).connect()
    assert attempts
