"""Checkpoints of SAMs into networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from clip_surgery_ros.backends.layouts import looks_like, sam_model
from clip_surgery_ros.core.errors import WeightsError


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, model: str) -> None:
    """Put a file's weights into a network, ready to answer.

    :param path: of the file, for the message.
    :param model: name of the network, for the message.
    :raises WeightsError: when they are of another network.
    """
    try:
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise WeightsError(
            f"weight file {path} does not fit SAM {model}; it looks like {_advice(tensors)} "
            f"({str(error).splitlines()[-1].strip()[:120]})"
        ) from error
    network.eval()  # only now: TinyViT draws its position biases from its weights here


def _advice(tensors: Mapping[str, Tensor]) -> str:
    model = sam_model(tensors)
    if model is None:
        return looks_like(tensors)
    return f"{model}: set sam_model to that, or name the right file"
