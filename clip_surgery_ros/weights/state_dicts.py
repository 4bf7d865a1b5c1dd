"""Reading of weight files: any format to a state dict. No code in a file is ever run."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.weights.files import check_complete, check_file, is_safetensors

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Entries of training checkpoints that hold the weights; they may be nested."""
_MAX_DEPTH = 4
"""Deepest nesting of these entries; a pickle may contain itself."""
# Prefixes that trainers and wrappers add to tensor names. No supported network has a top-level
# module of such a name.
_PREFIXES = re.compile(
    r"^(?:(?:module|_orig_mod|model|net|network|sam|clip|state_dict|model_state_dict)\.)+"
)
# Names that torch.compile, FSDP and activation checkpointing insert before wrapped modules.
_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

DAMAGE = (
    *(RuntimeError, EOFError, OSError, pickle.UnpicklingError, struct.error),
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError),
)
"""Exceptions of torch's restricted unpickler on damaged and truncated files, found by tests."""


def load_state_dict(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a checkpoint into CPU memory.

    In every format the weights may be inside an entry of a training checkpoint
    (:data:`CONTAINERS`), and prefixes that trainers and wrappers add to names, such as
    ``module.``, ``_orig_mod.``, ``model.`` or ``sam.``, are removed.

    :returns: tensors by name, and the metadata of a safetensors file (else empty).
    :raises WeightsError: naming the file and what is wrong with it.

    >>> from clip_surgery_ros.weights.files import demo_weights
    >>> tensors, metadata = load_state_dict(demo_weights("clip_demo"))
    >>> tensors["visual.conv1.weight"].ndim, metadata["head_width"]
    (4, '32')
    """
    path = Path(path).expanduser()
    check_file(path)
    if is_safetensors(path):
        tensors, metadata = _read_safetensors(path)
    else:
        tensors, metadata = _read_torch(path), {}
    _check_for_nan(tensors, path)
    return _without_prefixes(tensors, path), metadata


@contextmanager
def ignore_warnings() -> Iterator[None]:
    """Suppress warnings of other packages about themselves and their dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_for_nan(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check that no weight is NaN; every label would be absent, without an error.

    :raises WeightsError: naming a tensor with NaN.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.float().sum().isnan():
            raise WeightsError(
                f"weight file {path} has NaN in {name}: its training diverged, or the file is "
                "damaged; take an earlier checkpoint, or copy it again"
            )


def _without_prefixes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors by names without the prefixes of trainers and wrappers.

    :raises WeightsError: when two names become equal, as with two networks in one file.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short_name = _WRAPPERS.sub("", _PREFIXES.sub("", name))
        if short_name in named:
            raise WeightsError(
                f"weight file {path} holds {short_name} twice, with different prefixes; save "
                "the state dict of one network alone"
            )
        named[short_name] = tensor
    return named


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    safetensors opens a path twice, for the header and for the tensors. If another process replaced
    the file between the two, the old header would describe the new bytes. So the path that it gets
    here leads to the file that is open, whatever happens to its name.
    """
    try:
        with open(path, "rb") as file:
            same_file = Path(f"/proc/self/fd/{file.fileno()}")
            with safe_open(same_file if same_file.exists() else path, framework="pt") as reader:
                tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
                metadata = reader.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"weight file {path} is truncated or not safetensors ({error}); copy it again"
        ) from error
    if not tensors:
        raise WeightsError(f"weight file {path} holds no tensors")
    return tensors, metadata


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that torch wrote, in any of its formats."""
    check_complete(path)
    if _is_torchscript(path):
        return _read_torchscript(path)
    try:
        with ignore_warnings():  # torch warns about damaged files before it raises
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        raise WeightsError(f"weight file {path} {_unpickling_problem(error)}") from error
    weights = _weights_in(loaded)
    if not isinstance(weights, Mapping) or not weights:
        raise WeightsError(f"weight file {path} holds no state dict but {type(weights).__name__}")
    other_entries = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if other_entries:
        raise WeightsError(
            f"weight file {path} has entries that are no tensors, such as {other_entries[0]}; "
            "save the network's state dict alone"
        )
    return {str(name): tensor for name, tensor in weights.items()}


def _unpickling_problem(error: Exception) -> str:
    """Return what torch's restricted unpickler found, and what to do."""
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused:
        return (
            f"holds more than tensors ({refused[1]}), which is not read since it may run code; "
            "save its state dict alone: torch.save(model.state_dict(), FILE)"
        )
    return "is truncated, or holds more than tensors; copy it again, or save its state dict alone"


def _weights_in(loaded: Any) -> Any:
    """Return the entry of a training checkpoint with the weights, or the argument itself."""
    for _ in range(_MAX_DEPTH):
        entries = loaded if isinstance(loaded, Mapping) else {}
        inner = [entries[name] for name in CONTAINERS if isinstance(entries.get(name), Mapping)]
        if not inner:
            break
        loaded = inner[0]
    return loaded


def _is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: a zip file with a ``constants.pkl``."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"weight file {path} is a damaged archive; copy it again") from error


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a TorchScript archive, as OpenAI's; its code is never run."""
    try:
        with ignore_warnings():  # torch warns that TorchScript is deprecated
            return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    except DAMAGE as error:
        raise WeightsError(f"weight file {path} is a damaged TorchScript archive") from error
