"""Reads the files of ``train-demo export``, to continue a training or to export them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.networks.clip.vocabulary_table import TABLE, with_all_tokens
from clip_surgery_ros.training.clip_model import Vocabulary
from clip_surgery_ros.training.sam_model import resize_positions
from clip_surgery_ros.weights.state_dicts import load_state_dict

SUFFIX = ".safetensors"
"""Of exported files; checkpoints have another."""


def read_clip(file: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return ``step``, ``model`` and ``heads`` as a checkpoint has them, in float32.

    :raises WeightsError: it is damaged, or not an exported CLIP.
    """
    tensors, metadata = load_state_dict(file)
    if "heads" not in metadata or TABLE not in tensors:
        raise WeightsError(f"{file} has no training heads, as files of `train-demo export` have")
    model = {name: values.float() for name, values in with_all_tokens(tensors).items()}
    # Row 0 stands for all unknown tokens.
    model[TABLE] = F.pad(model[TABLE][vocabulary.ids], (0, 0, 1, 0))
    heads = {name: torch.tensor(value) for name, value in json.loads(metadata["heads"]).items()}
    return {"step": int(metadata["step"]), "model": model, "heads": heads}


def read_sam(file: Path) -> dict[str, Any]:
    """Return ``step`` and ``model`` as a checkpoint has them, in float32.

    :raises WeightsError: it is damaged, or not an exported SAM.
    """
    tensors, metadata = load_state_dict(file)
    if not metadata.get("step", "").isdigit():
        raise WeightsError(f"{file} does not tell its step, as files of `train-demo export` do")
    model = {name: resize_positions(name, values.float()) for name, values in tensors.items()}
    return {"step": int(metadata["step"]), "model": model}
