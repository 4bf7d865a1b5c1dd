"""Weight files to state dicts; nothing is unpickled, nothing is downloaded."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.files import check_complete, check_file, is_safetensors
from clip_surgery_ros.weights.quietly import quietly

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""What training checkpoints call the entry with the weights; one may lie in another."""
_DEPTH = 4
"""Entries within entries that are looked into: a pickle may hold itself."""
# What trainers and wrappers put before a network's own names. No network known here has a part
# of such a name at its top.
_BEFORE = re.compile(
    r"^(?:(?:module|_orig_mod|model|net|network|sam|clip|state_dict|model_state_dict)\.)+"
)
# What torch.compile, FSDP and activation checkpointing put before the parts that they wrap.
_BETWEEN = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

DAMAGE = (
    *(RuntimeError, EOFError, OSError, pickle.UnpicklingError, struct.error),
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError),
)
"""What torch's restricted unpickler was seen to raise on files with bytes changed or cut off."""


def load_state_dict(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a checkpoint on the CPU.

    The weights are taken out of a training checkpoint's entry (:data:`CONTAINERS`), and names are
    given without what trainers and wrappers put before them, such as ``module.``, ``_orig_mod.``,
    ``model.`` or ``sam.``, whatever the file's format.

    :returns: tensors by name, and the file's own metadata (safetensors; else empty).
    :raises WeightsError: naming the file and what it looks like.
    """
    path = Path(path).expanduser()
    check_file(path)
    if is_safetensors(path):
        tensors, metadata = _read_safetensors(path)
    else:
        tensors, metadata = _read_torch(path), {}
    _check_numbers(tensors, path)
    return _under_their_own_names(tensors, path), metadata


def _check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are no numbers, with which every label would be absent in silence.

    :raises WeightsError: naming one.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.float().sum().isnan():
            raise WeightsError(
                f"weight file {path} has NaN in {name}: its training diverged, or the file is "
                "damaged; take an earlier checkpoint, or copy it again"
            )


def _under_their_own_names(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Without what wrappers put before names.

    :raises WeightsError: when two become the same, as of two networks in one file.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = _BETWEEN.sub("", _BEFORE.sub("", name))
        if own in named:
            raise WeightsError(
                f"weight file {path} holds {own} twice, under other names in front of it; save "
                "the state dict of one network alone"
            )
        named[own] = tensor
    return named


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"weight file {path} is truncated or not safetensors ({error}); copy it again"
        ) from error
    if not tensors:
        raise WeightsError(f"weight file {path} holds no tensors")
    return tensors, metadata


def _read_torch(path: Path) -> dict[str, Tensor]:
    check_complete(path)
    if _is_torchscript(path):
        return _read_torchscript(path)
    try:
        with quietly():  # torch wonders about a damaged file before it gives up
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        raise WeightsError(f"weight file {path} {_why_not_read(error)}") from error
    found = _weights_in(loaded)
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(f"weight file {path} holds no state dict but {type(found).__name__}")
    odd = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(
            f"weight file {path} has entries that are no tensors, such as {odd[0]}; save the "
            "network's state dict alone"
        )
    return {str(name): tensor for name, tensor in found.items()}


def _why_not_read(error: Exception) -> str:
    """What torch's restricted unpickler met, and what to do."""
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused:
        return (
            f"holds more than tensors ({refused[1]}), which is not read since it may run code; "
            "save its state dict alone: torch.save(model.state_dict(), FILE)"
        )
    return "is truncated, or holds more than tensors; copy it again, or save its state dict alone"


def _weights_in(loaded: Any) -> Any:
    """The entry of a training checkpoint that holds the weights, or what was given."""
    for _ in range(_DEPTH):
        entries = loaded if isinstance(loaded, Mapping) else {}
        inner = [entries[one] for one in CONTAINERS if isinstance(entries.get(one), Mapping)]
        if not inner:
            break
        loaded = inner[0]
    return loaded


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives are zip files with a ``constants.pkl`` beside ``data.pkl``."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"weight file {path} is a damaged archive; copy it again") from error


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """State dict of an archive such as OpenAI publishes; its code is never run."""
    try:
        with quietly():  # OpenAI's files are of this kind, whatever torch thinks of it
            return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    except DAMAGE as error:
        raise WeightsError(f"weight file {path} is a damaged TorchScript archive") from error
