"""From parameters to networks."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from clip_surgery_ros.backends.clip import PRECISIONS, ClipBackend
from clip_surgery_ros.backends.sam import SamBackend
from clip_surgery_ros.core.config import DEMO, Config
from clip_surgery_ros.core.errors import ConfigError, DeviceError
from clip_surgery_ros.core.pipeline import Pipeline, Settings


@dataclass(frozen=True)
class LoadedNetworks:
    """Both networks on their device."""

    clip: ClipBackend
    sam: SamBackend
    device: str

    def pipeline(self, config: Config) -> Pipeline:
        """These networks under the live parameters of ``config``; cheap."""
        traits = self.clip.traits
        settings = Settings.from_config(config, traits.presence, traits.labels)
        return Pipeline(self.clip, self.sam, settings)


def load_networks(config: Config) -> LoadedNetworks:
    """Load what a configuration names.

    :raises DeviceError: when the device is not there.
    :raises WeightsError: when a weight file cannot be used.
    :raises ConfigError: when a model is unknown or not fit for surgery.
    """
    device = resolve_device(config.device)
    if device == "cpu" and config.precision == "float16":
        raise ConfigError(
            f"precision is float16, which is for GPUs, but device '{config.device}' is the CPU "
            "here; set precision to float32 or bfloat16"
        )
    return LoadedNetworks(_clip(config, device), _sam(config, device), device)


def resolve_device(asked: str) -> str:
    """``auto`` to a device that is there; anything else is taken at its word.

    :raises DeviceError: when CUDA, or that CUDA device, is not there.
    """
    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if asked == "cpu":
        return asked
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = asked.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= count:
        raise DeviceError(
            f"device '{asked}' was asked for, but torch sees {count} CUDA devices; set device to "
            "cpu or auto, or check the driver with nvidia-smi"
        )
    return f"cuda:{index}"


def demo_weights(name: str) -> Path:
    """Path of a weight file that the package ships: ``clip_demo`` or ``sam_demo``."""
    folder = resources.files("clip_surgery_ros") / "demo" / "weights"
    return Path(str(folder / f"{name}.safetensors"))


def _clip(config: Config, device: str) -> ClipBackend:
    size = config.clip_input_size or None
    options = {"device": device, "precision": config.precision, "input_size": size}
    if config.clip_model == DEMO:
        return ClipBackend.from_file(demo_weights("clip_demo"), **options)
    if config.clip_model == "openai":
        return ClipBackend.from_file(config.clip_checkpoint, **options)
    return ClipBackend.from_open_clip(config.clip_model, config.clip_checkpoint, **options)


def _sam(config: Config, device: str) -> SamBackend:
    dtype = PRECISIONS[config.precision]
    if config.sam_model == DEMO:
        return SamBackend.from_file(demo_weights("sam_demo"), device=device, dtype=dtype)
    return SamBackend.from_file(
        config.sam_checkpoint, config.sam_model, device=device, dtype=dtype
    )
