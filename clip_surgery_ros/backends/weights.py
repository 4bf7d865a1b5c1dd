"""Weight files to state dicts; nothing is unpickled, nothing is downloaded."""

from __future__ import annotations

import hashlib
import pickle
import string
import struct
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clip_surgery_ros.core.errors import WeightsError

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls its weights in a repository of Hugging Face, the better one first."""
# What torch's restricted unpickler was seen to raise on files with bytes changed or cut off.
_DAMAGE = (
    *(RuntimeError, EOFError, OSError, pickle.UnpicklingError, struct.error),
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError),
)


def load_state_dict(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a checkpoint on the CPU.

    A training checkpoint's ``state_dict`` or ``model`` is taken out of it, and a leading
    ``module.`` dropped.

    :returns: tensors by name, and the file's own metadata (safetensors; else empty).
    :raises WeightsError: naming the file and what it looks like.
    """
    path = Path(path).expanduser()
    check_file(path)
    if _is_safetensors(path):
        return _read_safetensors(path)
    return _read_torch(path), {}


def checkpoint_file(path: str | Path) -> Path:
    """The weight file that a path means: itself, or the one in a folder.

    The folder is a clone or snapshot of a Hugging Face repository, or the repository's folder in
    Hugging Face's cache.

    :raises WeightsError: when the folder has none or leaves the choice open.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return path
    reference = path / "refs" / "main"
    if reference.is_file():
        path = path / "snapshots" / reference.read_text().strip()
    for name in OPEN_CLIP_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(one for one in path.glob("*") if one.suffix in _SUFFIXES)
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "no weight file"
        raise WeightsError(
            f"folder {path} has {names}, but none of {', '.join(OPEN_CLIP_FILES)}; name the file"
        )
    return found[0]


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: str | Path, wanted: str) -> None:
    """Refuse a file that is not the one meant.

    :param wanted: hexadecimal SHA-256, or its first digits.
    :raises WeightsError: when the file is missing or has another checksum.
    """
    path = Path(path).expanduser()
    check_file(path)
    found = sha256(path)
    if not found.startswith(wanted.lower()):
        raise WeightsError(
            f"weight file {path} has the SHA-256 {found[: max(8, len(wanted))]}, but {wanted} was "
            "expected; copy it again, or correct the checksum"
        )


def check_file(path: Path, name: str = "") -> None:
    """Say in a sentence what is wrong with a file that cannot hold weights.

    :param name: that it shall have, whose ending tells its format; its own by default.
    :raises WeightsError: naming the file.
    """
    if path.is_dir():
        raise WeightsError(f"weight file {path} is a folder; name the file in it")
    if not path.is_file():
        raise WeightsError(f"weight file {path} does not exist; put it there or correct the path")
    if Path(name or path).suffix not in _SUFFIXES:
        raise WeightsError(f"weight file {path} is none of {', '.join(_SUFFIXES)}")
    with open(path, "rb") as file:
        head = file.read(256)
    if not head:
        raise WeightsError(f"weight file {path} is empty; copy or download it again")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(
            f"weight file {path} is a web page, not weights; the download address was wrong or "
            "wanted a login"
        )
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"weight file {path} is a Git LFS pointer; run 'git lfs pull' there")
    if all(byte in string.printable.encode() for byte in head):
        raise WeightsError(
            f"weight file {path} is text, not weights; it starts with "
            f"'{head[:40].decode().split(chr(10))[0]}'"
        )


def _is_safetensors(path: Path) -> bool:
    """By its ending, or by its start: the header's length, then the header in JSON."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(10)[8:] == b'{"'


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
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped and not zipfile.is_zipfile(path):
        raise WeightsError(f"weight file {path} is truncated; copy or download it again")
    if _is_torchscript(path):
        return _read_torchscript(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise WeightsError(
            f"weight file {path} is truncated, or holds more than tensors; copy it again, or "
            "save its state dict alone"
        ) from error
    for name in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"weight file {path} holds no state dict but {type(loaded).__name__}")
    tensors = {str(k).removeprefix("module."): v for k, v in loaded.items()}
    odd = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(f"weight file {path} has entries that are no tensors, such as {odd[0]}")
    return tensors


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives are zip files with a ``constants.pkl`` beside ``data.pkl``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """State dict of an archive such as OpenAI publishes; its code is never run."""
    try:
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    except RuntimeError as error:
        raise WeightsError(f"weight file {path} is a damaged TorchScript archive") from error
