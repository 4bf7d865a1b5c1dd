"""Files of text features, so that a text need not be encoded anew by every process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from clip_surgery_ros.backends.weights import load_state_dict
from clip_surgery_ros.core.errors import WeightsError


def save_text_features(path: Path, features: Mapping[str, Tensor]) -> None:
    """Write unit (C,) features by their texts: one float32 table, the texts as metadata."""
    table = torch.stack(list(features.values())).float().cpu().contiguous()
    save_file({"features": table}, path, {"texts": json.dumps(list(features))})
    path.chmod(0o644)  # safetensors writes for its owner only


def load_text_features(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_text_features` wrote.

    :raises WeightsError: naming the file, when it is damaged or something else.
    """
    tensors, metadata = load_state_dict(path)
    try:
        texts, table = json.loads(metadata["texts"]), tensors["features"]
        return dict(zip(texts, table, strict=True))
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path} holds no text features; delete it") from error
