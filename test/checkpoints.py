"""Writes checkpoints in the layouts that publishers use; they are small on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

REVISION = "0123456789abcdef0123456789abcdef01234567"


def shapes_of(name: str) -> dict[str, Tensor]:
    """Return the state dict of an open_clip model without memory for its weights."""
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(name)).state_dict()


def hollow(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return zeros of the same shapes, which take no space in a torch file."""
    return {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in tensors.items()}


def are_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Return whether two state dicts have the same tensors."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class Branch(nn.Module):
    """A module that holds tensors by dotted names, as TorchScript archives do."""

    def forward(self) -> int:
        return 0

    def put(self, name: str, tensor: Tensor) -> None:
        head, _, rest = name.partition(".")
        if not rest:
            self.register_buffer(head, tensor)
            return
        if not hasattr(self, head):
            self.add_module(head, Branch())
        getattr(self, head).put(rest, tensor)


def save_as_openai(tensors: Mapping[str, Tensor], path: Path, size: int) -> None:
    """Write a TorchScript archive as OpenAI does: float16 weights and three numbers."""
    root = Branch()
    for name, tensor in tensors.items():
        root.put(name, tensor.half() if tensor.is_floating_point() else tensor)
    numbers = {"input_resolution": size, "context_length": 77, "vocab_size": 49408}
    for name, number in numbers.items():
        root.put(name, torch.tensor(number))
    torch.jit.script(root).save(str(path))


def describe(folder: Path, quick_gelu: bool | None, **preprocess: object) -> None:
    """Write open_clip's description of a model beside its weights, as on Hugging Face."""
    model = {"embed_dim": 32, "vision_cfg": {}, "text_cfg": {}}
    if quick_gelu is not None:
        model["quick_gelu"] = quick_gelu
    description = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(description))


def cache(hub: Path, repository: str, name: str, content: bytes) -> Path:
    """Write a file to a Hugging Face cache, as a download does.

    :returns: its path in the snapshot, a link to the file's content.
    """
    folder = hub / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = folder / "snapshots" / REVISION / name
    for path in (blob, link, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(Path("../../blobs") / blob.name)
    (folder / "refs" / "main").write_text(REVISION)
    return link
