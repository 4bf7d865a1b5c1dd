"""Checkpoints of a training: written whole, and refused where they are of something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.weights.files import check_file
from clip_surgery_ros.weights.layouts import load_tensors
from clip_surgery_ros.weights.quietly import quietly
from clip_surgery_ros.weights.state_dicts import DAMAGE


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint; the one before it stays until this one is whole."""
    with write_together(path.parent) as unfinished:
        torch.save(dict(state), unfinished / path.name)


def load(path: Path, entries: Sequence[str]) -> dict[str, Any]:
    """Read a checkpoint.

    :param entries: that it must have.
    :raises WeightsError: when it is damaged or of something else.
    """
    check_file(path, "checkpoint.pt")  # it may be called anything
    try:
        with quietly():  # torch wonders about a damaged file before it gives up
            state = torch.load(path, weights_only=True, map_location="cpu")
    except DAMAGE as error:
        raise WeightsError(f"checkpoint {path} is damaged, or none of `train-demo`") from error
    missing = [name for name in entries if not isinstance(state, dict) or name not in state]
    if missing:
        raise WeightsError(f"checkpoint {path} is none of this network: it lacks {missing[0]}")
    return dict(state)


def resume(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a network.

    :raises WeightsError: when they are of another one.
    """
    difference = load_tensors(network, state["model"])
    if difference:
        raise WeightsError(f"checkpoint {path} is none of this network: it {difference}")
