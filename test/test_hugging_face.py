"""Weights from Hugging Face's cache, snapshots and clones, without network access."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from checkpoints import REVISION, cache, hollow, shapes_of
from huggingface_hub import constants, scan_cache_dir
from offline import connections
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save, save_file
from small_networks import small_clip

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.weights.catalogue import CLIP, PRETRAINED, PretrainedNetwork, find_pretrained
from clip_surgery_ros.weights.fetching import checksum_problem, download_path, fetch, weights_path
from clip_surgery_ros.weights.files import checkpoint_file
from clip_surgery_ros.weights.provenance import CONFIG_FILE, find_provenance

MODEL = next(network for network in PRETRAINED if network.name == "laion2b/ViT-B-32")
SAFE, BIN = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
WEIGHTS = save({"table": torch.arange(1000.0)})


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty Hugging Face cache and an empty folder of weights."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "weights"))
    return tmp_path / "hub"


def test_cached_weights_are_used_without_a_download(hub: Path) -> None:
    link = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    (repository,) = scan_cache_dir(hub).repos  # Hugging Face's own function accepts the cache
    assert repository.repo_id == MODEL.hub
    with connections() as attempts:
        assert weights_path(MODEL) == fetch(MODEL) == link
    assert attempts == []
    assert not download_path(MODEL).exists()


@pytest.mark.parametrize(
    "model",
    [network for network in PRETRAINED if network.kind == CLIP],
    ids=lambda model: model.name,
)
def test_weights_of_every_clip_are_found_in_the_cache(model: PretrainedNetwork, hub: Path) -> None:
    link = cache(hub, model.hub, SAFE, WEIGHTS)
    assert weights_path(model) == link


def test_downloaded_weights_come_first_then_safetensors(hub: Path) -> None:
    pickled = cache(hub, MODEL.hub, BIN, b"x")
    assert weights_path(MODEL) == pickled
    safe = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    assert weights_path(MODEL) == safe
    download_path(MODEL).parent.mkdir()
    download_path(MODEL).write_bytes(WEIGHTS)
    assert weights_path(MODEL) == download_path(MODEL)


@pytest.mark.parametrize("missing", ["refs/main", "blobs"])
def test_incomplete_cache_is_ignored(hub: Path, missing: str) -> None:
    link = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    (link.parents[2] / missing).rename(hub / "elsewhere")
    with pytest.raises(WeightsError, match=f"`clip_surgery weights fetch {MODEL.name}`"):
        weights_path(MODEL)


def test_cached_file_is_verified_by_the_checksum_in_its_name(hub: Path) -> None:
    link = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    assert checksum_problem(MODEL) == ""
    link.resolve().write_bytes(WEIGHTS[:-1])
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert f"but its publisher gives {digest}" in checksum_problem(MODEL)
    plain = link.with_name("copy")
    plain.write_bytes(WEIGHTS)
    plain.replace(link)  # a copy without links, as on file systems without links
    assert checksum_problem(MODEL) == "has no checksum to compare with"


def test_weights_command_uses_the_cache(hub: Path, capsys: pytest.CaptureFixture) -> None:
    link = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    assert main(["weights", "list"]) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if "Hugging Face's cache" in row]
    assert len(rows) == 1
    assert rows[0].startswith(f"| {MODEL.name} |")
    assert main(["weights", "path", MODEL.name]) == 0
    assert capsys.readouterr().out == f"{link}\n"
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == f"{MODEL.name}: checksum correct\n"
    link.resolve().write_bytes(b"x")
    assert main(["weights", "verify"]) == 1
    assert f"delete {link} and fetch it again" in capsys.readouterr().out
    assert link.exists()


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_cache_location_follows_the_environment(tmp_path: Path, variable: str) -> None:
    hub = tmp_path / "cache" / ("hub" if variable == "HF_HOME" else "")
    link = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    code = (
        "from clip_surgery_ros.weights.fetching import weights_path\n"
        "from clip_surgery_ros.weights.catalogue import find_pretrained\n"
        f"print(weights_path(find_pretrained('{MODEL.name}')))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment[variable] = str(tmp_path / "cache")
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout == f"{link}\n"


@pytest.mark.parametrize("name", ["metaclip/ViT-B-32", "laion2b/ViT-B-32"])
def test_pretrained_network_loads_from_the_cache_without_connections(name: str, hub: Path) -> None:
    model = find_pretrained(name)
    link = cache(hub, model.hub, BIN, b"")
    torch.save(hollow(shapes_of(model.architecture)), link.resolve())
    with connections() as attempts:
        clip = load_networks(Config.from_values({"clip_model": name, "device": "cpu"})).clip
    assert attempts == []
    assert clip.input_size == 224
    assert ("QuickGELU()" in str(clip.text.model)) == (name == "metaclip/ViT-B-32")


@pytest.mark.parametrize("layout", ["snapshot", "repository", "clone", "other name"])
def test_folder_as_checkpoint_uses_the_weights_in_it(tmp_path: Path, layout: str) -> None:
    tensors = small_clip().state_dict()
    if layout in ("snapshot", "repository"):
        link = cache(tmp_path, "somebody/clip", SAFE, save(tensors))
        folder = link.parent if layout == "snapshot" else link.parents[2]
    else:
        folder = tmp_path / "clip"
        folder.mkdir()
        save_file(tensors, folder / (SAFE if layout == "clone" else "mine.safetensors"))
    if layout == "clone":  # its other weight files are ignored
        (folder / BIN).write_bytes(b"x")
        save_file({"blocks": torch.ones(1)}, folder / "model.safetensors")
    (folder / "README.md").write_text("# CLIP")
    pixels = torch.randn(1, 3, 64, 64)
    expected = ClipBackend.from_state_dict(tensors).surgery_tokens(pixels)
    assert torch.equal(ClipBackend.from_file(folder).surgery_tokens(pixels), expected)


def test_export_of_open_clip_loads_as_a_folder(tmp_path: Path) -> None:
    name = "ViT-S-32-alt"
    torch.manual_seed(0)
    model = open_clip.create_model(name, load_weights=False).eval()
    save_file(model.state_dict(), tmp_path / SAFE)
    save_config_for_hf(model, tmp_path / CONFIG_FILE, open_clip.get_model_config(name))
    provenance = find_provenance(tmp_path / SAFE, {})
    assert provenance.source and not provenance.quick_gelu
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model.encode_image(pixels)
    clip = ClipBackend.from_open_clip(name, tmp_path)
    torch.testing.assert_close(clip.surgery_tokens(pixels)[:, 0], expected, atol=1e-4, rtol=0)


def test_folder_without_a_clear_weight_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has no weight file"):
        checkpoint_file(tmp_path)
    for name in ("a.pt", "b.bin"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"has a\.pt, b\.bin, but none of open_clip_model"):
        checkpoint_file(tmp_path)


def test_git_lfs_pointer_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / SAFE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(WeightsError, match=f"{SAFE} is a Git LFS pointer; run 'git lfs pull'"):
        ClipBackend.from_file(tmp_path)


def test_checksum_of_a_folder_is_that_of_its_weight_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / SAFE)
    values = {"clip_model": "openai", "clip_checkpoint": str(tmp_path), "clip_sha256": "0" * 8}
    with pytest.raises(WeightsError, match=f"{SAFE} has the SHA-256"):
        load_networks(Config.from_values(values))


def test_cached_revision_without_weights_is_an_error(hub: Path) -> None:
    link = cache(hub, MODEL.hub, SAFE, WEIGHTS)
    link.unlink()
    with pytest.raises(WeightsError, match=f"{REVISION} has no weight file"):
        checkpoint_file(link.parents[2])
