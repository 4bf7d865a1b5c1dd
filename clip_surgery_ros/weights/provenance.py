"""How a CLIP checkpoint was trained, where something beside its weights tells.

Weights of a network with QuickGELU and of one with the exact GELU have the same names and sizes,
and the wrong activation gives wrong maps without any error; so does the wrong normalisation.
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
"""What open_clip and Hugging Face put beside a checkpoint."""


@dataclass(frozen=True)
class Provenance:
    """What is known of a checkpoint's training.

    :param source: what tells; empty when nothing does.
    :param quick_gelu: whether its activation is QuickGELU; None when nothing tells.
    :param mean: of RGB in [0, 1], subtracted.
    :param std: of RGB in [0, 1], divided by.
    """

    source: str = ""
    quick_gelu: bool | None = None
    mean: tuple[float, float, float] = open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, float, float] = open_clip.OPENAI_DATASET_STD


def provenance(path: Path, tensors: Mapping[str, Tensor]) -> Provenance:
    """What the tensors, the folder or the name of a checkpoint tell, in this order.

    :raises WeightsError: when the description beside the checkpoint cannot be read.
    """
    if any(name in tensors for name in OPENAI_EXTRAS):
        return Provenance("it is an archive of OpenAI's", quick_gelu=True)
    return _described(path) or _listed(path) or Provenance()


def _described(path: Path) -> Provenance | None:
    """By open_clip's description in the same folder."""
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


def _listed(path: Path) -> Provenance | None:
    """By the name of a published file, or of a Hugging Face repository that it is in."""
    for one in PRETRAINED:
        if one.kind == CLIP and path.name == one.file_name:
            return Provenance(
                f"it is called as {one.name} is", one.architecture.endswith("-quickgelu")
            )
    for config in _open_clip_s():
        if _is_called_as(path, config):
            return Provenance(
                "open_clip's list of published weights has its name",
                bool(config.get("quick_gelu", False)),
                **_normalisation(config),
            )
    return None


def _is_called_as(path: Path, config: Mapping[str, Any]) -> bool:
    if config["hf_hub"]:
        organisation, name = config["hf_hub"].split("/")[:2]  # a file in it may follow
        if f"models--{organisation}--{name}" in path.parts or path.parent.name == name:
            return True
    # OpenAI names its files as anybody names a ViT-B-16, and its archives tell themselves.
    address = config["url"]
    return "openaipublic" not in address and path.name == address.rsplit("/", 1)[-1]


def _open_clip_s() -> Iterator[dict[str, Any]]:
    """Every published checkpoint that open_clip lists."""
    for name, tag in open_clip.list_pretrained():
        yield open_clip.get_pretrained_cfg(name, tag)


def _normalisation(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(map(float, config[key])) for key in ("mean", "std") if key in config}
