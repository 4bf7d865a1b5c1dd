"""From parameters to networks: devices, precision, and which files are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clip_surgery_ros.backends.factory import demo_weights, load_networks, resolve_device
from clip_surgery_ros.core.config import Config
from clip_surgery_ros.core.errors import ConfigError, DeviceError, WeightsError


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    assert resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("asked", ["cuda:99", "cuda:x"])
def test_a_device_that_is_not_there_is_named(asked: str) -> None:
    with pytest.raises(DeviceError, match=f"'{asked}' was asked for"):
        resolve_device(asked)


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto finds a GPU here")
def test_float16_is_refused_where_auto_finds_only_the_cpu() -> None:
    with pytest.raises(ConfigError, match="float16, which is for GPUs"):
        load_networks(Config.from_values({"precision": "float16"}))


def test_the_demo_s_weights_come_with_the_package() -> None:
    assert demo_weights("clip_demo").is_file()
    assert demo_weights("sam_demo").is_file()


@pytest.mark.parametrize("kind", ["clip", "sam"])
def test_the_checkpoint_named_is_the_one_read(tmp_path: Path, kind: str) -> None:
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
def test_a_published_network_that_is_not_in_place_is_not_downloaded(
    values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    (name,) = values.values()
    with pytest.raises(WeightsError, match=f"`clip_surgery weights fetch {name}`"):
        load_networks(Config.from_values(values))
    assert list(tmp_path.iterdir()) == []
