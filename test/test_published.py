"""The published networks: sizes as told, and CLIP Surgery on every architecture of OpenAI's."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import open_clip
import pytest
import torch
from small_networks import small_sam

from clip_surgery_ros.backends.clip import ClipBackend
from clip_surgery_ros.backends.sam import SPECS
from clip_surgery_ros.backends.sam_files import fill
from clip_surgery_ros.backends.segmenters import SEGMENTERS
from clip_surgery_ros.core.catalogue import CLIP, PUBLISHED, SAM, Published
from clip_surgery_ros.core.errors import WeightsError

CLIPS = [one for one in PUBLISHED if one.kind == CLIP]
OPENAI = [one for one in CLIPS if one.architecture == "openai"]


def open_clip_name(model: Published) -> str:
    """Of the same architecture."""
    if model.architecture != "openai":
        return model.architecture
    return model.name.removeprefix("openai/").replace("-336px", "-336") + "-quickgelu"


def told_to_one_decimal(module: torch.nn.Module) -> float:
    return round(sum(one.numel() for one in module.parameters()) / 1e6, 1)


@pytest.mark.parametrize("model", CLIPS, ids=lambda model: model.name)
def test_a_clip_has_as_many_parameters_and_the_input_that_the_catalogue_tells(
    model: Published,
) -> None:
    with torch.device("meta"):
        network = open_clip.CLIP(**open_clip.get_model_config(open_clip_name(model)))
    assert told_to_one_decimal(network) == model.parameters
    size = network.visual.image_size
    assert (size if isinstance(size, int) else size[0]) == model.input_size


@pytest.mark.parametrize(
    "model", [one for one in PUBLISHED if one.kind == SAM], ids=lambda model: model.name
)
def test_a_sam_has_as_many_parameters_as_the_catalogue_tells_and_is_known_by_its_file(
    model: Published,
) -> None:
    # The other packages compute with values while they build.
    weightless = torch.device("meta") if model.name in SPECS else contextlib.nullcontext()
    with weightless:
        network = SEGMENTERS[model.architecture].build()
    assert told_to_one_decimal(network) == model.parameters
    with pytest.raises(WeightsError, match=f"looks like {model.name}: set sam_model to that"):
        fill(small_sam(), network.state_dict(), "sam.pt", "another")


def test_names_and_files_are_unique_and_checksums_are_those_in_the_address() -> None:
    assert len({one.name for one in PUBLISHED}) == len(PUBLISHED)
    assert len({one.file_name for one in PUBLISHED}) == len(PUBLISHED)
    assert len(OPENAI) == 9
    for one in PUBLISHED:
        assert one.address.startswith("https://")
        assert one.sha256 in one.address
        assert re.fullmatch("[0-9a-f]{6,64}|", one.sha256)


@pytest.mark.parametrize("model", CLIPS, ids=lambda model: model.name)
def test_addresses_and_activations_are_those_of_open_clip_s_own_table(model: Published) -> None:
    name = open_clip_name(model)
    configs = [
        open_clip.get_pretrained_cfg(name, tag)
        for tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    file = model.address.removeprefix("https://huggingface.co/").split("/resolve/")[0]
    (config,) = [c for c in configs if c["url"] == model.address or c["hf_hub"] == f"{file}/"]
    assert config.get("quick_gelu", False) == name.endswith("-quickgelu")


@pytest.mark.parametrize("model", OPENAI, ids=lambda model: model.name)
def test_surgery_runs_on_every_architecture_of_openai_at_its_true_size(model: Published) -> None:
    torch.manual_seed(0)
    network = open_clip.create_model(open_clip_name(model), load_weights=False)
    tensors = network.state_dict()
    del network
    clip = ClipBackend.from_state_dict(tensors)
    del tensors
    assert clip.input_size == model.input_size
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    pixels = clip.preprocess(image)
    rows, columns = clip.grid_hw(pixels)
    tokens = clip.surgery_tokens(pixels)
    plain = clip.plain_tokens(pixels)
    texts = clip.text_features(["mug"])
    assert tokens.shape == plain.shape == (1, 1 + rows * columns, texts.shape[1])
    assert tokens.isfinite().all()
    # CLS is the network's own; what surgery changes are the other tokens.
    assert torch.allclose(tokens[:, 0], plain[:, 0], atol=1e-3 * plain[:, 0].abs().max())
    assert not torch.equal(tokens[:, 1:], plain[:, 1:])
