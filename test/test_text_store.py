"""Text features on disk: right, shared, bounded, and never in the way."""

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


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def backend(folder: Path, model: CLIP | None = None, **options: object) -> ClipBackend:
    options.setdefault("templates", ("a {}", "the {}"))
    clip = ClipBackend(model or small_clip(), TOKENIZE, **options)
    clip.open_text_cache(folder)
    return clip


def let_go(clip: ClipBackend) -> None:
    """As the node does when it is cleaned up, or a process at its end."""
    clip.__dict__.clear()
    gc.collect()


def test_the_next_process_finds_the_same_features_and_encodes_nothing(tmp_path: Path) -> None:
    clip = backend(tmp_path / "texts")
    first = clip.text_features(["mug", "кружка", ""])
    let_go(clip)
    again = backend(tmp_path / "texts")
    assert torch.equal(again.text_features(["", "mug", "кружка"]), first[[2, 0, 1]])
    assert again.text_counts == TextCounts(encoded=0, reused=3)


def other_weight(model: CLIP) -> dict[str, object]:
    with torch.no_grad():
        model.transformer.resblocks[-1].mlp.c_proj.bias[3] += 1e-3
    return {}


def other_heads(model: CLIP) -> dict[str, object]:
    model.transformer.resblocks[0].attn.num_heads = 2
    return {}


def other_activation(model: CLIP) -> dict[str, object]:
    model.transformer.resblocks[0].mlp.gelu = nn.GELU()
    return {}


@pytest.mark.parametrize(
    "change",
    [
        other_weight,
        other_heads,
        other_activation,
        lambda model: {"precision": "bfloat16"},
        lambda model: {"templates": ("a {}",)},
        lambda model: {"templates": ("the {}", "a {}")},
    ],
    ids=["weight", "heads", "activation", "precision", "templates", "order of templates"],
)
def test_features_of_another_network_are_never_served(
    tmp_path: Path, change: Callable[[CLIP], dict[str, object]]
) -> None:
    one = backend(tmp_path)
    one.text_features(["mug"])
    let_go(one)
    model = small_clip()
    other = backend(tmp_path, model, **change(model))
    other.text_features(["mug"])
    assert other.text_counts.encoded == 1
    let_go(other)
    assert len(stored(tmp_path)) == 2


@pytest.mark.parametrize("options", [{"context_length": 40}, {"clean": "canonicalize"}])
def test_another_tokenizer_makes_another_network(options: dict[str, object]) -> None:
    other = open_clip.SimpleTokenizer(**options)
    model = small_clip()
    assert text_tower_digest(model, TOKENIZE, ["{}"]) != text_tower_digest(model, other, ["{}"])


def test_the_image_tower_and_surgery_make_no_other_network(tmp_path: Path) -> None:
    model = small_clip()
    before = text_tower_digest(model, TOKENIZE, TEMPLATES)
    backend(tmp_path, model, attention="gem").with_attention("k-k")
    with torch.no_grad():
        model.visual.proj += 1
    assert text_tower_digest(model.train(), TOKENIZE, TEMPLATES) == before


def test_new_texts_are_written_together_and_soon_on_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_features, "DELAY_S", 0.2)
    saved, threads = threading.Event(), []
    save = text_features.save_text_features

    def watched(path: Path, *arguments: object) -> None:
        threads.append(threading.current_thread())
        save(path, *arguments)
        saved.set()

    monkeypatch.setattr(text_features, "save_text_features", watched)
    store = TextStore(tmp_path, NETWORK)
    for number in range(50):
        store.add(unit(str(number), seed=number))
    assert stored(tmp_path) == [] and not saved.is_set()
    assert saved.wait(30)
    store.flush()  # waits for the one at work
    assert len(TextStore(tmp_path, NETWORK).load()) == 50
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


def test_two_stores_add_to_the_same_file(tmp_path: Path) -> None:
    one, other = TextStore(tmp_path, NETWORK), TextStore(tmp_path, NETWORK)
    assert (one.load(), other.load()) == ({}, {})
    one.add(unit("a", "b"))
    other.add(unit("c", seed=1))
    one.flush()
    other.flush()
    one.add(unit("a", seed=2))
    one.flush()
    kept = TextStore(tmp_path, NETWORK).load()
    assert list(kept) == ["b", "c", "a"]
    assert same(kept, {"b": unit("a", "b")["b"], **unit("c", seed=1), **unit("a", seed=2)})


def test_processes_that_write_at_once_lose_nothing_not_even_what_came_last(tmp_path: Path) -> None:
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
    clip = backend(tmp_path)  # the same network to another process
    clip.text_features(["one", "two"])
    assert clip.text_counts.encoded == 0


