"""Multilingual text towers of open_clip: local files alone, and sentences where they are not."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
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

HAVE_TRANSFORMERS = importlib.util.find_spec("transformers") is not None
needs_transformers = pytest.mark.skipif(
    not HAVE_TRANSFORMERS, reason="setup/requirements-multilingual.txt is not installed"
)
VISION = {"layers": 7, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
TEXTS = {
    "xlm-roberta-base": {"hf_pooler_type": "mean_pooler"},
    "facebook/nllb-200-distilled-600M": {"hf_proj_type": "linear", "hf_pooler_type": "cls_pooler"},
    "google/mt5-base": {"hf_pooler_type": "mean_pooler"},
}
OWN_TOWER = "facebook/xlm-v-base"
"""The tokenizer of MetaCLIP 2, whose text tower is CLIP's own."""
SENTENCES = ["a photo of a mug.", "there is the hammer in the scene", "кружка", "杯子", "كوب"]
START, PAD, END = 0, 1, 2


def model_name(repository: str) -> str:
    """Of a small model beside open_clip's own."""
    return f"small-{repository.replace('/', '-')}"


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Models like open_clip's multilingual ones, but for their size, in its list of models."""
    folder = tmp_path_factory.mktemp("models")
    own = {"hf_tokenizer_name": OWN_TOWER, "pool_type": "eos", "eos_id": END}
    own |= {"vocab_size": 200, "width": 64, "heads": 2, "layers": 2, "context_length": 24}
    texts = {
        repository: {"hf_model_name": repository, "hf_tokenizer_name": repository, **text}
        for repository, text in TEXTS.items()
    }
    for repository, text in (texts | {OWN_TOWER: own}).items():
        config = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": text}
        (folder / f"{model_name(repository)}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def put_in_place(folder: Path, repository: str) -> None:
    """A small tokenizer and configuration of the real kinds, as Hugging Face's files."""
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
    deep = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ends = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
    ends |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    config = {
        "xlm-roberta-base": lambda: XLMRobertaConfig(**sizes, **deep, hidden_size=64),
        OWN_TOWER: lambda: XLMRobertaConfig(**sizes, **deep, hidden_size=64),
        "facebook/nllb-200-distilled-600M": lambda: M2M100Config(**sizes, **ends, d_model=64),
        "google/mt5-base": lambda: MT5Config(
            **sizes, d_model=64, d_kv=16, d_ff=64, num_layers=2, num_heads=4
        ),
    }
    config[repository]().save_pretrained(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of weights, an empty cache of Hugging Face's, and no network."""

    def refuse(*_: Any) -> None:
        raise AssertionError("something was looked for in the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def saved(name: str, folder: Path) -> tuple[nn.Module, Path]:
    """A model with random weights, and its checkpoint as open_clip saves them."""
    torch.manual_seed(0)
    model, path = create_model(name).eval(), folder / "open_clip_pytorch_model.bin"
    torch.save(model.state_dict(), path)
    return model, path


@needs_transformers
@pytest.mark.parametrize("repository", [*TEXTS, OWN_TOWER])
def test_texts_go_through_a_multilingual_tower_as_open_clip_s_own_do(
    repository: str, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_in_place(home / repository, repository)
    model, path = saved(model_name(repository), tmp_path)
    caplog.clear()
    clip = ClipBackend.from_open_clip(model_name(repository), path, templates=("{}",))
    texts = ["a photo of a mug.", "кружка", "杯子"]
    features = clip.text_features(texts)
    with torch.no_grad():  # at full length, padding and all
        expected = model.encode_text(get_tokenizer(model_name(repository))(texts))
    expected = nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    assert (features @ features.T).triu(1).max() < 0.99999, "they are not one text"
    assert [r for r in caplog.records if r.name.startswith("clip_surgery_ros")] == []
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        image = model.encode_image(pixels)
    torch.testing.assert_close(clip.surgery_tokens(pixels)[:, 0], image, atol=1e-5, rtol=0)


@needs_transformers
def test_a_multilingual_tower_computes_in_bfloat16_and_its_texts_are_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(home / "xlm-roberta-base", "xlm-roberta-base")
    name = model_name("xlm-roberta-base")
    _, path = saved(name, tmp_path)
    exact = ClipBackend.from_open_clip(name, path).text_features(["кружка"])
    for copy in (home, tmp_path / "another home"):  # as on a robot that the folder was copied to
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
def test_a_text_beyond_the_context_is_cut_and_it_is_said(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_in_place(home / "xlm-roberta-base", "xlm-roberta-base")
    name = model_name("xlm-roberta-base")
    _, path = saved(name, tmp_path)
    clip = ClipBackend.from_open_clip(name, path, templates=("{}",))
    clip.text_features(["mug " * 100])
    assert "is longer than this CLIP reads: the rest was cut" in caplog.text
    assert "(77 tokens)" in caplog.text


@needs_transformers
def test_files_in_hugging_face_s_cache_serve_too(home: Path, tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--xlm-roberta-base"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("e73636d4f797dec63c3081bb6ed5c7b0bb3f2089")
    put_in_place(
        cached / "snapshots" / "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089", "xlm-roberta-base"
    )
    name = model_name("xlm-roberta-base")
    create_model(name)
    assert get_tokenizer(name)(["кружка"]).shape == (1, 77)


@needs_transformers
def test_files_that_are_not_in_place_are_told_and_not_downloaded(home: Path) -> None:
    for make in (create_model, get_tokenizer):
        with pytest.raises(WeightsError) as told:
            make("xlm-roberta-base-ViT-B-32")
        assert str(home / "xlm-roberta-base") in str(told.value)
        assert (
            "hf download xlm-roberta-base config.json tokenizer_config.json tokenizer.json"
            in str(told.value)
        )
    assert not home.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@needs_transformers
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *(("config.json", cut), ("tokenizer.json", cut), ("tokenizer.json", Path.unlink)),
        ("config.json", lambda path: path.write_text('{"model_type": "nothing known"}')),
        ("tokenizer.json", lambda path: path.write_text('{"added_tokens": [], "model": {}}')),
    ],
)
def test_damaged_files_are_named_in_a_sentence(
    file: str, damage: Callable[[Path], object], home: Path
) -> None:
    put_in_place(home / "xlm-roberta-base", "xlm-roberta-base")
    damage(home / "xlm-roberta-base" / file)
    name = model_name("xlm-roberta-base")
    with pytest.raises(WeightsError, match="cannot be read from") as told:
        create_model(name)
        get_tokenizer(name)
    assert str(home / "xlm-roberta-base") in str(told.value)


@pytest.mark.skipif(HAVE_TRANSFORMERS, reason="the package is there")
def test_without_transformers_the_package_is_named() -> None:
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
def test_the_towers_that_learnt_many_languages_are_known(name: str, expected: bool) -> None:
    assert is_multilingual(name) is expected
