"""Multilingual text towers of open_clip: local files only, and errors for missing files."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from torch import nn

from clip_surgery_ros.core.errors import ConfigError, WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.hugging_face_text import (
    create_model,
    get_tokenizer,
    is_multilingual,
)

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="setup/requirements-multilingual.txt is not installed",
)
VISION = {"layers": 7, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
TEXTS = {
    "xlm-roberta-base": {"hf_pooler_type": "mean_pooler"},
    "facebook/nllb-200-distilled-600M": {"hf_proj_type": "linear", "hf_pooler_type": "cls_pooler"},
    "google/mt5-base": {"hf_pooler_type": "mean_pooler"},
}
CLIP_TOWER = "facebook/xlm-v-base"
"""The tokenizer of MetaCLIP 2, which has a text tower of CLIP's type."""
SENTENCES = ["a photo of a mug.", "there is the hammer in the scene", "кружка", "杯子", "كوب"]
START, PAD, END = 0, 1, 2


def model_name(repository: str) -> str:
    """Return the name of a small model for a tokenizer's repository."""
    return f"small-{repository.replace('/', '-')}"


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Add small versions of the multilingual models to open_clip's list of models."""
    folder = tmp_path_factory.mktemp("models")
    clip_tower = {"hf_tokenizer_name": CLIP_TOWER, "pool_type": "eos", "eos_id": END}
    clip_tower |= {"vocab_size": 200, "width": 64, "heads": 2, "layers": 2, "context_length": 24}
    texts = {
        repository: {"hf_model_name": repository, "hf_tokenizer_name": repository, **text}
        for repository, text in TEXTS.items()
    }
    for repository, text in (texts | {CLIP_TOWER: clip_tower}).items():
        config = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": text}
        (folder / f"{model_name(repository)}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def write_files(folder: Path, repository: str) -> None:
    """Write a small tokenizer and configuration of the real types as Hugging Face files."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import M2M100Config, MT5Config, PreTrainedTokenizerFast, XLMRobertaConfig

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    sizes = {"vocab_size": 200, "pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    encoder_decoder = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
    encoder_decoder |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    config = {
        "xlm-roberta-base": lambda: XLMRobertaConfig(**sizes, **layers, hidden_size=64),
        CLIP_TOWER: lambda: XLMRobertaConfig(**sizes, **layers, hidden_size=64),
        "facebook/nllb-200-distilled-600M": lambda: M2M100Config(
            **sizes, **encoder_decoder, d_model=64
        ),
        "google/mt5-base": lambda: MT5Config(
            **sizes, d_model=64, d_kv=16, d_ff=64, num_layers=2, num_heads=4
        ),
    }
    config[repository]().save_pretrained(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use an empty folder of weights, an empty Hugging Face cache, and no network."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the test tried to connect to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def save_model(name: str, folder: Path) -> tuple[nn.Module, Path]:
    """Return a model with random weights, and its checkpoint as open_clip saves it."""
    torch.manual_seed(0)
    model, path = create_model(name).eval(), folder / "open_clip_pytorch_model.bin"
    torch.save(model.state_dict(), path)
    return model, path


@needs_transformers
@pytest.mark.parametrize("repository", [*TEXTS, CLIP_TOWER])
def test_multilingual_tower_equals_open_clip(
    repository: str, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(home / repository, repository)
    model, path = save_model(model_name(repository), tmp_path)
    caplog.clear()
    clip = ClipBackend.from_open_clip(model_name(repository), path, templates=("{}",))
    texts = ["a photo of a mug.", "кружка", "杯子"]
    features = clip.text_features(texts)
    with torch.no_grad():  # at full length, with padding
        expected = model.encode_text(get_tokenizer(model_name(repository))(texts))
    expected = nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    assert (features @ features.T).triu(1).max() < 0.99999, "the texts have different features"
    assert [r for r in caplog.records if r.name.startswith("clip_surgery_ros")] == []
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        image = model.encode_image(pixels)
    torch.testing.assert_close(clip.surgery_tokens(pixels)[:, 0], image, atol=1e-5, rtol=0)


@needs_transformers
def test_multilingual_tower_in_bfloat16_keeps_text_features_on_disk(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(home / "xlm-roberta-base", "xlm-roberta-base")
    name = model_name("xlm-roberta-base")
    _, path = save_model(name, tmp_path)
    exact = ClipBackend.from_open_clip(name, path).text_features(["кружка"])
    for copy in (home, tmp_path / "copied home"):  # as when the folder is copied to a robot
        if copy != home:
            shutil.copytree(home, copy)
            monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(copy))
        clip = ClipBackend.from_open_clip(name, path, precision="bfloat16")
        clip.open_text_cache(copy / "texts")
        features = clip.text_features(["кружка"])
        assert (features @ exact.T).item() > 0.999
        assert clip.text_counts.encoded == (copy == home)
        clip.text.ensemble.on_encoded.__self__.flush()


@needs_transformers
def test_text_beyond_the_context_is_truncated_with_a_warning(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(home / "xlm-roberta-base", "xlm-roberta-base")
    name = model_name("xlm-roberta-base")
    _, path = save_model(name, tmp_path)
    clip = ClipBackend.from_open_clip(name, path, templates=("{}",))
    clip.text_features(["mug " * 100])
    assert "is longer than this CLIP reads: the rest was cut" in caplog.text
    assert "(77 tokens)" in caplog.text


@needs_transformers
def test_files_in_the_hugging_face_cache_are_used(home: Path, tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--xlm-roberta-base"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("e73636d4f797dec63c3081bb6ed5c7b0bb3f2089")
    write_files(
        cached / "snapshots" / "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089", "xlm-roberta-base"
    )
    name = model_name("xlm-roberta-base")
    create_model(name)
    assert get_tokenizer(name)(["кружка"]).shape == (1, 77)


@needs_transformers
def test_missing_files_are_an_error_and_not_downloaded(home: Path) -> None:
    for make in (create_model, get_tokenizer):
        with pytest.raises(WeightsError) as raised:
            make("xlm-roberta-base-ViT-B-32")
        assert str(home / "xlm-roberta-base") in str(raised.value)
        assert (
            "hf download xlm-roberta-base config.json tokenizer_config.json tokenizer.json"
            in str(raised.value)
        )
    assert not home.exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@needs_transformers
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *(
            ("config.json", truncate),
            ("tokenizer.json", truncate),
            ("tokenizer.json", Path.unlink),
        ),
        ("config.json", lambda path: path.write_text('{"model_type": "nothing known"}')),
        ("tokenizer.json", lambda path: path.write_text('{"added_tokens": [], "model": {}}')),
    ],
)
def test_damaged_files_are_named(file: str, damage: Callable[[Path], object], home: Path) -> None:
    write_files(home / "xlm-roberta-base", "xlm-roberta-base")
    damage(home / "xlm-roberta-base" / file)
    name = model_name("xlm-roberta-base")
    with pytest.raises(WeightsError, match="cannot be read from") as raised:
        create_model(name)
        get_tokenizer(name)
    assert str(home / "xlm-roberta-base") in str(raised.value)


def test_missing_transformers_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # imports fail, as without the package
    with pytest.raises(ConfigError, match=r"requirements-multilingual\.txt"):
        create_model("xlm-roberta-base-ViT-B-32")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("ViT-B-16-quickgelu", False), ("RN50", False), ("roberta-ViT-B-32", False)),
        *(("ViT-L-14-CLIPA", False), ("xlm-roberta-base-ViT-B-32", True)),
        *(("nllb-clip-base", True), ("mt5-base-ViT-B-32", True), ("ViT-H-14-worldwide", True)),
    ],
)
def test_multilingual_models_are_recognised(name: str, expected: bool) -> None:
    assert is_multilingual(name) is expected
