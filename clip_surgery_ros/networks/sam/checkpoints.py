"""Checkpoints of SAMs into networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.layouts import guess_network, guess_sam, load_tensors


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, model: str
) -> None:
    """Put a file's weights into a network, ready to answer.

    :param path: of the file, for the message.
    :param model: name of the network, for the message.
    :raises WeightsError: when they are of another network, or are not all of this one and nothing
        else.
    """
    difference = load_tensors(network, tensors)
    if difference:
        raise WeightsError(f"weight file {path} {_complaint(tensors, model, difference)}")
    network.eval()  # only now: TinyViT draws its position biases from its weights here


def _complaint(tensors: Mapping[str, Tensor], model: str, difference: str) -> str:
    found = guess_sam(tensors)
    if found == model:
        return (
            f"is of SAM {model} but for this: it {difference}; save all tensors of the network "
            "and no other"
        )
    looks = guess_network(tensors)
    if found is not None:
        looks = f"{found}: set sam_model to that, or name the right file"
    return f"does not fit SAM {model}; it looks like {looks} (it {difference})"
