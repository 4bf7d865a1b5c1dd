"""Weight files that store the rows of used tokens alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.vocabulary_table import (
    NUMBERS,
    TABLE,
    VOCABULARY_SIZE,
    with_all_tokens,
    without_unused_tokens,
)
from clip_surgery_ros.weights.files import demo_weights
from clip_surgery_ros.weights.state_dicts import load_state_dict


def test_rows_come_back_where_they_were() -> None:
    table = torch.zeros(VOCABULARY_SIZE, 4)
    table[[0, 7, VOCABULARY_SIZE - 1]] = torch.rand(3, 4)
    small = without_unused_tokens({TABLE: table, "ln": torch.ones(2)})
    assert small[TABLE].shape == (3, 4) and small[NUMBERS].tolist() == [0, 7, VOCABULARY_SIZE - 1]
    whole = with_all_tokens(small)
    assert set(whole) == {TABLE, "ln"} and torch.equal(whole[TABLE], table)
    assert with_all_tokens(whole).keys() == whole.keys()


def test_the_shipped_file_stores_used_tokens_and_loads_as_a_whole_one_does(tmp_path: Path) -> None:
    path = demo_weights("clip_demo")
    tensors, metadata = load_state_dict(path)
    assert len(tensors[TABLE]) < 1000
    save_file(with_all_tokens(tensors), tmp_path / "whole.safetensors", metadata)
    texts = ("hammer", "xylophone", "")
    small, whole = (
        ClipBackend.from_file(path),
        ClipBackend.from_file(tmp_path / "whole.safetensors"),
    )
    assert torch.equal(small.text_features(texts), whole.text_features(texts))


@pytest.mark.parametrize(
    ("rows", "numbers", "message"),
    [
        (torch.ones(2, 4), torch.tensor([1]), "one number for each row"),
        (torch.ones(8), torch.arange(8), "one number for each row"),
        (torch.ones(1, 4), torch.tensor([VOCABULARY_SIZE]), "whole numbers from 0 to 49407"),
        (torch.ones(1, 4), torch.tensor([-1]), "whole numbers"),
        (torch.ones(1, 4), torch.tensor([1.0]), "whole numbers"),
    ],
)
def test_numbers_that_do_not_belong_to_the_rows_are_an_error(
    rows: torch.Tensor, numbers: torch.Tensor, message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        with_all_tokens({TABLE: rows, NUMBERS: numbers})
    with pytest.raises(WeightsError, match="one number for each row"):
        with_all_tokens({NUMBERS: numbers})
