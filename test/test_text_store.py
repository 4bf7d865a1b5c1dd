"""Text features on disk: correct, shared between processes, limited, and optional."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from checkpoints import are_equal
from open_clip.model import CLIP
from safetensors.torch import save_file
from small_networks import small_clip
from torch import nn

from clip_surgery_ros.core.templates import TEMPLATES
from clip_surgery_ros.core.text import CAPACITY, TextCounts
from clip_surgery_ros.networks.clip import text_features
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.text_features import (
    MAX_FILES,
    TextStore,
    load_text_features,
    save_text_features,
    text_tower_digest,
)
from clip_surgery_ros.networks.factory import _load_clip
from clip_surgery_ros.parameters.config import Config

NETWORK = "0123456789abcdef" * 4
TOKENIZE = open_clip.SimpleTokenizer()


def unit(*texts: str, width: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(texts), width, generator=generator)
    return dict(zip(texts, nn.functional.normalize(rows, dim=-1), strict=True))


def store_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def backend(folder: Path, model: CLIP | None = None, **options: object) -> ClipBackend:
    options.setdefault("templates", ("a {}", "the {}"))
    clip = ClipBackend(model or small_clip(), TOKENIZE, **options)
    clip.open_text_cache(folder)
    return clip


def release(clip: ClipBackend) -> None:
    """Release the networks, as the node does on cleanup."""
    clip.__dict__.clear()
    gc.collect()


def test_next_process_loads_the_same_features_without_encoding(tmp_path: Path) -> None:
    clip = backend(tmp_path / "texts")
    first = clip.text_features(["mug", "кружка", ""])
    release(clip)
    second = backend(tmp_path / "texts")
    assert torch.equal(second.text_features(["", "mug", "кружка"]), first[[2, 0, 1]])
    assert second.text_counts == TextCounts(encoded=0, reused=3)


def change_weight(model: CLIP) -> dict[str, object]:
    with torch.no_grad():
        model.transformer.resblocks[-1].mlp.c_proj.bias[3] += 1e-3
    return {}


def change_heads(model: CLIP) -> dict[str, object]:
    model.transformer.resblocks[0].attn.num_heads = 2
    return {}


def change_activation(model: CLIP) -> dict[str, object]:
    model.transformer.resblocks[0].mlp.gelu = nn.GELU()
    return {}


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        change_heads,
        change_activation,
        lambda model: {"precision": "bfloat16"},
        lambda model: {"templates": ("a {}",)},
        lambda model: {"templates": ("the {}", "a {}")},
    ],
    ids=["weight", "heads", "activation", "precision", "templates", "order of templates"],
)
def test_features_of_another_network_are_not_used(
    tmp_path: Path, change: Callable[[CLIP], dict[str, object]]
) -> None:
    original = backend(tmp_path)
    original.text_features(["mug"])
    release(original)
    model = small_clip()
    changed = backend(tmp_path, model, **change(model))
    changed.text_features(["mug"])
    assert changed.text_counts.encoded == 1
    release(changed)
    assert len(store_files(tmp_path)) == 2


@pytest.mark.parametrize("options", [{"context_length": 40}, {"clean": "canonicalize"}])
def test_digest_depends_on_the_tokenizer(options: dict[str, object]) -> None:
    tokenizer = open_clip.SimpleTokenizer(**options)
    model = small_clip()
    assert text_tower_digest(model, TOKENIZE, ["{}"]) != text_tower_digest(
        model, tokenizer, ["{}"]
    )


def test_digest_does_not_depend_on_image_tower_and_surgery(tmp_path: Path) -> None:
    model = small_clip()
    before = text_tower_digest(model, TOKENIZE, TEMPLATES)
    backend(tmp_path, model, attention="gem").with_attention("k-k")
    with torch.no_grad():
        model.visual.proj += 1
    assert text_tower_digest(model.train(), TOKENIZE, TEMPLATES) == before


def test_new_texts_are_written_together_on_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_features, "DELAY_S", 0.2)
    saved, threads = threading.Event(), []
    save = text_features.save_text_features

    def save_and_record(path: Path, *arguments: object) -> None:
        threads.append(threading.current_thread())
        save(path, *arguments)
        saved.set()

    monkeypatch.setattr(text_features, "save_text_features", save_and_record)
    store = TextStore(tmp_path, NETWORK)
    for number in range(50):
        store.add(unit(str(number), seed=number))
    assert store_files(tmp_path) == [] and not saved.is_set()
    assert saved.wait(30)
    store.flush()  # waits for the writing thread
    assert len(TextStore(tmp_path, NETWORK).load()) == 50
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


def test_two_stores_add_to_the_same_file(tmp_path: Path) -> None:
    first, second = TextStore(tmp_path, NETWORK), TextStore(tmp_path, NETWORK)
    assert (first.load(), second.load()) == ({}, {})
    first.add(unit("a", "b"))
    second.add(unit("c", seed=1))
    first.flush()
    second.flush()
    first.add(unit("a", seed=2))
    first.flush()
    kept = TextStore(tmp_path, NETWORK).load()
    assert list(kept) == ["b", "c", "a"]
    assert are_equal(kept, {"b": unit("a", "b")["b"], **unit("c", seed=1), **unit("a", seed=2)})


def test_processes_that_write_at_the_same_time_lose_no_text(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from test_text_store import NETWORK, TextStore, backend, unit
folder, name = Path(sys.argv[1]), sys.argv[2]
store = TextStore(folder, NETWORK)
for number in range(20):
    store.add(unit(f"{name} {number}"))
    store.flush()
    assert len(store.load()) > number
backend(folder).text_features([name])
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name],
            env={**os.environ, "PYTHONPATH": path},
        )
        for name in ("one", "two")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert len(TextStore(tmp_path, NETWORK).load()) == 40
    clip = backend(tmp_path)  # as another process with the same network
    clip.text_features(["one", "two"])
    assert clip.text_counts.encoded == 0


def test_file_keeps_the_newest_texts_up_to_the_capacity(tmp_path: Path) -> None:
    store = TextStore(tmp_path, NETWORK)
    store.add(unit(*map(str, range(CAPACITY))))
    store.flush()
    store.add(unit("new"))
    store.flush()
    kept = list(store.load())
    assert (len(kept), kept[0], kept[-1]) == (CAPACITY, "1", "new")


def test_files_of_least_recently_used_networks_are_removed(tmp_path: Path) -> None:
    networks = [f"{number:064x}"[::-1] for number in range(1, MAX_FILES + 3)]
    for age, network in enumerate(networks[:-1]):
        store = TextStore(tmp_path, network)
        store.add(unit("a"))
        store.flush()
        os.utime(store_files(tmp_path)[0] if age == 0 else store._path, (age, age))
    TextStore(tmp_path, networks[1]).load()  # used again
    (tmp_path / "left.part").touch()
    store = TextStore(tmp_path, networks[-1])
    store.add(unit("a"))
    store.flush()
    assert len(store_files(tmp_path)) == MAX_FILES
    assert [bool(TextStore(tmp_path, network).load()) for network in networks[:4]] == [
        *(False, True, False, True)
    ]
    assert list(tmp_path.glob("*.part")) == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def overwrite_with_zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-32] + bytes(32))


DAMAGE = {
    "truncated": truncate,
    "zeros": overwrite_with_zeros,
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "no texts": lambda path: save_file({"features": torch.eye(2)}, path),
    "too few texts": lambda path: save_file({"features": torch.eye(2)}, path, {"texts": '["a"]'}),
    "texts a number": lambda path: save_file({"features": torch.eye(2)}, path, {"texts": "2"}),
    "a vector": lambda path: save_file({"features": torch.ones(1)}, path, {"texts": '["a"]'}),
    "lists for texts": lambda path: save_file({"features": torch.eye(1)}, path, {"texts": "[[]]"}),
    "another network": lambda path: save_text_features(path, unit("a", "b"), "f" * 64),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file_is_replaced_with_a_warning(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    store = TextStore(tmp_path, NETWORK)
    store.add(unit("a", "b"))
    store.flush()
    (path,) = store_files(tmp_path)
    damage(path)
    store = TextStore(tmp_path, NETWORK)
    assert store.load() == {}
    assert str(path) in caplog.text and "encoded again" in caplog.text
    caplog.clear()
    store.add(unit("c"))
    store.flush()
    if path.is_file():
        assert are_equal(TextStore(tmp_path, NETWORK).load(), unit("c"))
        assert caplog.text == "", "warned once"
    else:
        assert "text features are not kept in" in caplog.text, "a folder cannot be replaced"


def test_unwritable_folder_warns_once_and_features_are_computed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()  # even root cannot make a folder below a file
    clip = backend(tmp_path / "file" / "texts")
    store = clip.text.ensemble.on_encoded.__self__
    for text in ("mug", "hammer"):
        assert clip.text_features([text]).norm().item() == pytest.approx(1, abs=1e-5)
        store.flush()
    (record,) = caplog.records
    assert "text features are not kept in" in record.getMessage()


def test_full_disk_keeps_the_old_file_without_partial_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = TextStore(tmp_path, NETWORK)
    store.add(unit("a"))
    store.flush()
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))  # like a disk with 64 free bytes
    try:
        store.add(unit("b"))
        store.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "text features are not kept in" in caplog.text
    assert are_equal(TextStore(tmp_path, NETWORK).load(), unit("a"))
    assert sorted(tmp_path.iterdir()) == before


def test_file_without_network_digest_loads(tmp_path: Path) -> None:
    save_text_features(tmp_path / "t.safetensors", unit("a", "b"))
    assert are_equal(load_text_features(tmp_path / "t.safetensors"), unit("a", "b"))


def test_cache_is_in_the_folder_of_weights_unless_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    real = {"clip_model": "openai", "clip_checkpoint": str(tmp_path / "clip.pt")}
    for values, files in ((real | {"text_cache": False}, 0), (real, 1), ({}, 1)):  # {}: the demo
        clip = _load_clip(Config.from_values({**values, "templates": ["single"]}), "cpu")
        clip.text_features(["mug"])
        release(clip)
        assert len(store_files(tmp_path / "home" / "texts")) == files


def test_shipped_features_are_used_for_their_templates_only() -> None:
    shipped, single = (
        _load_clip(Config.from_values(values), "cpu") for values in ({}, {"templates": ["single"]})
    )
    ensemble, one_template = shipped.text_features(["hammer"]), single.text_features(["hammer"])
    assert not torch.allclose(ensemble, one_template, atol=1e-3)
    assert (shipped.text_counts.encoded, single.text_counts.encoded) == (0, 1)
