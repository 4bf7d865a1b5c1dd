"""The text tower's table of tokens, stored without the rows that nothing has trained.

A network of few words uses hundreds of the 49,408 tokens of OpenAI's tokenizer. Its file holds
their rows alone, beside a tensor with their numbers; the other rows are zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from clip_surgery_ros.core.errors import WeightsError

TABLE = "token_embedding.weight"
NUMBERS = "token_embedding.numbers"
"""Name of the tensor that has the token of each row."""
VOCABULARY_SIZE = 49408
"""Tokens that OpenAI's tokenizer knows."""


def without_unused_tokens(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict whose table lacks the rows that are zero.

    :param tensors: with the whole table, in OpenAI's layout.
    """
    table = tensors[TABLE]
    numbers = table.any(dim=1).nonzero()[:, 0].to(torch.int32)
    return {**tensors, TABLE: table[numbers.long()].contiguous(), NUMBERS: numbers}


def with_all_tokens(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the whole table; one that has it already stays as it is.

    :raises WeightsError: rows and their numbers do not belong together.
    """
    whole = dict(tensors)
    numbers = whole.pop(NUMBERS, None)
    if numbers is None:
        return whole
    rows = whole.get(TABLE)
    if rows is None or rows.ndim != 2 or numbers.shape != rows.shape[:1]:
        raise WeightsError(f"{NUMBERS} must have one number for each row of {TABLE}")
    if numbers.is_floating_point() or not _are_tokens(numbers):
        raise WeightsError(f"{NUMBERS} must have whole numbers from 0 to {VOCABULARY_SIZE - 1}")
    table = rows.new_zeros(VOCABULARY_SIZE, rows.shape[1])
    table[numbers.long()] = rows
    whole[TABLE] = table
    return whole


def _are_tokens(numbers: Tensor) -> bool:
    return not len(numbers) or (int(numbers.min()) >= 0 and int(numbers.max()) < VOCABULARY_SIZE)
