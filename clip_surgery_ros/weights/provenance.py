"""How a CLIP checkpoint was trained: its activation and the normalisation of its images.

The weights do not show this: networks with QuickGELU and with the exact GELU have the same
tensors. The wrong activation or normalisation gives wrong maps without any error. So the folder
and the name of the file are compared with what is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.catalogue import CLIP, PRETRAINED
from clip_surgery_ros.weights.layouts import OPENAI_EXTRAS

CONFIG_FILE = "open_clip_config.json"
"""The description that open_clip and Hugging Face store beside a checkpoint."""


@dataclass(frozen=True)
class Provenance:
    """What is known of a checkpoint's training.

    :param source: where this is known from; empty when nothing is known.
    :param quick_gelu: whether its activation is QuickGELU; None when unknown.
    :param mean: mean of RGB in [0, 1], which preprocessing subtracts.
    :param std: standard deviation of RGB in [0, 1], by which preprocessing divides.
    """

    source: str = ""
    quick_gelu: bool | None = None
    mean: tuple[float, float, float] = open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, float, float] = open_clip.OPENAI_DATASET_STD


def find_provenance(path: Path, tensors: Mapping[str, Tensor]) -> Provenance:
    """Return what is known of a checkpoint from its tensors, folder or name, in this order.

    :raises WeightsError: when the description beside the checkpoint cannot be read.
    """
    if any(name in tensors for name in OPENAI_EXTRAS):
        return Provenance("it is an archive of OpenAI's", quick_gelu=True)
    return _from_config(path) or _from_name(path) or Provenance()


def _from_config(path: Path) -> Provenance | None:
    """Return what open_clip's description in the same folder says; None without one."""
    file = path.with_name(CONFIG_FILE)
    if not file.is_file():
        return None
    try:
        description = json.loads(file.read_text())
        return Provenance(
            f"{CONFIG_FILE} beside it says so",
            bool(description["model_cfg"].get("quick_gelu", False)),
            **_normalisation(description.get("preprocess_cfg", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file} is no description of an open_clip model ({error!r}); copy it again, or name "
            "a weight file in another folder"
        ) from error


def _from_name(path: Path) -> Provenance | None:
    """Return what is known of a pretrained network whose file or repository has this name."""
    for network in PRETRAINED:
        if network.kind == CLIP and path.name == network.file_name:
            return Provenance(
                f"it has the file name of {network.name}",
                network.architecture.endswith("-quickgelu"),
            )
    for config in _open_clip_checkpoints():
        if _has_name_of(path, config):
            return Provenance(
                "open_clip's list of pretrained weights has its name",
                bool(config.get("quick_gelu", False)),
                **_normalisation(config),
            )
    return None


def _has_name_of(path: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a path names a checkpoint of open_clip's list, by repository or file."""
    if config["hf_hub"]:
        organisation, name = config["hf_hub"].split("/")[:2]  # a file name may follow
        if f"models--{organisation}--{name}" in path.parts or path.parent.name == name:
            return True
    # OpenAI's file names are too common, such as ViT-B-16.pt; its archives are recognised by their
    # tensors.
    address = config["url"]
    return "openaipublic" not in address and path.name == address.rsplit("/", 1)[-1]


def _open_clip_checkpoints() -> Iterator[dict[str, Any]]:
    """Yield open_clip's description of every checkpoint that it lists."""
    for name, tag in open_clip.list_pretrained():
        yield open_clip.get_pretrained_cfg(name, tag)


def _normalisation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``mean`` and ``std`` where the description has them."""
    return {key: tuple(map(float, config[key])) for key in ("mean", "std") if key in config}
