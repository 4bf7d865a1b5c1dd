"""Checkpoints of a training: write them completely, and refuse those of something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.training.optimization import Optimizers
from clip_surgery_ros.weights.files import check_file
from clip_surgery_ros.weights.layouts import load_tensors
from clip_surgery_ros.weights.state_dicts import DAMAGE, ignore_warnings


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint; the previous file stays until the new one is complete."""
    with write_together(path.parent) as unfinished:
        torch.save(dict(state), unfinished / path.name)


def load(path: Path, entries: Sequence[str]) -> dict[str, Any]:
    """Read a checkpoint.

    :param entries: names of the entries that it must have.
    :raises WeightsError: when it is damaged or something else.
    """
    check_file(path, "checkpoint.pt")  # any file name is allowed
    try:
        with ignore_warnings():  # torch warns about a damaged file before it raises
            state = torch.load(path, weights_only=True, map_location="cpu")
    except DAMAGE as error:
        raise WeightsError(
            f"checkpoint {path} is damaged, or not a checkpoint of `train-demo`"
        ) from error
    missing = [name for name in entries if not isinstance(state, dict) or name not in state]
    if missing:
        raise WeightsError(f"checkpoint {path} is not of this network: it lacks {missing[0]}")
    return dict(state)


def restore(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into a network.

    :raises WeightsError: when they are those of another network.
    """
    difference = load_tensors(network, state["model"])
    if difference:
        raise WeightsError(f"checkpoint {path} is not of this network: it {difference}")


def resume_optimizers(optimizers: Optimizers, state: Mapping[str, Any]) -> int:
    """Load the optimizers' state, if there is one.

    :returns: the step at which the learning rate warms up.
    """
    if not state["optims"]:
        return int(state["step"])
    for optimizer, saved in zip(optimizers, state["optims"], strict=True):
        optimizer.load_state_dict(saved)
    return 0


def training_state(
    step: int, seconds: float, networks: Mapping[str, nn.Module], optimizers: Optimizers
) -> dict[str, Any]:
    """Return what a training resumes from.

    :param seconds: that the training took so far.
    :param networks: by the names that their entries have.
    """
    return {
        "step": step,
        "seconds": seconds,
        **{name: network.state_dict() for name, network in networks.items()},
        "optims": [optimizer.state_dict() for optimizer in optimizers],
    }
