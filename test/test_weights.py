"""Loading of valid and broken weight files."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from checkpoints import are_equal
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from test_golden import load_weights_module

from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.weights.files import sha256
from clip_surgery_ros.weights.state_dicts import load_state_dict

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin"])
def test_torch_state_dict_loads(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in TENSORS.items()}}, tmp_path / name)
    tensors, metadata = load_state_dict(tmp_path / name)
    assert are_equal(tensors, TENSORS)
    assert metadata == {}


def test_safetensors_load_with_metadata(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors", {"head_width": "32"})
    tensors, metadata = load_state_dict(tmp_path / "w.safetensors")
    assert are_equal(tensors, TENSORS)
    assert metadata == {"head_width": "32"}


PREFIXES = (
    *("module.", "_orig_mod.", "model.", "net.", "network.", "sam.", "clip.", "state_dict."),
    *("module._orig_mod.", "model.module.", "model.sam._orig_mod.", "model_state_dict.model."),
)
"""Prefixes that trainers and wrappers add to tensor names."""
ENTRIES = (
    *((), ("state_dict",), ("model",), ("model_state_dict",)),
    *(("state_dict", "model"), ("model", "model_state_dict")),
)
"""Keys under which training checkpoints keep weights."""


def save_as(path: Path, tensors: dict[str, torch.Tensor], entries: tuple[str, ...] = ()) -> Path:
    """Save in the format of the suffix under these keys; safetensors has them in the names."""
    if path.suffix == ".safetensors":
        save_file({".".join([*entries, name]): tensor for name, tensor in tensors.items()}, path)
        return path
    content: object = tensors
    for entry in reversed(entries):
        content = {entry: content, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("entries", ENTRIES, ids="/".join)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_trainers_and_wrappers_are_removed(
    tmp_path: Path, suffix: str, entries: tuple[str, ...], prefix: str
) -> None:
    named = {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}
    tensors, _ = load_state_dict(save_as(tmp_path / f"w{suffix}", named, entries))
    assert are_equal(tensors, TENSORS)


def test_prefixes_inside_tensor_names_are_removed(tmp_path: Path) -> None:
    named = {
        "image_encoder._orig_mod.blocks.0.weight": torch.ones(1),
        "_fsdp_wrapped_module.mask_decoder._checkpoint_wrapped_module.bias": torch.ones(2),
    }
    tensors, _ = load_state_dict(save_as(tmp_path / "w.pt", named))
    assert set(tensors) == {"image_encoder.blocks.0.weight", "mask_decoder.bias"}


def test_similar_prefixes_are_kept(tmp_path: Path) -> None:
    named = {name: torch.ones(1) for name in ("sam_mask_decoder.a", "model_ema.b", "modules.c")}
    tensors, _ = load_state_dict(save_as(tmp_path / "w.pt", named))
    assert are_equal(tensors, named)


def test_file_with_two_networks_is_rejected(tmp_path: Path) -> None:
    both = {"model.a.weight": torch.ones(1), "module.a.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"holds a\.weight twice"):
        load_state_dict(save_as(tmp_path / "w.pt", both))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_in_weights_is_rejected(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    with_nan = {
        "a.weight": torch.ones(4, dtype=dtype),
        "b": torch.tensor([1, torch.nan]).to(dtype),
    }
    with pytest.raises(WeightsError, match="has NaN in b: its training diverged"):
        load_state_dict(save_as(tmp_path / f"w{suffix}", with_nan))


def test_infinite_attention_mask_and_large_float16_are_accepted(tmp_path: Path) -> None:
    fine = {"attn_mask": torch.full((2, 2), -torch.inf), "a": torch.full((9,), 6e4).half()}
    assert are_equal(load_state_dict(save_as(tmp_path / "w.pt", fine))[0], fine)


def test_recursive_checkpoint_is_rejected(tmp_path: Path) -> None:
    endless: dict[str, object] = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no tensors, such as model"):
        load_state_dict(tmp_path / "w.pt")


def test_pickled_module_is_an_error_with_the_remedy(
    tmp_path: Path,
) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"\(torch\.nn\..*Linear\).*model\.state_dict\(\)"):
        load_state_dict(tmp_path / "w.pt")


class Malicious:
    """Writes a file if it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def test_only_tensors_are_unpickled(tmp_path: Path) -> None:
    torch.save({"a": Malicious(tmp_path / "touched")}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="more than tensors"):
        load_state_dict(tmp_path / "w.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"Entry not found\n", "is text, not weights; it starts with 'Entry not found'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x80\x02 not weights at all", "truncated"),
    ],
)
def test_broken_file_is_named_and_described(
    tmp_path: Path, suffix: str, content: bytes, error: str
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=error) as caught:
        load_state_dict(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_file_is_rejected(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match="truncated"):
        load_state_dict(path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_state_dict(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_file_loads_or_raises_a_weights_error(tmp_path: Path, zipped: bool) -> None:
    path, generator = tmp_path / "w.pt", random.Random(0)
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    rejected = 0
    for _ in range(200):
        damaged = bytearray(content[: generator.randrange(1, len(content) + 1)])
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            load_state_dict(path)
        except WeightsError:
            rejected += 1
    assert rejected > 100


def test_folder_as_weight_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "w.pt").mkdir()
    with pytest.raises(WeightsError, match="is a folder"):
        load_state_dict(tmp_path / "w.pt")


def test_weights_of_another_network_are_rejected(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt.*not CLIP weights"):
        ClipBackend.from_file(tmp_path / "w.pt")
    state = load_weights_module().state_dict("vit_small", 1)
    del state["visual.ln_post.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"lacks visual\.ln_post\.bias"):
        ClipBackend.from_file(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"adapter.weight": torch.zeros(3)}, r"has an unknown adapter\.weight;"),
        ({"visual.ln_post.bias": torch.zeros(3)}, r"ln_post\.bias \(\[3\] instead of \[128\]\)"),
        ({"visual.ln_post.bias": None}, r"lacks visual\.ln_post\.bias;"),
        (
            {"visual.ln_post.bias": None, **{f"more.{n}": torch.zeros(1) for n in range(5)}},
            r"lacks visual\.ln_post\.bias and has an unknown more\.0, .* \(and 2 more\)",
        ),
    ],
    ids=["unknown", "wrong size", "missing", "both"],
)
def test_clip_with_a_wrong_tensor_names_it(
    tmp_path: Path, change: dict[str, torch.Tensor | None], error: str
) -> None:
    state = load_weights_module().state_dict("vit_small", 1) | change
    torch.save({k: v for k, v in state.items() if v is not None}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=error):
        ClipBackend.from_file(tmp_path / "w.pt")


@pytest.mark.parametrize("prefix", ["module.", "model.clip.", "_orig_mod."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_clip_with_a_prefix_of_a_trainer_loads_from_a_folder(
    tmp_path: Path, prefix: str, suffix: str
) -> None:
    state = load_weights_module().state_dict("vit_small", 1)
    named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    save_as(tmp_path / f"clip{suffix}", named)
    pixels = torch.randn(1, 3, 64, 96)
    expected = ClipBackend.from_state_dict(state).surgery_tokens(pixels)
    assert torch.equal(ClipBackend.from_file(tmp_path).surgery_tokens(pixels), expected)


def test_unknown_prefix_of_tensor_names_is_reported(tmp_path: Path) -> None:
    state = load_weights_module().state_dict("vit_small", 1)
    torch.save({f"student.net.{k}": v for k, v in state.items()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"CLIP with .*'student\.net\.' before its names"):
        ClipBackend.from_file(tmp_path / "w.pt")


@pytest.mark.parametrize("config", ["vit_small", "resnet_small"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_openai_layout_from_a_file_equals_the_state_dict(
    tmp_path: Path, config: str, suffix: str
) -> None:
    state = load_weights_module().state_dict(config, 7)
    path = tmp_path / f"clip{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    pixels = torch.randn(1, 3, 64, 96)
    expected = ClipBackend.from_state_dict(state).surgery_tokens(pixels)
    assert torch.equal(ClipBackend.from_file(path).surgery_tokens(pixels), expected)


def test_torchscript_archive_loads(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    torch.jit.script(module).save(str(tmp_path / "archive.pt"))
    tensors, _ = load_state_dict(tmp_path / "archive.pt")
    assert are_equal(tensors, dict(module.state_dict()))


def test_open_clip_model_loads_from_a_local_checkpoint(tmp_path: Path) -> None:
    name = "ViT-S-32-alt"
    torch.manual_seed(0)
    model = open_clip.create_model(name, load_weights=False)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pt")
    clip = ClipBackend.from_open_clip(name, tmp_path / "w.pt")
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model.eval().encode_image(pixels)
    torch.testing.assert_close(clip.surgery_tokens(pixels)[:, 0], expected, atol=1e-4, rtol=0)


def test_model_without_cls_token_is_rejected() -> None:
    vision = CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32, pool_type="avg")
    model = CLIP(32, vision, CLIPTextCfg(width=64, heads=1, layers=1))
    with pytest.raises(ConfigError, match="vision transformer read at its CLS"):
        ClipBackend(model, open_clip.SimpleTokenizer())


def test_unknown_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model 'ViT-Z'"):
        ClipBackend.from_open_clip("ViT-Z", tmp_path / "w.pt")


def test_sha256_equals_hashlib(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    assert sha256(tmp_path / "w") == hashlib.sha256(b"weights").hexdigest()


REPLACE = """
import itertools, os, shutil, sys
folder = sys.argv[1]
for name in itertools.cycle(("small", "large")):
    shutil.copy(f"{folder}/{name}", f"{folder}/part")
    os.replace(f"{folder}/part", f"{folder}/features.safetensors")
"""


def test_safetensors_file_replaced_during_reads_is_never_mixed(tmp_path: Path) -> None:
    """The safetensors library opens a path twice, so it may mix two files."""
    sizes = {"small": 10, "large": 30_000}
    for name, size in sizes.items():
        save_file({"features": torch.full((size,), float(size))}, tmp_path / name)
    path = tmp_path / "features.safetensors"
    shutil.copy(tmp_path / "small", path)
    with subprocess.Popen([sys.executable, "-S", "-c", REPLACE, str(tmp_path)]) as writer:
        try:
            for _ in range(500):
                (tensor,) = load_state_dict(path)[0].values()
                assert len(tensor) in sizes.values()
                assert (tensor == len(tensor)).all()
        finally:
            writer.kill()
