"""Weight files as files: which one a path means, and whether it can hold weights. No torch."""

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
"""What open_clip calls its weights in a repository of Hugging Face, the better one first."""
_MOST_NAMED = 5
"""Files of a folder that a message names."""


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
    found = sorted(one for one in path.glob("*") if one.suffix in SUFFIXES)
    if len(found) != 1:
        raise WeightsError(
            f"folder {path} has {_listed(found)}, but none of {', '.join(OPEN_CLIP_FILES)}; name "
            "the file"
        )
    return found[0]


def _listed(files: list[Path]) -> str:
    names = [one.name for one in files[:_MOST_NAMED]]
    more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
    return ", ".join(names) + more if names else "no weight file"


def demo_weights(name: str) -> Path:
    """Path of a file that the package ships: ``clip_demo``, ``clip_demo_texts``, ``sam_demo``."""
    return Path(str(resources.files(__package__) / "demo" / f"{name}.safetensors"))


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
    if Path(name or path).suffix not in SUFFIXES:
        raise WeightsError(f"weight file {path} is none of {', '.join(SUFFIXES)}")
    head = _start(path, 256)
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


def check_complete(path: Path) -> None:
    """Refuse a file of another format, and one that ends too early, where its format tells.

    :raises WeightsError: naming the file.
    """
    if not (is_zip(path) or is_safetensors(path) or _start(path, 1) == b"\x80"):  # a pickle's
        raise WeightsError(
            f"weight file {path} is neither safetensors nor what torch writes: it starts with "
            f"{_start(path, 8)!r}"
        )
    if is_zip(path) and not zipfile.is_zipfile(path):  # the table at its end is missing
        raise WeightsError(f"weight file {path} is truncated; copy or download it again")
    if is_safetensors(path) and path.stat().st_size < _safetensors_length(path):
        raise WeightsError(f"weight file {path} is truncated; copy or download it again")


def is_zip(path: Path) -> bool:
    """What torch writes since 1.6, and TorchScript."""
    return _start(path, 4) == b"PK\x03\x04"


def is_safetensors(path: Path) -> bool:
    """By its ending, or by its start: the header's length, then the header in JSON."""
    return path.suffix == ".safetensors" or _start(path, 10)[8:] == b'{"'


def _safetensors_length(path: Path) -> int:
    """Bytes that the header promises; 0 when it is none."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return 8 + length
        try:
            header = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for key, one in header.items() if key[:2] != "__"]
            return 8 + length + int(max(ends, default=0))
        except (ValueError, LookupError, TypeError, AttributeError):
            return 0


def _start(path: Path, length: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(length)
    except OSError as error:
        raise WeightsError(f"weight file {path} cannot be read: {error.strerror}") from error