def test_the_file_holds_as_many_texts_as_memory_and_the_oldest_go(tmp_path: Path) -> None:
    store = TextStore(tmp_path, NETWORK)
    store.add(unit(*map(str, range(CAPACITY))))
    store.flush()
    store.add(unit("new"))
    store.flush()
    kept = list(store.load())
    assert (len(kept), kept[0], kept[-1]) == (CAPACITY, "1", "new")


def test_files_of_networks_long_out_of_use_are_removed(tmp_path: Path) -> None:
    networks = [f"{number:064x}"[::-1] for number in range(1, MAX_FILES + 3)]
    for age, network in enumerate(networks[:-1]):
        store = TextStore(tmp_path, network)
        store.add(unit("a"))
        store.flush()
        os.utime(stored(tmp_path)[0] if age == 0 else store._path, (age, age))
    TextStore(tmp_path, networks[1]).load()  # in use again
    (tmp_path / "left.part").touch()
    store = TextStore(tmp_path, networks[-1])
    store.add(unit("a"))
    store.flush()
    assert len(stored(tmp_path)) == MAX_FILES
    assert [bool(TextStore(tmp_path, one).load()) for one in networks[:4]] == [
        *(False, True, False, True)
    ]
    assert list(tmp_path.glob("*.part")) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-32] + bytes(32))


DAMAGE = {
    "cut off": cut,
    "zeros": zeros,
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "no texts": lambda path: save_file({"features": torch.eye(2)}, path),
    "too few texts": lambda path: save_file({"features": torch.eye(2)}, path, {"texts": '["a"]'}),
    "texts a number": lambda path: save_file({"features": torch.eye(2)}, path, {"texts": "2"}),
    "a vector": lambda path: save_file({"features": torch.ones(1)}, path, {"texts": '["a"]'}),
    "lists for texts": lambda path: save_file({"features": torch.eye(1)}, path, {"texts": "[[]]"}),
    "another network's": lambda path: save_text_features(path, unit("a", "b"), "f" * 64),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_or_foreign_file_is_warned_of_and_replaced(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    store = TextStore(tmp_path, NETWORK)
    store.add(unit("a", "b"))
    store.flush()
    (path,) = stored(tmp_path)
    damage(path)
    store = TextStore(tmp_path, NETWORK)
    assert store.load() == {}
    assert str(path) in caplog.text and "encoded anew" in caplog.text
    caplog.clear()
    store.add(unit("c"))
    store.flush()
    if path.is_file():
        assert same(TextStore(tmp_path, NETWORK).load(), unit("c"))
        assert caplog.text == "", "said once"
    else:
        assert "text features are not kept in" in caplog.text, "a folder cannot be replaced"


def test_a_disk_that_cannot_be_written_is_warned_of_once_and_features_come_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()  # no folder can be made below a file, whoever asks
    clip = backend(tmp_path / "file" / "texts")
    store = clip.text.ensemble.on_encoded.__self__
    for text in ("mug", "hammer"):
        assert clip.text_features([text]).norm().item() == pytest.approx(1, abs=1e-5)
        store.flush()
    (record,) = caplog.records
    assert "text features are not kept in" in record.getMessage()


def test_a_full_disk_leaves_the_old_file_and_no_half_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = TextStore(tmp_path, NETWORK)
    store.add(unit("a"))
    store.flush()
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))  # as a disk with 64 bytes left
    try:
        store.add(unit("b"))
        store.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "text features are not kept in" in caplog.text
    assert same(TextStore(tmp_path, NETWORK).load(), unit("a"))
    assert sorted(tmp_path.iterdir()) == before


def test_shipped_files_have_no_network_and_load_as_before(tmp_path: Path) -> None:
    save_text_features(tmp_path / "t.safetensors", unit("a", "b"))
    assert same(load_text_features(tmp_path / "t.safetensors"), unit("a", "b"))


def test_the_cache_is_below_the_home_of_weights_unless_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    real = {"clip_model": "openai", "clip_checkpoint": str(tmp_path / "clip.pt")}
    for values, files in ((real | {"text_cache": False}, 0), (real, 1), ({}, 1)):  # {}: the demo
        clip = _load_clip(Config.from_values({**values, "templates": ["single"]}), "cpu")
        clip.text_features(["mug"])
        let_go(clip)
        assert len(stored(tmp_path / "home" / "texts")) == files


def test_the_demo_s_shipped_features_serve_its_own_templates_only() -> None:
    shipped, single = (
        _load_clip(Config.from_values(values), "cpu") for values in ({}, {"templates": ["single"]})
    )
    one, other = shipped.text_features(["hammer"]), single.text_features(["hammer"])
    assert not torch.allclose(one, other, atol=1e-3)
    assert (shipped.text_counts.encoded, single.text_counts.encoded) == (0, 1)
