"""Files of text features, so that a text need not be encoded anew by every process."""

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
"""Seconds from the first new text to the disk: a thousand labels, which take minutes to encode,
are written a few times instead of a thousand, and a kill loses little."""
LOCK_S = 10.0
"""Seconds to wait for another process, which holds the folder for milliseconds."""
FILES = 16
"""One per network and templates, of at most ``CAPACITY`` texts: 130 MB at a width of 512."""
_PROBE = "A photo of Zoë's 3 red MUGS (on the left-hand side), кружка, 杯子, كوب!"
"""Tokenizers of another vocabulary, length, or way with case and marks split it otherwise."""
_LOG = logging.getLogger(__name__)


def save_text_features(path: Path, features: Mapping[str, Tensor], network: str = "") -> None:
    """Write unit (C,) features by their texts: one float32 table, the texts as metadata.

    :param network: what the features depend on, see :func:`text_tower_digest`.
    """
    table = torch.stack(list(features.values())).float().cpu().contiguous()
    save_file({"features": table}, path, {"texts": json.dumps(list(features)), "network": network})
    path.chmod(0o644)  # safetensors writes for its owner only


def load_text_features(path: Path, network: str = "") -> dict[str, Tensor]:
    """Read what :func:`save_text_features` wrote.

    :raises WeightsError: naming the file, when it is damaged, something else, or of another
        network.
    """
    tensors, metadata = load_state_dict(path)
    try:
        texts, table = json.loads(metadata["texts"]), tensors["features"]
        features = dict(zip(texts, table, strict=True))
        lengths = torch.linalg.vector_norm(table, dim=1)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise WeightsError(f"{path} holds no text features; delete it") from error
    if not torch.allclose(lengths, torch.ones(()), atol=1e-3):  # nor NaN
        raise WeightsError(f"{path} is damaged: its features are no unit vectors; delete it")
    if metadata.get("network", "") != network:
        raise WeightsError(f"{path} is of another network; delete it")
    return features


def text_tower_digest(
    model: nn.Module, tokenize: Callable[[list[str]], Tensor], templates: Sequence[str]
) -> str:
    """SHA-256 of all that text features depend on, beside the text.

    That is every weight of the text tower as it is in memory, hence the precision too, but not
    the name or date of any file; what its modules are set to, such as activations and heads; how
    the tokenizer splits; and the templates. It takes a fraction of what loading takes.

    :param model: with its image tower in ``visual``.
    :param tokenize: prompts to token ids.
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        if not _is_visual(name):
            digest.update(f"{name} {type(module).__name__} {_settings(module)}\n".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not _is_visual(name):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            flat = tensor.detach().cpu().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)  # numpy has no bfloat16
    digest.update(json.dumps([tokenize([_PROBE]).tolist(), list(templates)]).encode())
    return digest.hexdigest()


def _is_visual(name: str) -> bool:
    return name.split(".")[0] == "visual"


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    """Plain values among a module's own attributes, but its mode and where it was read from."""
    plain = (bool, int, float, str, type(None))
    values = [item for item in vars(module).items() if type(item[1]) in plain]
    return sorted(item for item in values if item[0] not in ("training", "name_or_path"))


class TextStore:
    """The text features of one network in a file, for processes to come.

    New ones are written together, soon and on a thread of their own, so that no frame waits for
    the disk. Whatever is wrong with the file or the disk is logged once, and texts are encoded as
    if there were none. The file holds the last ``CAPACITY`` texts that were encoded.

    :param folder: of such files, made when first written to; several processes may use it.
    :param network: see :func:`text_tower_digest`.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self._folder, self._network = folder, network
        self._path = folder / f"{network[:32]}.safetensors"
        self._new: dict[str, Tensor] = {}
        # Reentrant: flush may be called by the garbage collector, hence in the midst of itself.
        self._guard, self._writing = threading.RLock(), threading.RLock()
        self._others = FileLock(folder / ".lock", timeout=LOCK_S)
        self._timer: threading.Timer | None = None
        self._said: set[str] = set()

    def load(self) -> dict[str, Tensor]:
        """(C,) features by their texts, the oldest first; empty when there is no sound file."""
        try:
            if not self._path.exists():
                return {}
            features = load_text_features(self._path, self._network)
        except (OSError, WeightsError) as error:
            self._warn(f"{error}. Its texts are encoded anew, and a new file is written")
            return {}
        with contextlib.suppress(OSError):  # it may be another user's
            os.utime(self._path)  # in use, so not the next to go
        return features

    def add(self, features: Mapping[str, Tensor]) -> None:
        """Have (C,) features written before long."""
        with self._guard:
            self._new.update(features)
            if self._timer is None:
                self._timer = threading.Timer(DELAY_S, self.flush)
                self._timer.daemon = True  # a process that ends calls flush, and does not wait
                self._timer.start()

    def flush(self) -> None:
        """Write what is new at once."""
        with self._writing:
            with self._guard:
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
        """Add to what is in the file by now; readers see the old file or the new one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        with self._others:
            features = {text: row for text, row in self.load().items() if text not in new}
            features.update(new)
            try:
                save_text_features(part, dict([*features.items()][-CAPACITY:]), self._network)
                part.replace(self._path)
            finally:
                part.unlink(missing_ok=True)
            self._make_room()

    def _make_room(self) -> None:
        """Remove what was longest not in use, and what a killed process left half-written."""
        files = sorted(self._folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        for path in (*files[:-FILES], *self._folder.glob("*.part")):
            path.unlink(missing_ok=True)

    def _warn(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            _LOG.warning(sentence)
