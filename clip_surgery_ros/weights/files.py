"""Paths of weight files, and checks of files before they are read. Does not import torch."""

from __future__ import annotations

import hashlib
import json
import string
import zipfile
from importlib import resources
from pathlib import Path

from clip_surgery_ros.core.errors import WeightsError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of open_clip's weight files in Hugging Face repositories, in order of preference."""
_MAX_NAMES = 5
"""Most files of a folder that a message names."""


def checkpoint_file(path: str | Path) -> Path:
    """Return the weight file of a path: the path itself, or the file in a folder.

    The folder may be a clone or snapshot of a Hugging Face repository, or the repository's folder
    in Hugging Face's cache.

    :raises WeightsError: when the folder has no weight file, or several without a known name.
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
    files = sorted(file for file in path.glob("*") if file.suffix in SUFFIXES)
    if len(files) != 1:
        raise WeightsError(
            f"folder {path} has {_join_names(files)}, but none of {', '.join(OPEN_CLIP_FILES)}; "
            "name the file"
        )
    return files[0]


def _join_names(files: list[Path]) -> str:
    """Return the names of files in one phrase."""
    names = [file.name for file in files[:_MAX_NAMES]]
    more = f" and {len(files) - _MAX_NAMES} more" if len(files) > _MAX_NAMES else ""
    return ", ".join(names) + more if names else "no weight file"


def demo_weights(name: str) -> Path:
    """Return the path of a file of the package.

    :param name: ``clip_demo``, ``clip_demo_texts`` or ``sam_demo``.
    """
    return Path(str(resources.files(__package__) / "demo" / f"{name}.safetensors"))


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: str | Path, expected: str) -> None:
    """Check that a file has the expected checksum.

    :param expected: hexadecimal SHA-256, or its first digits.
    :raises WeightsError: when the file is missing or has another checksum.
    """
    path = Path(path).expanduser()
    check_file(path)
    digest = sha256(path)
    if not digest.startswith(expected.lower()):
        raise WeightsError(
            f"weight file {path} has the SHA-256 {digest[: max(8, len(expected))]}, but "
            f"{expected} was expected; copy it again, or correct the checksum"
        )


def check_file(path: Path, name: str = "") -> None:
    """Check that a file can be a weight file, by its name and first bytes.

    :param name: file name whose suffix counts; by default the file's own.
    :raises WeightsError: naming the file and what is wrong with it.
    """
    if path.is_dir():
        raise WeightsError(f"weight file {path} is a folder; name the file in it")
    if not path.is_file():
        raise WeightsError(f"weight file {path} does not exist; put it there or correct the path")
    if Path(name or path).suffix not in SUFFIXES:
        raise WeightsError(f"weight file {path} is none of {', '.join(SUFFIXES)}")
    head = _start(path, 256)
    if not head:
        raise WeightsError(f"weight file {path} is empty; copy or download it again")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(
            f"weight file {path} is a web page, not weights; the download address was wrong or "
            "needs a login"
        )
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"weight file {path} is a Git LFS pointer; run 'git lfs pull' there")
    if all(byte in string.printable.encode() for byte in head):
        raise WeightsError(
            f"weight file {path} is text, not weights; it starts with "
            f"'{head[:40].decode().split(chr(10))[0]}'"
        )


def check_complete(path: Path) -> None:
    """Check that a file has a known format and, where the format allows it, is not truncated.

    :raises WeightsError: naming the file.
    """
    if not (is_zip(path) or is_safetensors(path) or _start(path, 1) == b"\x80"):  # of a pickle
        raise WeightsError(
            f"weight file {path} is neither safetensors nor what torch writes: it starts with "
            f"{_start(path, 8)!r}"
        )
    if is_zip(path) and not zipfile.is_zipfile(path):  # the table at the end is missing
        raise WeightsError(f"weight file {path} is truncated; copy or download it again")
    if is_safetensors(path) and path.stat().st_size < _safetensors_length(path):
        raise WeightsError(f"weight file {path} is truncated; copy or download it again")


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, as torch (since 1.6) and TorchScript write."""
    return _start(path, 4) == b"PK\x03\x04"


def is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors, by its suffix or by the start of its JSON header."""
    return path.suffix == ".safetensors" or _start(path, 10)[8:] == b'{"'


def _safetensors_length(path: Path) -> int:
    """Return the length in bytes that a file must have by its header; 0 for a bad header."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return 8 + length
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
            return 8 + length + int(max(ends, default=0))
        except (ValueError, LookupError, TypeError, AttributeError):
            return 0


def _start(path: Path, length: int) -> bytes:
    """Return the first bytes of a file.

    :raises WeightsError: when the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(length)
    except OSError as error:
        raise WeightsError(f"weight file {path} cannot be read: {error.strerror}") from error
