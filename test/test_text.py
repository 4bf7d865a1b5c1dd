"""Templates, the ensemble over them, and labels in scripts that CLIP cannot read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import open_clip
import pytest
import torch
import torch.nn.functional as F
from small_networks import small_clip
from torch import Tensor

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.templates import TEMPLATES, parse_templates
from clip_surgery_ros.core.text import CAPACITY, PromptEnsemble, beyond_latin
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.traits import ClipTraits


def test_templates_are_parsed_from_names_and_text_without_duplicates() -> None:
    assert parse_templates(["ensemble"]) == TEMPLATES
    assert len(TEMPLATES) == 85
    assert parse_templates(["single"]) == ("a photo of a {}.",)
    custom = "a thermal image of a {}."
    assert parse_templates([custom, "single", custom]) == (custom, "a photo of a {}.")
    assert parse_templates(["{} in {braces}"]) == ("{} in {braces}",)
    assert parse_templates(["single", "ensemble"])[0] == "a photo of a {}."
    assert set(parse_templates(["single", "ensemble"])) == set(TEMPLATES)


@pytest.mark.parametrize("wrong", ["a photo", "a {} of a {}", "many", "{0}", ""])
def test_template_without_exactly_one_placeholder_is_rejected(wrong: str) -> None:
    with pytest.raises(ConfigError, match="once, where the label goes"):
        parse_templates(["single", wrong])


def test_empty_list_of_templates_is_rejected() -> None:
    with pytest.raises(ConfigError, match="templates is empty"):
        parse_templates([])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("red mug", False), ("Tür, naïve Œuvre", False), ("ﬁle ＡＢ", False), ("", False)),
        *(("5 µm N° 2ª", False), ("100 % → 3 €", False), ("Việt Nam", False), ("🙂", False)),
        *(("кружка", True), ("red кружка", True), ("杯子", True), ("カップ", True)),
        *(("كوب", True), ("κούπα", True), ("כוס", True), ("कप", True), ("컵", True)),
    ],
)
def test_letters_beyond_latin_are_detected(text: str, expected: bool) -> None:
    assert beyond_latin(text) is expected


class Recorder:
    """A fake text encoder: each prompt has its own random feature; records the calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        self.calls.append(list(prompts))
        return torch.stack(
            [
                torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, prompt))))
                for prompt in prompts
            ]
        )


@pytest.mark.parametrize("templates", [["single"], ["a {}", "the {}", "one {} {x}"], ["ensemble"]])
def test_text_feature_is_the_mean_over_templates(
    templates: list[str],
) -> None:
    encode, parsed = Recorder(), parse_templates(templates)
    texts = [f"thing {number}" for number in range(100)]
    features = PromptEnsemble(encode, parsed)(texts)
    for text in (texts[0], texts[84], texts[99]):
        rows = F.normalize(
            Recorder()([template.replace("{}", text) for template in parsed]), dim=-1
        )
        expected = F.normalize(rows.mean(0), dim=0)
        torch.testing.assert_close(features[texts.index(text)], expected)
    assert max(map(len, encode.calls)) <= 85
    assert len(encode.calls) == -(-100 // (85 // len(parsed)))


def test_more_texts_than_the_capacity_are_encoded() -> None:
    ensemble = PromptEnsemble(Recorder(), ["{}"])
    texts = [str(number) for number in range(CAPACITY + 10)]
    assert len(ensemble([*texts, texts[0]])) == CAPACITY + 11
    assert ensemble.counts.encoded == CAPACITY + 10
    ensemble([texts[-1]])
    assert ensemble.counts.encoded == CAPACITY + 10
    ensemble([texts[0]])
    assert ensemble.counts.encoded == CAPACITY + 11


def small(**options: object) -> ClipBackend:
    return ClipBackend(small_clip(), open_clip.SimpleTokenizer(), **options)


def test_text_features_of_a_backend_use_its_templates() -> None:
    single, ensemble = small(templates=("a photo of a {}.",)), small()
    with torch.no_grad():
        plain = small_clip().encode_text(open_clip.tokenize(["a photo of a mug."]))
    torch.testing.assert_close(
        single.text_features(["mug"]), F.normalize(plain, dim=-1), atol=1e-5, rtol=0
    )
    assert not torch.allclose(single.text_features(["mug"]), ensemble.text_features(["mug"]))


def test_label_in_unreadable_script_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clip = small(templates=("a {}",))
    for _ in range(2):
        clip.text_features(["mug", "кружка", "Tür"])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'кружка' is in letters that this CLIP cannot read" in record.getMessage()
    assert "xlm-roberta-base-ViT-B-32" in record.getMessage()


def test_multilingual_clip_does_not_warn_about_scripts(caplog: pytest.LogCaptureFixture) -> None:
    small(templates=("a {}",), traits=ClipTraits(multilingual=True)).text_features(["кружка"])
    assert caplog.text == ""
