"""The documentation's tables of networks agree with the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clip_surgery_ros.weights.catalogue import PRETRAINED, SAM, PretrainedNetwork

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "docs" / "models.md"
OPENAI = [network for network in PRETRAINED if network.name.startswith("openai/")]
IN_TABLE = [
    *(network for network in OPENAI if network.name != "openai/ViT-L-14-336px"),
    *(network for network in PRETRAINED if network.kind == SAM),
]
"""Networks with a row of their own; other CLIPs have the sizes of these."""


def sizes(page: Path) -> dict[str, int]:
    """Return the millions of parameters by network in a page's tables."""
    found: dict[str, int] = {}
    for line in page.read_text().splitlines():
        millions = re.findall(r"(\d+) M", line)
        names = re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("| `") else []
        if millions:
            found.update(zip(names, map(int, millions), strict=False))
    return found


def row_name(network: PretrainedNetwork) -> str:
    return network.name.removeprefix("openai/")


@pytest.mark.parametrize("network", IN_TABLE, ids=lambda network: network.name)
def test_network_has_a_row_with_its_size(network: PretrainedNetwork) -> None:
    assert abs(sizes(MODELS)[row_name(network)] - network.parameters) <= 0.5


def test_times_of_the_catalogue_agree_with_the_table() -> None:
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


def test_tables_have_no_unknown_network() -> None:
    names = {network.name for network in PRETRAINED} | {row_name(network) for network in IN_TABLE}
    assert sizes(MODELS).keys() <= names
    assert sizes(ROOT / "README.md").keys() <= names
