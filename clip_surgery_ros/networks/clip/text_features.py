"""Files of text features, so that each process need not encode the same texts again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.core.text import CAPACITY
from clip_surgery_ros.weights.state_dicts import load_state_dict

DELAY_S = 10.0
"""Seconds from the first new text until it is written. A thousand labels take minutes to encode;
they are written a few times instead of a thousand times, and a killed process loses little."""
LOCK_S = 10.0
"""Longest wait in seconds for another process, which locks the folder for milliseconds."""
MAX_FILES = 16
"""Most files in a folder. There is one per network and templates, with at most ``CAPACITY`` texts:
130 MB altogether at a width of 512."""
_PROBE = "A photo of Zoë's 3 red MUGS (on the left-hand side), кружка, 杯子, كوب!"
"""A text that tokenizers with another vocabulary, context length or treatment of case and
punctuation encode differently."""
_LOG = logging.getLogger(__name__)


def save_text_features(path: Path, features: Mapping[str, Tensor], network: str = "") -> None:
    """Write a file with one float32 table of features and the texts as metadata.

    :param features: unit (C,) features by their texts.
    :param network: identifies the network, see :func:`text_tower_digest`.
    """
    table = torch.stack(list(features.values())).float().cpu().contiguous()
    save_file({"features": table}, path, {"texts": json.dumps(list(features)), "network": network})
    path.chmod(0o644)  # safetensors lets only the owner read its files


def load_text_features(path: Path, network: str = "") -> dict[str, Tensor]:
    """Read a file of :func:`save_text_features`: unit (C,) features by their texts.

    :raises WeightsError: naming the file, when it is damaged, holds something else, or belongs
        to another network.
    """
    tensors, metadata = load_state_dict(path)
    try:
        texts, table = json.loads(metadata["texts"]), tensors["features"]
        features = dict(zip(texts, table, strict=True))
        lengths = torch.linalg.vector_norm(table, dim=1)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise WeightsError(f"{path} holds no text features; delete it") from error
    if not torch.allclose(lengths, torch.ones(()), atol=1e-3):  # false for NaN too
        raise WeightsError(f"{path} is damaged: its features are no unit vectors; delete it")
    if metadata.get("network", "") != network:
        raise WeightsError(f"{path} is of another network; delete it")
    return features


def text_tower_digest(
    model: nn.Module, tokenize: Callable[[list[str]], Tensor], templates: Sequence[str]
) -> str:
    """Return the SHA-256 of everything that text features depend on, except the text.

    These are the text tower's weights as they are in memory (and so the precision), the options
    of its modules such as activations and heads, the tokenizer's output, and the templates. Names
    and dates of files do not count. Computing it takes a fraction of the time of loading.

    :param model: an open_clip model; its image tower, ``visual``, does not count.
    :param tokenize: prompts to (P, L) token ids.
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        if not _is_visual(name):
            digest.update(f"{name} {type(module).__name__} {_options(module)}\n".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not _is_visual(name):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            flat = tensor.detach().cpu().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)  # numpy has no bfloat16
    digest.update(json.dumps([tokenize([_PROBE]).tolist(), list(templates)]).encode())
    return digest.hexdigest()


def _is_visual(name: str) -> bool:
    return name.split(".")[0] == "visual"


def _options(module: nn.Module) -> list[tuple[str, Any]]:
    """Return a module's attributes of plain types, except its mode and the path of its files."""
    plain = (bool, int, float, str, type(None))
    values = [item for item in vars(module).items() if type(item[1]) in plain]
    return sorted(item for item in values if item[0] not in ("training", "name_or_path"))


class TextStore:
    """A file with the text features of one network, which later processes read.

    A background thread writes new features together after a short delay, so that no frame waits
    for the disk. A problem with the file or the disk is logged once; texts are then encoded as if
    there were no file. The file holds the last ``CAPACITY`` texts that were encoded.

    Several processes may use a folder at once: writers lock it and replace whole files, so a
    reader sees the old file or the new one.

    :param folder: of such files; created when a file is first written.
    :param network: identifies the network, see :func:`text_tower_digest`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store = TextStore(Path(folder), network="0" * 64)
    ...     store.add({"red mug": torch.tensor([0.6, 0.8])})
    ...     store.flush()
    ...     TextStore(Path(folder), network="0" * 64).load()
    {'red mug': tensor([0.6000, 0.8000])}
    """

    def __init__(self, folder: Path, network: str) -> None:
        self._folder, self._network = folder, network
        self._path = folder / f"{network[:32]}.safetensors"
        self._new: dict[str, Tensor] = {}
        # Reentrant, because the garbage collector may call flush while flush runs.
        self._new_lock, self._write_lock = threading.RLock(), threading.RLock()
        self._folder_lock = FileLock(folder / ".lock", timeout=LOCK_S)  # between processes
        self._timer: threading.Timer | None = None
        self._logged: set[str] = set()

    def load(self) -> dict[str, Tensor]:
        """Return (C,) features by their texts, the oldest first; empty without a usable file."""
        try:
            if not self._path.exists():
                return {}
            features = load_text_features(self._path, self._network)
        except (OSError, WeightsError) as error:
            self._warn(f"{error}. Its texts are encoded again, and a new file is written")
            return {}
        with contextlib.suppress(OSError):  # the file may belong to another user
            os.utime(self._path)  # the files longest unused are deleted first
        return features

    def add(self, features: Mapping[str, Tensor]) -> None:
        """Schedule (C,) features, by their texts, to be written."""
        with self._new_lock:
            self._new.update(features)
            if self._timer is None:
                self._timer = threading.Timer(DELAY_S, self.flush)
                self._timer.daemon = True  # a process that ends calls flush instead of waiting
                self._timer.start()

    def flush(self) -> None:
        """Write new features now."""
        with self._write_lock:
            with self._new_lock:
                new, self._new = self._new, {}
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = None
            if not new:
                return
            try:
                self._write({text: feature.cpu() for text, feature in new.items()})
            except (OSError, SafetensorError) as error:  # filelock's Timeout is an OSError
                self._warn(f"text features are not kept in {self._folder}: {error}")

    def _write(self, new: Mapping[str, Tensor]) -> None:
        """Replace the file by one that also has the new features."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        with self._folder_lock:
            features = {text: row for text, row in self.load().items() if text not in new}
            features.update(new)
            try:
                save_text_features(part, dict([*features.items()][-CAPACITY:]), self._network)
                part.replace(self._path)
            finally:
                part.unlink(missing_ok=True)
            self._delete_old_files()

    def _delete_old_files(self) -> None:
        """Delete files that were not used for longest, and partial files of killed processes.

        The folder's lock must be held: then no other process has a partial file.
        """
        files = sorted(self._folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        for path in (*files[:-MAX_FILES], *self._folder.glob("*.part")):
            path.unlink(missing_ok=True)

    def _warn(self, sentence: str) -> None:
        """Log a warning, each once."""
        if sentence not in self._logged:
            self._logged.add(sentence)
            _LOG.warning(sentence)
