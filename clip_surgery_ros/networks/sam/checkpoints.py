"""Checkpoints of SAMs into networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.layouts import fit, looks_like, sam_model


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, model: str) -> None:
    """Put a file's weights into a network, ready to answer.

    :param path: of the file, for the message.
    :param model: name of the network, for the message.
    :raises WeightsError: when they are of another network, or are not all of this one and nothing
        else.
    """
    difference = fit(network, tensors)
    if difference:
        raise WeightsError(f"weight file {path} {_complaint(tensors, model, difference)}")
    network.eval()  # only now: TinyViT draws its position biases from its weights here


def _complaint(tensors: Mapping[str, Tensor], model: str, difference: str) -> str:
    found = sam_model(tensors)
    if found == model:
        return (
            f"is of SAM {model} but for this: it {difference}; save all tensors of the network "
            "and no other"
        )
    looks = looks_like(tensors)
    if found is not None:
        looks = f"{found}: set sam_model to that, or name the right file"
    return f"does not fit SAM {model}; it looks like {looks} (it {difference})"
