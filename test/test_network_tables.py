"""The documentation's tables of networks name what the catalogue has, with its sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clip_surgery_ros.weights.catalogue import PRETRAINED, SAM, PretrainedNetwork

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "docs" / "models.md"
OPENAI = [one for one in PRETRAINED if one.name.startswith("openai/")]
TABLED = [
    *(one for one in OPENAI if one.name != "openai/ViT-L-14-336px"),
    *(one for one in PRETRAINED if one.kind == SAM),
]
"""Networks with a row of their own: the other CLIPs have the sizes of these."""


def sizes(page: Path) -> dict[str, int]:
    """Millions of parameters by network, of all rows of a page's tables that tell them."""
    found: dict[str, int] = {}
    for line in page.read_text().splitlines():
        millions = re.findall(r"(\d+) M", line)
        names = re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("| `") else []
        if millions:
            found.update(zip(names, map(int, millions), strict=False))
    return found


def row_name(network: PretrainedNetwork) -> str:
    return network.name.removeprefix("openai/")


@pytest.mark.parametrize("network", TABLED, ids=lambda network: network.name)
def test_a_network_of_the_catalogue_has_a_row_with_its_size(network: PretrainedNetwork) -> None:
    assert abs(sizes(MODELS)[row_name(network)] - network.parameters) <= 0.5


def test_times_that_the_catalogue_states_are_those_of_the_table() -> None:
    stated = {
        network.name: time[1]
        for network in PRETRAINED
        if (time := re.search(r"(0\.\d+) of vit_b's time", network.good_for))
    }
    assert len(stated) >= 4
    for name, ratio in stated.items():
        (row,) = (
            line for line in MODELS.read_text().splitlines() if line.startswith(f"| `{name}`")
        )
        assert row.split("|")[-2].strip() == ratio


def test_tables_name_no_other_network() -> None:
    names = {network.name for network in PRETRAINED} | {row_name(one) for one in TABLED}
    assert sizes(MODELS).keys() <= names
    assert sizes(ROOT / "README.md").keys() <= names
