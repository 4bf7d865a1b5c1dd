"""Loads networks from parameters: devices, precision, and weight files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clip_surgery_ros.arithmetic.layers import ComputeTarget, is_onednn_available
from clip_surgery_ros.core.errors import ConfigError, DeviceError, WeightsError
from clip_surgery_ros.networks.devices import (
    PRECISIONS,
    cpu_precision,
    gpu_precision,
    resolve_device,
    resolve_precision,
)
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.weights.files import demo_weights


def test_auto_device_is_the_gpu_if_available() -> None:
    assert resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == "cpu"


def test_missing_device_is_named() -> None:
    with pytest.raises(DeviceError, match="'cuda:99' was asked for"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("device", ["cuda:x", "cuda:00", "cuda:", "cuda:-1", "cuda:٣", "tpu"])
def test_name_that_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device is '{device}', but must be auto, cpu or"):
        resolve_device(device)
    with pytest.raises(ConfigError, match=f"device is '{device}', but must be auto, cpu or"):
        Config.from_values({"device": device})


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto finds a GPU here")
def test_float16_is_rejected_if_auto_resolves_to_the_cpu() -> None:
    with pytest.raises(ConfigError, match="float16, which is for GPUs"):
        load_networks(Config.from_values({"precision": "float16"}))


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        *(((5, 2), "float32"), ((5, 3), "float16"), ((6, 0), "float16"), ((6, 1), "float32")),
        *(((7, 0), "float16"), ((7, 2), "float16"), ((7, 5), "float16")),
        *(((8, 0), "bfloat16"), ((8, 7), "bfloat16"), ((9, 0), "bfloat16"), ((12, 0), "bfloat16")),
    ],
)
def test_auto_precision_of_a_gpu_follows_its_capability(
    capability: tuple[int, int], expected: str
) -> None:
    assert gpu_precision(capability) == expected


def test_auto_precision_of_a_cpu_is_bfloat16_if_much_faster() -> None:
    assert [cpu_precision(gain) for gain in (0.4, 1.0, 1.6, 4.0)] == [
        *("float32", "float32", "bfloat16", "bfloat16")
    ]
    if not is_onednn_available(ComputeTarget(torch.device("cpu"), torch.bfloat16)):
        assert resolve_precision("auto", "cpu") == "float32"


def test_explicit_precision_is_kept() -> None:
    assert [resolve_precision(name, "cpu") for name in PRECISIONS] == list(PRECISIONS)


def test_loaded_networks_report_the_precision_chosen_by_auto() -> None:
    networks = load_networks(Config.from_values({"precision": "auto", "device": "cpu"}))
    assert networks.precision in ("bfloat16", "float32")
    assert networks.clip.dtype == PRECISIONS[networks.precision]
    assert networks.config.precision == "auto"


def test_demo_weights_are_in_the_package() -> None:
    assert demo_weights("clip_demo").is_file()
    assert demo_weights("sam_demo").is_file()


@pytest.mark.parametrize("kind", ["clip", "sam"])
def test_given_checkpoint_is_read(tmp_path: Path, kind: str) -> None:
    model = {"clip": "openai", "sam": "vit_b"}[kind]
    path = tmp_path / "nowhere.pt"
    config = Config.from_values({f"{kind}_model": model, f"{kind}_checkpoint": str(path)})
    with pytest.raises(WeightsError, match=str(path)):
        load_networks(config)


@pytest.mark.parametrize(
    "values",
    [{"sam_model": "vit_b"}, {"sam_model": "vit_t"}, {"clip_model": "openai/ViT-B-16"}],
    ids=str,
)
def test_pretrained_network_without_weights_is_not_downloaded(
    values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    (name,) = values.values()
    with pytest.raises(WeightsError, match=f"`clip_surgery weights fetch {name}`"):
        load_networks(Config.from_values(values))
    assert list(tmp_path.iterdir()) == []
